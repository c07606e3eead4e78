"""Gets a pod's credentials from the EKS Pod Identity Agent, which runs on every node at a link-local address.

The agent takes the token and asks EKS, which knows the role (`eks-pod-identity-agent`, `GET /v1/credentials`).
"""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from fetcher.providers.aws.clients import Credentials
from keyferry.errors import AccessDenied, ProviderUnavailable, RateLimited

AGENTS = {"ipv4": "http://169.254.170.23/v1/credentials", "ipv6": "http://[fd00:ec2::23]/v1/credentials"}

_LARGEST_ANSWER = 64 * 1024  # bytes
_OK, _BAD_REQUEST, _TOO_MANY_REQUESTS, _SERVER_ERROR = 200, 400, 429, 500


@dataclass(frozen=True, slots=True)
class Agent:
    """Where the agent is.

    Attributes:
        threads: Wait for it.
        urls: Where to ask, in this order.
        patience: Seconds per address.
    """

    threads: Executor
    urls: Sequence[str]
    patience: float

    async def credentials(self, token: str, who: str, now: float) -> Credentials:
        """Exchange a pod's token for credentials at the first address that answers.

        Args:
            token: The pod's, of audience ``pods.eks.amazonaws.com``.
            who: What messages call the identity.
            now: Unix seconds.

        Raises:
            AccessDenied: no role is associated with the service account, or the token is refused.
            ProviderUnavailable: no agent answers, or none that makes sense.
            RateLimited: EKS asks for fewer calls.
        """
        loop = asyncio.get_running_loop()
        for url in self.urls:
            try:
                status, body = await loop.run_in_executor(self.threads, _get, url, token, self.patience)
            except (OSError, http.client.HTTPException):
                continue
            except ValueError:
                # http.client quotes the token that it cannot put into a header.
                raise AccessDenied(f"{who}: the pod's token is malformed") from None
            _check(status, who)
            return _read(body, who, now)
        raise ProviderUnavailable(
            f"{who}: the EKS Pod Identity Agent does not answer at {', '.join(self.urls)}: "
            f"it must run on the node of the fetcher (EKS add-on eks-pod-identity-agent)"
        )


def _get(url: str, token: str, timeout: float) -> tuple[int, bytes]:
    parts = urlsplit(url)
    # No proxy: the address means something on this node only.
    connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)
    try:
        connection.request("GET", parts.path or "/", headers={"Authorization": token, "Accept": "application/json"})
        response = connection.getresponse()
        return response.status, response.read(_LARGEST_ANSWER)
    finally:
        connection.close()


def _check(status: int, who: str) -> None:
    if status == _OK:
        return
    if status == _TOO_MANY_REQUESTS:
        raise RateLimited(f"{who}: the EKS Pod Identity Agent answers {status}")
    if _BAD_REQUEST <= status < _SERVER_ERROR:
        raise AccessDenied(
            f"{who}: the EKS Pod Identity Agent refuses it ({status}): "
            f"associate a role with the service account (aws eks create-pod-identity-association)"
        )
    raise ProviderUnavailable(f"{who}: the EKS Pod Identity Agent answers {status}")


def _read(body: bytes, who: str, now: float) -> Credentials:
    try:
        found = json.loads(body)
        expires = datetime.fromisoformat(found["Expiration"]).timestamp()
        keys = found["AccessKeyId"], found["SecretAccessKey"], found["Token"]
        if not all(isinstance(key, str) and key for key in keys):
            raise TypeError
    except (ValueError, TypeError, LookupError, RecursionError):
        raise ProviderUnavailable(f"{who}: the EKS Pod Identity Agent's answer holds no credentials") from None
    return Credentials(*keys, expires, now)
