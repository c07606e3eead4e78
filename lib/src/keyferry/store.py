"""The only place that speaks Redis (or Valkey): scripts and commands that never wait long, bytes in and out.

Nothing may hang on Redis: a call has `CALL_SECONDS`, and after one that failed all calls are refused at once until a
probe in the background has found the server well again. So an outage costs each caller one short wait at most.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from hashlib import sha1
from ssl import TLSVersion
from typing import Any
from urllib.parse import urlsplit

import redis.asyncio as redis
from prometheus_client import Counter, Gauge
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from keyferry.errors import StoreUnavailable
from keyferry.pipes import Pipes
from keyferry.plaintext import check_encrypted
from keyferry.settings import SettingsError
from keyferry.store_versions import check_store_server

log = logging.getLogger(__name__)

CONNECTED = Gauge("keyferry_store_connected", "1 while Redis answers.")
FAILURES = Counter("keyferry_store_failures_total", "Calls to Redis that failed, by what went wrong.", ["error"])

CALL_SECONDS = 1.0  # a content of 4 MiB passes in a tenth of it
PROBE_SECONDS = 1.0  # between two probes of a server that is away
_QUIET_SECONDS = 5.0  # between two probes of a server that is well: the gauge must not need traffic to be true
_CONNECTIONS = 4
_SCHEMES = ("redis", "rediss")
_GONE = (RedisConnectionError, RedisTimeoutError, TimeoutError, OSError)

Argument = bytes | str | int


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script: all of what it does happens at once, for every client of the server."""

    text: str
    sha: str


def script(text: str) -> Script:
    """A script to `Store.run`; loaded where it is first needed, again after a flush or a restart."""
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())  # the protocol's name for it


def store_url(text: str) -> str:
    """A setting: where Redis is, such as ``rediss://user:password@host:6379/0``."""
    parts = urlsplit(text)
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise ValueError("is no Redis URL: write redis://host:6379/0, or rediss:// for TLS")
    redis.ConnectionPool.from_url(text)  # ValueError on what else is malformed
    return text


def check_store(url: str, *, allow_plaintext: bool) -> None:
    """Return if what goes to a server cannot be read on its way.

    Raises:
        SettingsError: it can, and nobody has said that it may.
    """
    if not allow_plaintext:
        check_encrypted("KEYFERRY_REDIS_URL", url, "rediss")


