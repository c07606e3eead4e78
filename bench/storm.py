"""Calls a CSI socket as kubelet does, at a tenth of a real gRPC client's cost: the client shares the cores it measures.

It speaks just the HTTP/2 that a unary call takes (RFC 9113): preface, SETTINGS, and once the server's SETTINGS have
come (as grpc-go waits for them) HEADERS and DATA. Header blocks are literals without Huffman codes (RFC 7541, 6.2.2).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_LARGEST_FRAME = 16384
_NO_TABLE = b"\x00\x01\x00\x00\x00\x00"  # SETTINGS_HEADER_TABLE_SIZE 0: every answer spells its status out
_STATUS, _MESSAGE = b"\x0bgrpc-status", b"\x0cgrpc-message"

CAPABILITIES, PUBLISH, UNPUBLISH = (
    f"/csi.v1.Node/{method}" for method in ("NodeGetCapabilities", "NodePublishVolume", "NodeUnpublishVolume")
)


class CallFailed(Exception):
    """The server's status was not OK, or the connection broke; the text is the server's."""


@dataclass(frozen=True, slots=True)
class Call:
    """A method and its serialised request."""

    method: str
    request: bytes = field(default=b"", repr=False)

    def frames(self, stream: int) -> bytes:
        """HEADERS and DATA on a stream."""
        data = b"\0" + len(self.request).to_bytes(4, "big") + self.request
        if len(data) > _LARGEST_FRAME:
            raise ValueError(f"a request of {len(data)} bytes does not fit one frame")
        block = (
            b"\x83\x86"  # :method POST, :scheme http
            + _literal(b":path", self.method.encode())
            + _literal(b":authority", b"localhost")
            + _literal(b"content-type", b"application/grpc")
            + _literal(b"user-agent", b"grpc-go/1.72.1")
            + _literal(b"te", b"trailers")
            + _literal(b"grpc-timeout", b"119999m")
        )
        return _frame(_HEADERS, _END_HEADERS, stream, block) + _frame(_DATA, _END_STREAM, stream, data)


class Connection(asyncio.Protocol):
    """A connection for one call after another."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._buffer = b""
        self._stream = -1
        self._settled = False
        self._waiting = b""
        self._answer: asyncio.Future[None] | None = None

    def call(self, call: Call) -> asyncio.Future[None]:
        """Make a call; the future ends with the server's OK, or with `CallFailed`."""
        self._stream += 2
        self._answer = asyncio.get_running_loop().create_future()
        frames = call.frames(self._stream)
        if self._settled:
            self._transport.write(frames)
        else:
            self._waiting = frames
        return self._answer

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        self._transport.write(_PREFACE + _frame(_SETTINGS, 0, 0, _NO_TABLE))

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        buffer = self._buffer + data
        at = 0
        while len(buffer) - at >= 9:  # noqa: PLR2004 - a frame's header
            end = at + 9 + int.from_bytes(buffer[at : at + 3], "big")
            if end > len(buffer):
                break
            self._take(buffer[at + 3], buffer[at + 4], buffer[at + 9 : end])
            at = end
        self._buffer = buffer[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._end(f"the connection was lost: {exc}")

    def _take(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == _SETTINGS and not flags & _ACK:
            self._settled = True
            self._transport.write(_frame(_SETTINGS, _ACK, 0, b"") + self._waiting)
        elif kind == _PING and not flags & _ACK:
            self._transport.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _HEADERS and flags & _END_STREAM:
            status = _text(payload, _STATUS)
            self._end("" if status == "0" else f"status {status}: {_text(payload, _MESSAGE)}")
        elif kind in (_RST_STREAM, _GOAWAY):
            self._end(f"the server ended it: {payload!r}")

    def _end(self, failure: str) -> None:
        if self._answer is not None and not self._answer.done():
            if failure:
                self._answer.set_exception(CallFailed(failure))
            else:
                self._answer.set_result(None)


@dataclass(frozen=True)
class Outcome:
    """What a row of mounts (or of anything called so) took.

    Attributes:
        seconds: From the first call to the last answer.
        latencies_ms: Of each that went well, in order of their ends.
        failures: What the server said of each that did not.
    """

    seconds: float
    latencies_ms: Sequence[float]
    failures: Sequence[str]

    @property
    def per_second(self) -> float:
        """How many went well per second."""
        return len(self.latencies_ms) / self.seconds


def as_kubelet(publish: Call) -> tuple[Call, ...]:
    """The calls of one mount: kubelet asks for the capabilities twice (mount group, access modes), then publishes."""
    return (Call(CAPABILITIES), Call(CAPABILITIES), publish)


async def fresh(endpoint: str, calls: Iterable[Call]) -> None:
    """Make calls one after another, each on a connection of its own."""
    loop = asyncio.get_running_loop()
    for call in calls:
        _, connection = await loop.create_unix_connection(Connection, endpoint.removeprefix("unix://"))
        try:
            await connection.call(call)
        finally:
            connection.close()


async def run(endpoint: str, mounts: Iterable[Sequence[Call]], *, at_once: int) -> Outcome:
    """Make each mount's calls on fresh connections, so many mounts at the same time."""
    latencies: list[float] = []
    failures: list[str] = []
    waiting = iter(mounts)

    async def work() -> None:
        for calls in waiting:
            start = time.perf_counter()
            try:
                await fresh(endpoint, calls)
            except (CallFailed, OSError) as error:
                failures.append(str(error))
            else:
                latencies.append((time.perf_counter() - start) * 1000)

    start = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(at_once):
            tasks.create_task(work())
    return Outcome(time.perf_counter() - start, latencies, failures)


async def run_kept(endpoint: str, mounts: Iterable[Sequence[Call]]) -> Outcome:
    """Make each mount's calls one mount after another, all on one connection."""
    latencies: list[float] = []
    failures: list[str] = []
    begin = time.perf_counter()
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_unix_connection(Connection, endpoint.removeprefix("unix://"))
    for calls in mounts:
        start = time.perf_counter()
        try:
            for call in calls:
                await connection.call(call)
        except CallFailed as error:
            failures.append(str(error))
        else:
            latencies.append((time.perf_counter() - start) * 1000)
    connection.close()
    return Outcome(time.perf_counter() - begin, latencies, failures)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _literal(name: bytes, value: bytes) -> bytes:
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


def _text(block: bytes, name: bytes) -> str:
    """The value of a literal header, cut at 127 bytes; gRPC's C core sends values without Huffman codes."""
    _, found, rest = block.partition(name)
    return rest[1 : 1 + min(rest[0] & 0x7F, len(rest))].decode(errors="replace") if found else "missing"
