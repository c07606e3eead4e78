"""The keys that the cluster's service account tokens are signed with, as the API server publishes them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from keyferry.errors import KeyferryError, KubernetesUnavailable
from keyferry.kube import Flights, Json, Kube

log = logging.getLogger(__name__)

DISCOVERY_PATH = "/.well-known/openid-configuration"
# Not the document's jwks_uri. That is meant for parties outside the cluster: with managed clusters it is a public
# address, with others a name that only the API server's own network knows. The API server always serves the same keys
# here, over the one connection whose CA and credentials we trust already; and no URL out of a document is followed.
KEYS_PATH = "/openid/v1/jwks"

REFRESH_SECONDS = 300.0
"""How often the keys are read when nothing asks for it."""

GAP_SECONDS = 2.0
"""The shortest time between two readings: tokens with invented key ids must not become load on the API server."""

LIFE_SECONDS = 3600.0
"""How long keys are trusted while the API server cannot be asked: as long as a token usually lives, no longer."""

_WEAKEST_RSA_BITS = 2048
_RSA = ("RS256", "RS384", "RS512")
_EC = {"secp256r1": ("ES256",), "secp384r1": ("ES384",), "secp521r1": ("ES512",)}


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """A public key and the algorithms it may verify: those of its own type, whatever a token's header says."""

    public: RSAPublicKey | EllipticCurvePublicKey
    algorithms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Published:
    issuer: str
    keys: dict[str, IssuerKey]
    at: float


class IssuerKeys:
    """The issuer's name and keys: read when first needed, every few minutes, and when an unknown key id turns up.

    Args:
        kube: The API server.
        clock: Seconds, monotonic.
    """

    def __init__(self, kube: Kube, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._clock = clock
        self._published: _Published | None = None
        self._trouble: KeyferryError | None = None
        self._read_at = float("-inf")
        self._flights: Flights[None, None] = Flights()

    @property
    def known(self) -> bool:
        """The keys have been read and are young enough to be trusted."""
        return self._published is not None and self._clock() - self._published.at < LIFE_SECONDS

    async def find(self, key_id: str) -> tuple[str, IssuerKey | None]:
        """The issuer's name, and its key of this id; None where the issuer has no such key.

        Raises:
            KubernetesUnavailable: the keys are not known, or may be out of date, and cannot be read.
            AccessDenied: we may not read them.
        """
        published = self._published
        if published is None or not self.known or key_id not in published.keys:
            published = await self._newer()
        return published.issuer, published.keys.get(key_id)

    async def run(self) -> NoReturn:
        """Keeps the keys fresh; belongs into a task group."""
        while True:
            await self._flights.join(None, self._read)
            await asyncio.sleep(REFRESH_SECONDS if self._trouble is None else GAP_SECONDS)

    async def _newer(self) -> _Published:
        # A reading under way counts from its end, so that whoever comes meanwhile joins it.
        if self._clock() - self._read_at >= GAP_SECONDS:
            await self._flights.join(None, self._read)
        if self._trouble is not None:
            raise self._trouble.with_traceback(None)
        if self._published is None:
            raise KubernetesUnavailable("the keys of the cluster's service account issuer have not been read yet")
        return self._published

    async def _read(self) -> None:
        try:
            discovery = await self._kube.get(DISCOVERY_PATH)
            keys = parsed(await self._kube.get(KEYS_PATH))
            issuer = discovery.get("issuer") if discovery else None
            if not issuer or not isinstance(issuer, str):
                raise KubernetesUnavailable(
                    f"the Kubernetes API server names no issuer at {DISCOVERY_PATH}: "
                    "start it with a URL as --service-account-issuer"
                )
            if not keys:
                raise KubernetesUnavailable(f"the Kubernetes API server shows no RSA or EC key at {KEYS_PATH}")
        except KeyferryError as error:
            if self._trouble is None:
                log.warning("issuer keys cannot be read", extra={"error": error.message})
            self._trouble = error
        else:
            if self._published is None or self._published.keys.keys() != keys.keys():
                log.info("issuer keys read", extra={"issuer": issuer, "keys": len(keys)})
            self._published = _Published(issuer, keys, self._clock())
            self._trouble = None
        finally:
            self._read_at = self._clock()


def parsed(key_set: Json | None) -> dict[str, IssuerKey]:
    """The usable keys of a JSON Web Key Set (RFC 7517), by key id; what is no strong RSA or EC key is left out."""
    listed = (key_set or {}).get("keys")
    keys: dict[str, IssuerKey] = {}
    for told in listed if isinstance(listed, list) else ():
        if isinstance(told, dict) and isinstance(told.get("kid"), str) and told.get("use", "sig") == "sig":
            with suppress(jwt.PyJWTError, ValueError, TypeError, KeyError):
                key = _usable(jwt.PyJWK.from_dict(told).key)
                if key:
                    keys[told["kid"]] = key
    return keys


def _usable(public: Any) -> IssuerKey | None:
    # By the key's own type: a symmetric key ("oct") or a private one in the set is never taken.
    if isinstance(public, RSAPublicKey) and public.key_size >= _WEAKEST_RSA_BITS:
        return IssuerKey(public, _RSA)
    if isinstance(public, EllipticCurvePublicKey) and public.curve.name in _EC:
        return IssuerKey(public, _EC[public.curve.name])
    return None
