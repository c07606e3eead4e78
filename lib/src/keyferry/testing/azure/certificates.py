"""Certificates for vaults: a chain of three, in the forms in which Key Vault keeps a certificate's secret."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12, serialize_key_and_certificates
from cryptography.x509.oid import NameOID

_BEGIN = "-----BEGIN "
PEM, PFX = "application/x-pem-file", "application/x-pkcs12"

Certificate = x509.Certificate
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


@dataclass(frozen=True)
class Issued:
    """A private key and its certificate, with those above it: server, intermediate, root."""

    key: PrivateKey = field(repr=False)
    chain: Sequence[Certificate]

    def pem(self) -> str:
        """As Key Vault keeps it in PEM: key, then certificates."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return (key + b"".join(each.public_bytes(Encoding.PEM) for each in self.chain)).decode()

    def pfx(self, *, reverse: bool = False) -> str:
        """As Key Vault keeps it in PKCS#12: base64, without a password.

        Args:
            reverse: Have the root come before the intermediate.
        """
        above = list(reversed(self.chain[1:])) if reverse else list(self.chain[1:])
        data = serialize_key_and_certificates(None, self.key, self.chain[0], above, NoEncryption())
        return base64.b64encode(data).decode()


def issue(name: str = "example.com", *, kind: str = "RSA") -> Issued:
    """A new chain of three.

    Args:
        name: Of the server.
        kind: Of all keys: RSA or EC.
    """
    keys = [_key(kind) for _ in range(3)]
    names = [_named(each) for each in (name, "Intermediate", "Root")]
    above = [1, 2, 2]
    return Issued(keys[0], [_signed(names, keys, index, issuer) for index, issuer in enumerate(above)])


def taken_apart(value: str) -> tuple[PrivateKey, list[Certificate], tuple[str, str]]:
    """Key, certificates, and content type and value of the secret, of what a user imports.

    Args:
        value: PEM, or base64 of PEM or PKCS#12.

    Raises:
        ValueError: it is none of these.
    """
    data = value.encode() if _BEGIN in value else base64.b64decode(value)
    if _BEGIN.encode() in data:
        key = load_pem_private_key(data, None)
        chain, secret = x509.load_pem_x509_certificates(data), (PEM, data.decode())
    else:
        found = load_pkcs12(data, None)
        if not found.cert:
            raise ValueError("there is no certificate in it")
        key = found.key  # type: ignore[assignment]  # checked below
        chain = [found.cert.certificate, *(each.certificate for each in found.additional_certs)]
        secret = (PFX, value)
    if isinstance(key, PrivateKey):
        return key, chain, secret
    raise ValueError("Key Vault takes RSA and EC keys only")


def jwk(key: PublicKey) -> dict[str, Any]:
    """A public key as Key Vault tells it (RFC 7517)."""
    if isinstance(key, rsa.RSAPublicKey):
        told = jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True)
        return {"kty": "RSA", "n": told["n"], "e": told["e"]}
    numbers = key.public_numbers()
    size = (key.curve.key_size + 7) // 8
    curve = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521", "secp256k1": "P-256K"}[key.curve.name]
    x, y = (_base64url(number.to_bytes(size)) for number in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": curve, "x": x, "y": y}


def thumbprint(certificate: Certificate) -> str:
    """SHA-1 of a certificate, as Key Vault tells it."""
    return _base64url(certificate.fingerprint(SHA1()))  # noqa: S303 - Key Vault's choice


def _key(kind: str) -> PrivateKey:
    if kind == "EC":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _signed(names: Sequence[x509.Name], keys: Sequence[PrivateKey], index: int, issuer: int) -> Certificate:
    start = datetime.now(UTC) - timedelta(minutes=5)
    own, above = keys[index].public_key(), keys[issuer].public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(names[index])
        .issuer_name(names[issuer])
        .public_key(own)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=index > 0, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(above), critical=False)
        .sign(keys[issuer], SHA256())
    )


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
