"""A reverse proxy that counts what a backend is asked, and throttles, fails, drops, slows or holds it on request."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from keyferry.testing.ports import free_port
from keyferry.testing.serving import serving

_LARGEST_BODY = 16 * 1024 * 1024  # bytes
# Headers of one connection, not of the message (RFC 9110, section 7.6.1), and those that aiohttp writes itself.
_NOT_FORWARDED = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "content-length"}


@dataclass(frozen=True)
class Call:
    """One request that reached the proxy, forwarded or not."""

    method: str
    path: str
    """As sent, query included."""
    target: str
    """AWS's operation, from X-Amz-Target or the form's Action; empty for other backends."""
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def matches(self, text: str) -> bool:
        """Whether `text` occurs in `METHOD path target`; the empty text matches every call."""
        return text in f"{self.method} {self.path} {self.target}"


@dataclass
class _Rule:
    """What happens to the next `times` calls that match; None means all of them."""

    match: str
    times: int | None
    delay: float = 0.0
    gate: asyncio.Event | None = None
    answer: Callable[[web.BaseRequest], web.Response] | None = None

    def takes(self, call: Call) -> bool:
        if self.times == 0 or not call.matches(self.match):
            return False
        if self.times is not None:
            self.times -= 1
        return True


@dataclass
class CountingProxy:
    """What tests say to a running proxy.

    `match` selects calls by a text within `METHOD path target`, such as `GetSecretValue`, `GET /v1/secret/data/app` or
    `auth/jwt/login`. Delays and holds add up; of failures and drops, the oldest that still has `times` left wins.
    """

    url: str
    calls: list[Call] = field(default_factory=list)
    """Every request so far, in order of arrival."""
    _rules: list[_Rule] = field(default_factory=list)
    _arrival: asyncio.Condition = field(default_factory=asyncio.Condition, repr=False)

    def count(self, match: str = "") -> int:
        """How many calls have arrived."""
        return sum(call.matches(match) for call in self.calls)

    async def arrived(self, calls: int, match: str = "", *, within: float = 10.0) -> None:
        """Wait until at least so many calls have arrived.

        Raises:
            TimeoutError: If they do not within so many seconds.
        """
        async with asyncio.timeout(within), self._arrival:
            await self._arrival.wait_for(lambda: self.count(match) >= calls)

    def fail(
        self,
        *,
        status: int,
        body: bytes | str = b"",
        match: str = "",
        times: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer calls with this response instead of the backend's, `times` times or until `restore`."""
        content = body.encode() if isinstance(body, str) else body
        self._rules.append(
            _Rule(match, times, answer=lambda _: web.Response(status=status, body=content, headers=headers))
        )

    def drop(self, *, match: str = "", times: int | None = None) -> None:
        """Reset the connection instead of answering, as a backend that dies does."""
        self._rules.append(_Rule(match, times, answer=_reset))

    def delay(self, seconds: float, *, match: str = "", times: int | None = None) -> None:
        """Let calls wait before they go on."""
        self._rules.append(_Rule(match, times, delay=seconds))

    @contextmanager
    def held(self, match: str = "") -> Iterator[None]:
        """Hold calls that arrive within the block, and let them go on at its end."""
        gate = asyncio.Event()
        rule = _Rule(match, None, gate=gate)
        self._rules.append(rule)
        try:
            yield
        finally:
            self._rules.remove(rule)
            gate.set()

    def restore(self) -> None:
        """Forget all failures, drops and delays; calls already counted stay counted."""
        self._rules[:] = [rule for rule in self._rules if rule.gate]

    async def meet(self, call: Call) -> Callable[[web.BaseRequest], web.Response] | None:
        """Count a call, let it wait as told, and say what answers it instead of the backend."""
        self.calls.append(call)
        async with self._arrival:
            self._arrival.notify_all()
        answer = None
        for rule in tuple(self._rules):
            if (answer and rule.answer) or not rule.takes(call):
                continue
            answer = answer or rule.answer
            if rule.gate:
                await rule.gate.wait()
            await asyncio.sleep(rule.delay)
        return answer


@asynccontextmanager
async def counting_proxy(upstream: str, *, port: int | None = None) -> AsyncIterator[CountingProxy]:
    """Run a proxy in this event loop, in front of the HTTP backend at `upstream`.

    It forwards the Host header as it came, so that AWS signatures hold. A backend that is down resets the connection.

    Args:
        upstream: Base URL of the backend.
        port: Where it listens; a free one by default.
    """
    port = port or free_port()
    proxy = CountingProxy(f"http://127.0.0.1:{port}")
    async with aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def handle(request: web.Request) -> web.Response:
            call = await _received(request)
            answer = await proxy.meet(call)
            return answer(request) if answer else await _forward(session, upstream.rstrip("/"), request, call)

        app = web.Application(client_max_size=_LARGEST_BODY)
        app.router.add_route("*", "/{path:.*}", handle)
        async with serving(app, port=port):
            yield proxy


async def _received(request: web.Request) -> Call:
    body = await request.read()
    target = request.headers.get("X-Amz-Target", "")
    if request.content_type == "application/x-www-form-urlencoded":
        target = parse_qs(body.decode()).get("Action", [target])[0]
    return Call(request.method, request.raw_path, target, request.headers.copy(), body)


async def _forward(session: aiohttp.ClientSession, upstream: str, request: web.Request, call: Call) -> web.Response:
    try:
        async with session.request(
            call.method,
            URL(upstream + call.path, encoded=True),
            headers=_message_headers(call.headers),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            data=call.body or None,
            allow_redirects=False,
        ) as response:
            body = await response.read()
            return web.Response(status=response.status, body=body, headers=_message_headers(response.headers))
    except aiohttp.ClientError:
        return _reset(request)


def _message_headers(headers: Mapping[str, str]) -> CIMultiDict[str]:
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in _NOT_FORWARDED)


def _reset(request: web.BaseRequest) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=502)  # goes nowhere
