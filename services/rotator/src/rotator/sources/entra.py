"""Verifies the tokens of Entra ID that Event Grid proves itself by."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import jwt

from keyferry.errors import AccessDenied, ProviderUnavailable
from rotator.sources.bodies import TooLarge, whole
from rotator.sources.document import Malformed, parse

_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "ES256"]
_LARGEST_KEYS = 1024 * 1024
_LONGEST_TOKEN = 16 * 1024
_FRESH_SECONDS = 3600.0
_AGAIN_SECONDS = 60.0  # an unknown key id has the keys read again, but no stranger makes us ask more often
_AWAY_SECONDS = 2.0  # while there are no keys at all
_FETCH_SECONDS = 5.0
_LEEWAY = 60


class EntraTokens:
    """Believes tokens of one issuer, for one audience, given to one application.

    Args:
        issuer: Their ``iss``.
        audience: Their ``aud``.
        app: Their ``azp`` (version 2) or ``appid`` (version 1); without this check any application of the tenant that
            may have a token for the audience could send events.
        jwks_url: Where the keys are.
    """

    def __init__(self, *, issuer: str, audience: str, app: str, jwks_url: str) -> None:
        self._issuer, self._audience, self._app, self._url = issuer, audience, app, jwks_url
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read_at = -_FRESH_SECONDS
        self._reading = asyncio.Lock()

    async def verify(self, authorization: str) -> None:
        """Return if this header proves Event Grid.

        Raises:
            AccessDenied: it does not.
            ProviderUnavailable: the keys to tell cannot be had.
        """
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not 0 < len(token) <= _LONGEST_TOKEN:
            raise AccessDenied("no bearer token")
        try:
            key_id = str(jwt.get_unverified_header(token).get("kid", ""))
            key = await self._key(key_id)
            claims = jwt.decode(
                token,
                key,
                algorithms=_ALGORITHMS,
                audience=self._audience,
                issuer=self._issuer,
                leeway=_LEEWAY,
                options={"require": ["exp", "iss", "aud"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise AccessDenied("a token that does not hold for this issuer and audience") from None
        if claims.get("azp", claims.get("appid")) != self._app:
            raise AccessDenied("a token given to another application")

    async def _key(self, key_id: str) -> jwt.PyJWK:
        async with self._reading:
            age = time.monotonic() - self._read_at
            again = _AGAIN_SECONDS if self._keys else _AWAY_SECONDS
            if age > _FRESH_SECONDS or (key_id not in self._keys and age > again):
                await self._read()
        if not self._keys:
            raise ProviderUnavailable("the keys of Entra ID could not be read a moment ago")
        if key_id not in self._keys:
            raise AccessDenied("a token signed by an unknown key")
        return self._keys[key_id]

    async def _read(self) -> None:
        self._read_at = time.monotonic()
        timeout = aiohttp.ClientTimeout(total=_FETCH_SECONDS)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(self._url) as response:
                raw = await whole(response.content, _LARGEST_KEYS)
            keys = jwt.PyJWKSet.from_dict(parse(raw)).keys
        except (
            aiohttp.ClientError,
            TimeoutError,
            OSError,
            Malformed,
            TooLarge,
            jwt.PyJWTError,
            ValueError,
            TypeError,
        ) as error:
            if self._keys:
                return  # these serve until they are found wanting
            raise ProviderUnavailable(f"the keys of Entra ID cannot be read: {type(error).__name__}") from None
        self._keys = {key.key_id: key for key in keys if key.key_id}