class Store:
    """A connection to Redis; made by `connect_store`. Without pipes it is a store that is always away."""

    def __init__(self, pipes: Pipes | None, *, any_version: bool = False) -> None:
        self._pipes = pipes
        self._any_version = any_version
        self._answers = False
        self._trouble = asyncio.Event()
        self._said = ""

    @property
    def exists(self) -> bool:
        """Whether there is a server at all, well or not."""
        return self._pipes is not None

    @property
    def is_connected(self) -> bool:
        """Whether calls are tried; false from a failed one until a probe has succeeded."""
        return self._answers

    async def run(self, wanted: Script, keys: Sequence[Argument], args: Sequence[Argument] = ()) -> Any:
        """Run a script; as one command, its own text only if the server does not have it.

        Args:
            wanted: Which.
            keys: The keys that it touches.
            args: What else it is told.

        Returns:
            What it returns: bytes, integers, None, and lists of them.

        Raises:
            StoreUnavailable: not run, or not known to have run.
        """
        try:
            return await self._tried("EVALSHA", wanted.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await self.call("EVAL", wanted.text, len(keys), *keys, *args)

    async def call(self, *command: Argument) -> Any:
        """Run one command.

        Raises:
            StoreUnavailable: not run, or not known to have run.
        """
        try:
            return await self._tried(*command)
        except NoScriptError:
            raise self._refused("NOSCRIPT") from None

    async def watch(self) -> None:
        """Probe the server for ever; belongs into a task."""
        while True:
            with suppress(TimeoutError):  # a failed call ends the quiet
                await asyncio.wait_for(self._trouble.wait(), _QUIET_SECONDS)
            if self._trouble.is_set():
                await asyncio.sleep(PROBE_SECONDS)
            try:
                await self.probe()
            except SettingsError as error:
                self._complain(logging.ERROR, f"Redis is not used: {error}")

    async def probe(self) -> None:
        """Find out whether the server answers.

        Raises:
            SettingsError: it does, and has holes; it is said nothing more.
        """
        if self._pipes is None:
            return
        with suppress(StoreUnavailable):
            await self._within("PING")
            if not self._answers:
                if not self._any_version:
                    check_store_server(await self._hello(self._pipes))
                self._answers = True
                self._trouble.clear()
                CONNECTED.set(1)
                log.info("Redis answers")
                self._said = ""

    async def _hello(self, pipes: Pipes) -> Any:
        """What the server says of itself; an error's code if that is none of our business."""
        try:
            return await pipes.run(("HELLO",))
        except ResponseError as error:
            return _code(error)
        except _GONE as error:
            raise self._lost(error) from None

    async def _tried(self, *command: Argument) -> Any:
        if not self._answers:
            raise _away()
        return await self._within(*command)

    async def _within(self, *command: Argument) -> Any:
        assert self._pipes is not None  # noqa: S101 - without them, nothing has ever answered
        try:
            return await self._pipes.run(command)
        except NoScriptError:
            raise
        except _GONE as error:
            raise self._lost(error) from None
        except ResponseError as error:
            raise self._refused(_code(error)) from None
        except RedisError as error:
            raise self._refused(type(error).__name__) from None

    def _lost(self, error: Exception) -> StoreUnavailable:
        name = type(error).__name__
        FAILURES.labels(name).inc()
        self._answers = False
        self._trouble.set()
        CONNECTED.set(0)
        self._complain(logging.WARNING, f"Redis does not answer ({name}); going on without it")
        return _away()

    def _refused(self, code: str) -> StoreUnavailable:
        FAILURES.labels(code).inc()
        self._complain(logging.WARNING, f"Redis refuses ({code})")
        return StoreUnavailable(f"Redis refuses ({code}): see its log, its memory limit and the rights of our user")

    def _complain(self, level: int, text: str) -> None:
        if text != self._said:  # an outage is one line, not one a second
            log.log(level, "%s", text)
        self._said = text


class _Trusting(redis.SSLConnection):
    """Reads whom to trust at each connection: a CA that has been replaced counts without a restart."""

    def _connection_arguments(self) -> Any:
        self.ssl_context.context = None
        return super()._connection_arguments()

    async def disconnect(self, *arguments: Any, **options: Any) -> None:
        # A server that never answers the end of TLS, as behind `kubectl port-forward`, makes redis-py raise.
        writer = self._writer
        try:
            await super().disconnect(*arguments, **options)
        except RedisTimeoutError:
            if writer is not None:
                writer.transport.abort()


@asynccontextmanager
async def connect_store(url: str, *, name: str, ca_file: str = "", any_version: bool = False) -> AsyncIterator[Store]:
    """A store for as long as the block lasts, whether or not the server is there at its beginning.

    Args:
        url: As `store_url` takes it; empty for none: every call then raises `StoreUnavailable`.
        name: Shown by the server.
        ca_file: PEM file of those who may vouch for a server with TLS; the system's if empty.
        any_version: Whether to use a server with known holes.

    Raises:
        SettingsError: the server has such, at the beginning of the block; one that comes later is not used.
    """
    if not url:
        yield Store(None)
        return
    # Verification is redis-py's default; that the name counts as well is said, for its default has been another.
    trust = {"ssl_ca_certs": ca_file or None, "ssl_check_hostname": True, "ssl_min_version": TLSVersion.TLSv1_2}
    is_encrypted = urlsplit(url).scheme == "rediss"
    pool = redis.ConnectionPool.from_url(
        url,
        **(trust if is_encrypted else {}),
        max_connections=_CONNECTIONS,
        client_name=f"keyferry-{name}",
        protocol=2,
        driver_info=None,  # one round trip less for each connection
        retry=Retry(NoBackoff(), 0),
        socket_connect_timeout=CALL_SECONDS,
        socket_timeout=None,  # the pipes have their own
    )
    if is_encrypted:
        pool.connection_class = _Trusting  # from_url goes by the scheme alone
    pipes = Pipes(pool, count=_CONNECTIONS, seconds=CALL_SECONDS)
    store = Store(pipes, any_version=any_version)
    try:
        await store.probe()
    except SettingsError:
        await pipes.close()
        await pool.disconnect()
        raise
    watching = asyncio.create_task(store.watch())
    try:
        yield store
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        CONNECTED.set(0)
        await pipes.close()
        await pool.disconnect()


def _away() -> StoreUnavailable:
    return StoreUnavailable("Redis does not answer: check the server, its URL and the network")


def _code(error: Exception) -> str:
    """The library's name for it, or the first word of Redis' answer, such as READONLY; the rest may quote a value."""
    first = str(error).partition(" ")[0]
    return first if type(error) is ResponseError and first.isupper() and first.isalpha() else type(error).__name__
