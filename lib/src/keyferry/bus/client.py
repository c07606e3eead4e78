"""nats-py's client, made to live through what it gives up on: foreign bytes, a server's refusals, unlucky moments."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from weakref import WeakSet

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from prometheus_client import Gauge

from keyferry.bus.acks import refused
from keyferry.bus.identity import Access, check_server

log = logging.getLogger(__name__)

CONNECTED = Gauge("keyferry_bus_connected", "1 while the connection to NATS stands; of several, while all do.")
_open: WeakSet[Connection] = WeakSet()
CONNECTED.set_function(lambda: float(bool(_open) and all(each.is_connected for each in _open)))
_CONNECT_SECONDS = 5.0
_PING_SECONDS = 10  # two missed answers, and the connection is taken for dead
_RECONNECT_SECONDS = 1
_FLUSH_SECONDS = 2
_HEADER_FRAME = 14  # bytes around all headers: "NATS/1.0", line ends
_HEADER_LINE = 4  # bytes around one: ": ", line end
_NOT_FATAL = ("permissions violation", "stale connection")


class Connection(Client):
    """A client that is closed by us alone.

    Attributes:
        reconnected: Called whenever a lost connection is back; what was asked of the server before is forgotten there.
        token_used: The token that was sent last.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reconnected: set[Callable[[], None]] = set()
        self.token_used = ""
        self._said = ""
        self._access: Access | None = None

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """Made for each connection: a CA that has been replaced counts from the next one on, without a restart."""
        if self._access is None:
            given: ssl.SSLContext = super().ssl_context
            return given
        return self._access.trust()

    async def open(self, url: str, *, access: Access | None = None, **options: Any) -> None:
        """Make the first connection; later ones are tried for ever.

        Args:
            url: Servers, comma-separated.
            access: Who we are; nobody in particular without it.
            options: Of nats-py.

        Raises:
            nats.errors.Error, OSError: it could not be made within some seconds.
        """
        _open.add(self)
        if access is not None:
            options |= self._identified(access, url)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await self.connect(
                    url.split(","),
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=_RECONNECT_SECONDS,
                    ping_interval=_PING_SECONDS,
                    error_cb=self._complain,
                    **options,
                )
        except BaseException:
            reason = self.last_error
            await self.close()
            if isinstance(reason, nats.errors.Error | OSError):
                raise reason from None
            raise

    def _identified(self, access: Access, url: str) -> dict[str, Any]:
        self._access = access
        options = access.options(url)
        if "token" in options:
            options["token"] = lambda: self._remember(access.token())
        key = access.key()
        if key is not None:
            self._public_nkey, options["signature_cb"] = key  # nats-py's own way wants a library for keys
        return options

    def _remember(self, token: str) -> str:
        self.token_used = token
        return token

    async def renew(self) -> None:
        """Send what is still to be sent, then connect again as if the connection had been lost."""
        with suppress(nats.errors.Error, TimeoutError):
            await self.flush(timeout=_FLUSH_SECONDS)
        await self.force_reconnect()

    async def close(self) -> None:
        """Send what is still to be sent, then close for good."""
        _open.discard(self)
        with suppress(nats.errors.Error, TimeoutError):
            if self.is_connected:
                await self.flush(timeout=_FLUSH_SECONDS)
        if not self.is_connected:  # nats-py would write it to a closed transport, which raises
            self._pending, self._pending_data_size = [], 0
        with suppress(TimeoutError):  # a connection whose TLS has failed may never say that it is closed
            async with asyncio.timeout(_FLUSH_SECONDS):
                await super().close()

    async def hear(self, subject: str, take: Callable[[Msg], Awaitable[None]], **options: Any) -> None:
        """Have messages of a subject taken, until cancelled.

        Args:
            subject: A filter.
            take: Takes one; it must not raise.
            options: Of nats-py's ``subscribe``.

        Raises:
            KeyferryError: the subscription was not sent.
        """
        try:
            subscription = await self.subscribe(subject, cb=take, **options)
        except nats.errors.Error as error:
            raise refused(error) from None
        try:
            await asyncio.Event().wait()
        finally:
            if not self.is_closed:
                await subscription.unsubscribe()

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Publish; see nats-py.

        Raises:
            nats.errors.MaxPayloadError: payload and headers are too large; the server would cut the connection.
            nats.errors.Error: not sent.
        """
        if headers:
            size = _HEADER_FRAME + sum(len(k) + len(v.encode()) + _HEADER_LINE for k, v in headers.items())
            if size + len(payload) > self.max_payload:
                raise nats.errors.MaxPayloadError
        try:
            await super().publish(subject, payload, reply, headers)
        except (OSError, RuntimeError) as error:  # uvloop: the transport has been closed under it
            raise nats.errors.StaleConnectionError from error

    async def _attempt_reconnect(self) -> None:
        log.warning("NATS connection lost; reconnecting")
        while True:
            try:
                await super()._attempt_reconnect()
            except Exception as error:  # noqa: BLE001 - whatever it was, giving up would leave us away for ever
                await self._complain(error)
                await asyncio.sleep(_RECONNECT_SECONDS)
            else:
                break
        if self.is_connected:
            self._said = ""
            log.warning("NATS connection is back")
            for tell in tuple(self.reconnected):
                tell()

    async def _complain(self, error: Exception) -> None:
        # Where a permission is missing, this callback is the only one that learns of it.
        text = f"{type(error).__name__}: {error}"
        if text != self._said:  # an outage is one line, not one a second
            log.error("NATS: %s", text)
        self._said = text

    async def _process_err(self, err_msg: str) -> None:
        # nats-py closes for good on most errors: an expired credential, a slow moment, a payload too large.
        if any(known in err_msg.lower() for known in _NOT_FATAL):
            await super()._process_err(err_msg)
            return
        error = nats.errors.Error(f"nats: {err_msg}")
        await self._complain(error)
        await self._process_op_err(error)

    async def _read_loop(self) -> None:
        await super()._read_loop()
        if self.is_connected and self._reading_task is asyncio.current_task():
            # It met a defect. Without this there would be silence until pings are missed.
            await self._process_op_err(nats.errors.ProtocolError())

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection:  # nothing has been said to the server yet, and nothing is if this raises
            check_server(str(info.get("version", "")))
        await super()._process_info(info, initial_connection)

    async def _process_headers(self, headers: Any) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except (ValueError, IndexError):  # a publisher's headers are not parsed by the server
            return None

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        whole = subject.decode(errors="replace").encode()  # a subject need not be UTF-8
        message: Msg = super()._build_message(sid, whole, reply, data, headers)
        return message
