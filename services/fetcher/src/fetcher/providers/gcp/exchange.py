"""Gets access tokens: for a pod's own token, for a key.json, and for the Google service account that a pod acts as."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import ssl
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any

import jwt

from fetcher.accesstoken import Token
from fetcher.providers.gcp import own, refusals
from fetcher.providers.gcp.identity import Identity, KeyIdentity, OwnIdentity, PodIdentity
from fetcher.providers.gcp.rest import Answer, Rest
from fetcher.providers.gcp.settings import GcpSettings
from fetcher.retrying import retried
from keyferry.errors import AccessDenied, ProviderUnavailable

SCOPE = "https://www.googleapis.com/auth/cloud-platform"

_HEADER_TEXT = re.compile(r"[!-~]+", re.ASCII)
_KEY_SECONDS = 3600  # how long an assertion holds; Google allows no more
_KEY_AUDIENCE = "https://oauth2.googleapis.com/token"  # wherever it is sent: it names Google, not a proxy
_EXCHANGE = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    "scope": SCOPE,
}
_BINDING = "unable to obtain workload identity auth: unable to fetch identitybindingtoken"
_ACCOUNT = "unable to obtain workload identity auth: unable to fetch gcp service account token"


class Exchange:
    """All exchanges of the process.

    Args:
        settings: Where to.
        tls: For https.
        clock: Unix seconds.
    """

    def __init__(self, settings: GcpSettings, tls: ssl.SSLContext | None, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._rest = Rest(tls, timeout=settings.timeout)

    async def token(self, identity: Identity, proof: str) -> Token:
        """A new token.

        Args:
            identity: Whose.
            proof: The pod's token for its pool, or the private key; the fetcher itself needs none.

        Raises:
            AccessDenied: Google refuses.
            RateLimited, ProviderUnavailable: as Google answered.
        """
        if isinstance(identity, OwnIdentity):
            return await self._of_fetcher()
        if isinstance(identity, KeyIdentity):
            return await self._of_key(identity, proof)
        federated = await self._of_pod(identity, proof)
        return await self._impersonated(identity, federated) if identity.impersonated else federated

    async def close(self) -> None:
        """Close connections."""
        await self._rest.close()

    async def _of_pod(self, identity: PodIdentity, pod_token: str) -> Token:
        pool = identity.pool
        sent = _EXCHANGE | {"audience": pool.target, "subject_token": pod_token}
        answer = await self._call(pool.endpoint, **{"json" if pool.is_gke else "data": sent})
        doing = f"{_BINDING} for service account {identity.namespace}/{identity.service_account} in {pool.name}"
        if failure := refusals.exchange(answer, doing, hidden=pod_token):
            raise failure
        return self._oauth(answer, doing)

    async def _impersonated(self, identity: PodIdentity, federated: Token) -> Token:
        url = f"{self._settings.iam_endpoint}/v1/projects/-/serviceAccounts/{identity.impersonated}:generateAccessToken"
        delegates = [f"projects/-/serviceAccounts/{email}" for email in identity.delegates]
        answer = await self._call(
            url,
            json={"scope": [SCOPE], "delegates": delegates},
            headers={"Authorization": f"Bearer {federated.value}"},
        )
        doing = f"{_ACCOUNT} of {identity}"
        if failure := refusals.impersonation(answer, doing, identity):
            raise failure
        found = answer.document()
        return self._token(found.get("accessToken"), _seconds_until(found.get("expireTime"), self._clock()), doing)

    async def _of_key(self, identity: KeyIdentity, private_key: str) -> Token:
        now = int(self._clock())
        claims = {"iss": identity.email, "scope": SCOPE, "aud": _KEY_AUDIENCE, "iat": now, "exp": now + _KEY_SECONDS}
        headers = {"kid": identity.key_id} if identity.key_id else None
        doing = f"unable to generate credentials from key.json of {identity.email}"
        assertion = ""
        with contextlib.suppress(ValueError, TypeError, jwt.PyJWTError):
            assertion = jwt.encode(claims, private_key, algorithm="RS256", headers=headers)
        if not assertion:
            raise AccessDenied(f"{refusals.NO_AUTH}: {doing}: its private_key is no RSA key in PEM")
        grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
        answer = await self._call(self._settings.oauth_endpoint, data={"grant_type": grant, "assertion": assertion})
        if failure := refusals.exchange(answer, doing, hidden=assertion):
            raise failure
        return self._oauth(answer, doing)

    async def _of_fetcher(self) -> Token:
        since = self._clock()
        doing = "the fetcher's own credentials (auth: provider-adc)"
        found = await asyncio.to_thread(own.token, SCOPE, self._settings.ca_file)
        if isinstance(found, own.Failure):
            kind = ProviderUnavailable if found.may_pass else AccessDenied
            raise kind(f"{refusals.NO_AUTH}: {doing}: {found.why}")
        return self._token(found.value, found.expires - since, doing)

    async def _call(self, url: str, **send: Any) -> Answer:
        async def once() -> Answer:
            answer = await self._rest.call("POST", url, **send)
            if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise ProviderUnavailable(f"{url} failed ({answer.status})")
            return answer

        try:
            return await retried(once, attempts=self._settings.attempts, seconds_left=lambda: math.inf)
        except ProviderUnavailable as error:
            failure = ProviderUnavailable(f"{refusals.NO_AUTH}: {error.message}")
        raise failure

    def _oauth(self, answer: Answer, doing: str) -> Token:
        found = answer.document()
        return self._token(found.get("access_token"), found.get("expires_in"), doing)

    def _token(self, value: object, seconds: object, doing: str) -> Token:
        if not isinstance(value, str) or not _HEADER_TEXT.fullmatch(value):
            raise ProviderUnavailable(f"{refusals.NO_AUTH}: {doing}: the answer holds no token")
        usable = isinstance(seconds, int | float) and 0 < seconds < _KEY_SECONDS * 24
        now = self._clock()
        return Token(value, since=now, expires=now + (float(seconds) if usable else 0.0))  # type: ignore[arg-type]


def _seconds_until(text: object, now: float) -> float:
    try:
        return datetime.fromisoformat(str(text)).timestamp() - now
    except (ValueError, OverflowError):
        return 0.0
