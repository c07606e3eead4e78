"""Calls AWS through botocore: one client per region and service, every call signed with its own pod's credentials.

A client of the SDK usually belongs to one identity, and a new one costs 5 ms and a TLS handshake. Here clients are
built unsigned, and a handler signs each attempt with the credentials of the call it belongs to, so that all pods share
the same warm connections. A call without credentials is not sent: the fetcher's own are never looked for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import botocore
import botocore.session
from botocore import UNSIGNED
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.parsers import ResponseParserError

from fetcher.providers.aws.faults import Fault, from_sdk
from fetcher.providers.aws.settings import AwsSettings
from keyferry.errors import ProviderUnavailable

_MAX_CLIENTS = 64


@dataclass(frozen=True, slots=True)
class Credentials:
    """Temporary credentials of one role; nothing of them shows in repr.

    Attributes:
        access_key: Access key id.
        secret_key: Secret access key.
        token: Session token.
        expires_at: Unix seconds.
        issued_at: Unix seconds.
    """

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    token: str = field(repr=False)
    expires_at: float
    issued_at: float


@dataclass(frozen=True, slots=True)
class _Call:
    """On whose behalf the current thread talks to AWS, and until when."""

    credentials: Credentials | None
    deadline: float


_call: ContextVar[_Call] = ContextVar("aws call")


class _DeadlinePassed(Exception):
    """Raised instead of another attempt."""


class Clients:
    """All clients of the process, with the threads that wait for AWS."""

    def __init__(self, settings: AwsSettings, clock: Callable[[], float] = time.time) -> None:
        # At DEBUG botocore logs tokens as it sends them and secrets as they arrive.
        logging.getLogger("botocore").setLevel(logging.INFO)
        self._settings = settings
        self._clock = clock
        self._session = botocore.session.Session()
        self._clients: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self._lock = Lock()
        self.threads = ThreadPoolExecutor(max(1, settings.threads), thread_name_prefix="aws")

    async def call(
        self, service: str, region: str, operation: str, credentials: Credentials | None, deadline: float, **send: Any
    ) -> Mapping[str, Any]:
        """Call one operation in a thread.

        Args:
            service: ``secretsmanager``, ``ssm`` or ``sts``.
            region: Where.
            operation: The SDK's name of it, such as ``get_secret_value``.
            credentials: What to sign with; None for operations that take no signature.
            deadline: Unix seconds after which no attempt is made and no answer awaited.
            **send: The operation's parameters.

        Raises:
            Fault: AWS refused, or could not be asked in time.
        """
        call = _Call(credentials, deadline)
        answer = asyncio.get_running_loop().run_in_executor(
            self.threads, self._blocking, service, region, operation, call, send
        )
        try:
            # The thread itself ends with its attempt at the latest: the handler below grants no further one.
            async with asyncio.timeout(self._left(deadline)):
                found: Mapping[str, Any] = await answer
                return found
        except TimeoutError:
            raise Fault("no answer in time", ProviderUnavailable) from None

    def close(self) -> None:
        """Close idle connections; threads end with the call they are in."""
        self.threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def _blocking(self, service: str, region: str, operation: str, call: _Call, send: dict[str, Any]) -> Any:
        mine = _call.set(call)
        try:
            return getattr(self._client(service, region), operation)(**send)
        except (ClientError, BotoCoreError) as error:
            raise from_sdk(error) from None
        except _DeadlinePassed:
            raise Fault("no answer in time", ProviderUnavailable) from None
        except (ResponseParserError, AttributeError, LookupError, TypeError, ValueError):
            # What botocore's parsers raise on an answer that is none of AWS's; the text may quote it.
            raise Fault("an answer that makes no sense", ProviderUnavailable) from None
        finally:
            _call.reset(mine)

    def _client(self, service: str, region: str) -> Any:
        with self._lock:
            client = self._clients.get((service, region))
            if client is None:
                client = self._clients[service, region] = self._create(service, region)
                if len(self._clients) > _MAX_CLIENTS:
                    self._clients.popitem(last=False)[1].close()
            self._clients.move_to_end((service, region))
            return client

    def _create(self, service: str, region: str) -> Any:
        settings = self._settings
        endpoint = settings.endpoint(service)
        config = Config(
            signature_version=UNSIGNED,
            connect_timeout=settings.connect_timeout,
            read_timeout=settings.read_timeout,
            max_pool_connections=settings.threads,
            retries={"mode": "standard", "total_max_attempts": max(1, settings.attempts)},
            parameter_validation=False,  # our own parser has said already what is wrong
            tcp_keepalive=True,
            # botocore's own would be put together twice per call, at an eighth of its cost.
            user_agent=f"keyferry botocore/{botocore.__version__}",
            # An endpoint of the operator's own is taken as it is; botocore refuses both at once.
            use_fips_endpoint=settings.use_fips and not endpoint,
            use_dualstack_endpoint=settings.use_dualstack and not endpoint,
        )
        client = self._session.create_client(
            service,
            region_name=region,
            endpoint_url=endpoint,
            config=config,
            # Never used, as nothing is signed with them; without any, botocore would look for the fetcher's own.
            aws_access_key_id="unused",
            aws_secret_access_key="unused",  # noqa: S106 - as above
        )
        if service != "sts":
            client.meta.events.register_last(f"request-created.{service}", _signer(service, region, self._clock))
        return client

    def _left(self, deadline: float) -> float | None:
        return None if deadline == float("inf") else max(0.0, deadline - self._clock())


def _signer(service: str, region: str, clock: Callable[[], float]) -> Any:
    def sign(request: AWSRequest, **_: object) -> None:
        """Sign one attempt; botocore makes a new request for each."""
        call = _call.get()
        if call.deadline <= clock():
            raise _DeadlinePassed
        if call.credentials is None:
            raise NoCredentialsError
        keys = ReadOnlyCredentials(call.credentials.access_key, call.credentials.secret_key, call.credentials.token)
        SigV4Auth(keys, service, region).add_auth(request)

    return sign
