"""What vaults keep: secrets, keys and certificates in versions, what was deleted, and who may do what."""

import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from keyferry.testing.azure.certificates import Certificate, PrivateKey, jwk, thumbprint

KINDS = ("secrets", "keys", "certificates")
_CURVES: dict[str, type[ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1,
    "P-384": ec.SECP384R1,
    "P-521": ec.SECP521R1,
    "P-256K": ec.SECP256K1,
}


@dataclass
class Version:
    """One version of an object.

    Attributes:
        id: 32 hexadecimal digits.
        created: Unix seconds; no two versions of an object have the same.
        fields: Of the bundle, beside id and attributes; a secret's value among them.
        enabled: Whether it may be read.
        expires: Unix seconds; None for never. Key Vault gives out what has expired all the same.
        not_before: Unix seconds.
        tags: Whatever its owner notes about it.
    """

    id: str
    created: int
    fields: dict[str, Any] = field(repr=False)
    enabled: bool = True
    expires: int | None = None
    not_before: int | None = None
    tags: dict[str, str] = field(default_factory=dict)

    def attributes(self) -> dict[str, Any]:
        """As Key Vault tells them."""
        known = {"enabled": self.enabled, "created": self.created, "updated": self.created}
        times = {"exp": self.expires, "nbf": self.not_before}
        told = {name: value for name, value in times.items() if value is not None}
        return {**known, **told, "recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90}


class Vault:
    """One vault.

    Args:
        name: Of it.
        tenant: Whose tokens it takes.
        now: Unix seconds.
    """

    def __init__(self, name: str, tenant: str, now: Callable[[], float]) -> None:
        self.name = name
        self.tenant = tenant
        self.objects: dict[str, dict[str, list[Version]]] = {kind: {} for kind in KINDS}
        self.deleted: dict[str, dict[str, list[Version]]] = {kind: {} for kind in KINDS}
        self._now = now
        self._rights: dict[str, set[str]] = defaultdict(set)

    def allow(self, client_id: str, *rights: str) -> None:
        """Add to the access policy.

        Args:
            client_id: Of an application of the vault's tenant.
            rights: Such as ``secrets/get``; without any, get and list of everything.
        """
        usual = [f"{kind}/{verb}" for kind in KINDS for verb in ("get", "list")]
        self._rights[client_id].update(rights or usual)

    def forbid(self, client_id: str) -> None:
        """Take an application out of the access policy."""
        self._rights.pop(client_id, None)

    def may(self, client_id: str, right: str) -> bool:
        """Whether the access policy grants something; ``*`` grants everything."""
        return bool({right, "*"} & self._rights[client_id])

    def set_secret(self, name: str, value: str, content_type: str | None = None, **about: Any) -> str:
        """Add a version of a secret and return its id; `about` may hold fields of `Version`."""
        fields = {"value": value, **({"contentType": content_type} if content_type is not None else {})}
        return self.add("secrets", name, fields, **about)

    def create_key(self, name: str, kty: str = "RSA", crv: str = "P-256", **about: Any) -> str:
        """Add a version of a key (RSA, RSA-HSM, EC, EC-HSM; oct-HSM has no public half) and return its id."""
        key: dict[str, Any] = {}
        if kty.startswith("RSA"):
            key = jwk(rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key())
        elif kty.startswith("EC"):
            key = jwk(ec.generate_private_key(_CURVES[crv]()).public_key())
        return self.add("keys", name, {"key": {**key, "kty": kty, "key_ops": ["sign", "verify"]}}, **about)

    def import_certificate(
        self, name: str, key: PrivateKey, chain: Iterable[Certificate], secret: tuple[str, str], **about: Any
    ) -> str:
        """Add a version of a certificate with the key and the secret that belong to it, and return its id.

        Args:
            name: Of all three.
            key: Private key of the first certificate.
            chain: The certificate, and those above it.
            secret: Content type and value of the secret.
            about: Fields of `Version`.
        """
        leaf = next(iter(chain))
        cer = leaf.public_bytes(Encoding.DER)
        about = {"id": secrets.token_hex(16), **about}
        self.add("keys", name, {"key": {**jwk(key.public_key()), "key_ops": ["sign"]}, "managed": True}, **about)
        kept = {"value": secret[1], "contentType": secret[0], "managed": True, "kid": True}
        self.add("secrets", name, kept, **about)
        return self.add("certificates", name, {"cer": cer, "x5t": thumbprint(leaf), "contentType": secret[0]}, **about)

    def add(self, kind: str, name: str, fields: dict[str, Any], **about: Any) -> str:
        """Add a version of any object and return its id."""
        versions = self.objects[kind].setdefault(name, [])
        created = max([int(self._now()), *(version.created + 1 for version in versions)])
        about = {"id": secrets.token_hex(16), "created": created, **about}
        versions.append(Version(fields=fields, **about))
        return str(about["id"])

    def find(self, kind: str, name: str, version: str = "") -> Version | None:
        """A version; the latest, disabled or not, without an id."""
        versions = self.objects[kind].get(name, [])
        if not version:
            return max(versions, key=lambda each: each.created, default=None)
        return next((each for each in versions if each.id == version), None)

    def delete(self, kind: str, name: str) -> None:
        """Delete softly: the object can be recovered, and its name not be used meanwhile."""
        self.deleted[kind][name] = self.objects[kind].pop(name)

    def recover(self, kind: str, name: str) -> None:
        """Bring back what was deleted."""
        self.objects[kind][name] = self.deleted[kind].pop(name)
