"""Hears of changes in OpenBao and Vault from their audit log, which their ``socket`` device sends us line by line."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import time
from typing import NoReturn

from rotator.sources import vault_events
from rotator.sources.document import Malformed
from rotator.sources.heard import Heard
from rotator.sources.pending import Pending
from rotator.sources.reconnecting import Pauses, Stands, for_ever
from rotator.sources.settings import VaultAudit
from rotator.sources.source import Clock, Emit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_LONGEST_LINE = 1024 * 1024
_CHUNK = 64 * 1024
_MOST_CONNECTIONS = 32


class VaultAuditSource:
    """Reads whatever comes, as fast as it comes: a device that cannot write holds up every request to the backend.

    The device repeats nothing: after every new connection all contents are read once.

    Args:
        settings: Of this source.
        pauses: Between tries to listen, and to reach the bus.
        now: Unix seconds.
    """

    name = "vault-audit"

    def __init__(
        self,
        settings: VaultAudit,
        *,
        pauses: Pauses = Pauses(),  # noqa: B008 - frozen
        now: Clock = time.time,
    ) -> None:
        self._settings, self._pauses = settings, pauses
        self._allowed = [ipaddress.ip_network(network) for network in settings.allowed]
        self._heard = Heard(self.name, now)
        self._pending = Pending(self._heard, "vault", pauses)
        self._open: set[asyncio.StreamWriter] = set()

    async def run(self, emit: Emit) -> NoReturn:
        """See `Source`."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pending.run(emit))
            await for_ever(self._heard, self._hear, self._pauses)
        raise AssertionError

    async def _hear(self, _: Stands) -> None:
        async with await self._server() as server:
            try:
                await server.serve_forever()
            finally:
                for writer in tuple(self._open):
                    writer.transport.abort()

    async def _server(self) -> asyncio.Server:
        where = self._settings.listen
        if not where.startswith("/"):
            host, _, port = where.rpartition(":")
            return await asyncio.start_server(self._connected, host.strip("[]") or None, int(port))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(where)  # noqa: PTH108 - of a process before us
        before = os.umask(0o117)  # the owner and its group may connect
        try:
            return await asyncio.start_unix_server(self._connected, where)
        finally:
            os.umask(before)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not self._may(writer):
                return
            self._open.add(writer)
            self._heard.stands()
            self._pending.everything()
            await self._read(reader)
        except OSError:
            return
        finally:
            self._open.discard(writer)
            if not self._open:
                self._heard.away("no backend has its audit device connected")
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _may(self, writer: asyncio.StreamWriter) -> bool:
        """Whether the other side may connect at all."""
        if len(self._open) >= _MOST_CONNECTIONS:
            self._heard.refuse("limited", f"{_MOST_CONNECTIONS} audit devices are connected already")
            return False
        raw: socket.socket = writer.get_extra_info("socket")
        if raw.family == socket.AF_UNIX:
            return True
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        found = ipaddress.ip_address(writer.get_extra_info("peername")[0].partition("%")[0])
        peer = getattr(found, "ipv4_mapped", None) or found
        if any(peer in network for network in self._allowed):
            return True
        self._heard.refuse("unauthorized", "somebody connected from outside KEYFERRY_VAULT_AUDIT_ALLOWED")
        return False

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Lines of bounded length; what is longer is passed over."""
        rest, passing = b"", False
        while chunk := await reader.read(_CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if passing:
                    passing = False  # the end of what was too long
                else:
                    self._take(line)
            if len(rest) > _LONGEST_LINE:
                if not passing:
                    self._heard.refuse("too_large", "an audit entry is longer than 1 MiB")
                    self._pending.everything()
                rest, passing = b"", True
            await asyncio.sleep(0)  # the sender may be faster than we: others shall have their turn

    def _take(self, line: bytes) -> None:
        try:
            change = vault_events.audited(line)
        except Malformed as error:
            self._heard.refuse("malformed", f"a line is no entry of an audit log: {error}")
            return
        if change is None:
            self._heard.count("irrelevant")
        else:
            self._pending.add(change)
