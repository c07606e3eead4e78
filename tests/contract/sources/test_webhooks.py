"""The HTTP server of webhooks against senders that behave, and others."""

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import REGISTRY

from keyferry.testing.eventgrid import EventGrid
from keyferry.testing.kube import tls
from keyferry.testing.ports import free_port
from rotator.sources import open_sources, signatures
from rotator.sources.server import WebhookServer
from rotator.sources.source import Source

from .conftest import Bus, running, until

KEY = "test-only-event-grid-key"
SECRET = "test-only-signing-secret"
TOKEN = "test-only-bearer-token"
KEY_FILES = {"KEYFERRY_AZURE_EVENTS_KEY_FILE": KEY, "KEYFERRY_WEBHOOK_HMAC_FILE": SECRET}
PLAIN = {"Content-Type": "application/cloudevents+json"}


@dataclass(frozen=True)
class Web:
    """A running server, and a client for it."""

    url: str
    port: int
    client: aiohttp.ClientSession

    async def send(self, body: bytes, *, path: str = "/events", headers: dict[str, str]) -> int:
        """POST, and what was answered."""
        async with self.client.post(f"{self.url}{path}", data=body, headers=headers) as answer:
            return answer.status


def environ(directory: Path, port: int, **more: str) -> dict[str, str]:
    variables = {"KEYFERRY_WEBHOOK_ADDRESS": f"127.0.0.1:{port}", **more}
    for variable, key in KEY_FILES.items():
        (directory / variable).write_text(f"{key}\nanother-key-for-rotation\n")
        variables[variable] = str(directory / variable)
    (directory / "token").write_text(TOKEN)
    return {**variables, "KEYFERRY_WEBHOOK_TOKEN_FILE": str(directory / "token")}


@asynccontextmanager
async def serving_webhooks(
    directory: Path, bus: Bus, *, source: Source | None = None, **more: str
) -> AsyncIterator[Web]:
    port = free_port()
    (opened,) = open_sources(environ(directory, port, **more)) if source is None else (source,)
    assert isinstance(opened, WebhookServer)
    async with running(opened, bus), aiohttp.ClientSession() as client:
        await until(lambda: opened.port != 0)
        yield Web(f"http://127.0.0.1:{opened.port}", opened.port, client)


@pytest.fixture
async def web(tmp_path: Path, bus: Bus) -> AsyncIterator[Web]:
    async with serving_webhooks(tmp_path, bus) as running_web:
        yield running_web


def event(event_id: str = "e-1", **data: Any) -> dict[str, Any]:
    about = {"specversion": "1.0", "id": event_id, "source": "/pipeline", "type": "io.keyferry.backend.changed"}
    return {**about, "data": {"provider": "vault", "sources": ["secret/data/a"], **data}}


def signed(body: bytes, *, request_id: str = "r-1", at: float | None = None, secret: str = SECRET) -> dict[str, str]:
    stamp = int(time.time() if at is None else at)
    return {
        **PLAIN,
        "webhook-id": request_id,
        "webhook-timestamp": str(stamp),
        "webhook-signature": signatures.sign(secret.encode(), request_id, stamp, body),
    }


def outcome(source: str, name: str) -> float:
    labels = {"source": source, "outcome": name}
    return REGISTRY.get_sample_value("keyferry_change_events_total", labels) or 0


async def raw(port: int, request: bytes) -> bytes:
    """Everything that is answered to these bytes until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        writer.write(request)
        await writer.drain()
    answer = b""
    with contextlib.suppress(ConnectionError):
        answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return answer


@pytest.mark.parametrize("cloud_events", [False, True])
async def test_event_grid_subscribes_and_tells(web: Web, bus: Bus, cloud_events: bool) -> None:
    """Both schemas pass their handshake; new versions of every kind reach the bus."""
    grid = EventGrid(f"{web.url}/events/azure?key={KEY}", cloud_events=cloud_events)
    assert await grid.validate(web.client)
    for kind in ("Secret", "Key", "Certificate"):
        assert await grid.deliver(web.client, grid.new_version("shop", kind, f"{kind}-1"))
    assert {"shop/secret/secret-1", "shop/key/key-1", "shop/certificate/certificate-1"} <= bus.sources()
    assert {change.provider for change in bus.told} == {"azure"}


async def test_no_other_origin_is_agreed_to(web: Web) -> None:
    """The handshake names Event Grid's own origins only, and never what was asked."""
    url, asked = f"{web.url}/events/azure?key={KEY}", {"WebHook-Request-Origin": "CANARY.example.com"}
    async with web.client.options(url, headers=asked) as answer:
        assert answer.status == 405
        assert "CANARY" not in str(answer.headers)


async def test_event_grid_sends_again_what_the_bus_did_not_take(web: Web, bus: Bus) -> None:
    """Nothing is answered with success before it is on the bus."""
    bus.away = True
    grid = EventGrid(f"{web.url}/events/azure", headers={"X-Keyferry-Key": KEY})
    delivery = asyncio.create_task(grid.deliver(web.client, grid.new_version("shop", "Secret", "db"), tries=1000))
    await until(lambda: len(bus.refused) > 2)
    bus.away = False
    assert await delivery
    assert set(grid.statuses) == {503, 204}
    assert bus.sources() == {"shop/secret/db"}


@pytest.mark.parametrize("query", ["", "?key=", "?key=wrong-key-of-decent-length", f"?Key2={KEY}"])
async def test_event_grid_without_the_key_is_refused(web: Web, bus: Bus, query: str) -> None:
    """Neither events nor handshakes pass without the key."""
    grid = EventGrid(f"{web.url}/events/azure{query}")
    assert not await grid.validate(web.client)
    assert not await grid.deliver(web.client, grid.new_version("shop", "Secret", "db"), tries=1)
    assert grid.statuses == [401]
    assert bus.told == []


async def test_signed_events_are_told_once(web: Web, bus: Bus) -> None:
    """A signed request is told; the very same one again is answered alike and tells nothing."""
    body = json.dumps(event()).encode()
    assert await web.send(body, headers=signed(body)) == 204
    assert await web.send(body, headers=signed(body)) == 204
    assert [(change.provider, change.sources) for change in bus.told] == [("vault", ("secret/data/a",))]


async def test_any_of_the_secrets_holds(web: Web, bus: Bus) -> None:
    """While a secret is being rotated senders may sign with the old or the new one."""
    body = json.dumps(event()).encode()
    assert await web.send(body, headers=signed(body, secret="another-key-for-rotation")) == 204
    assert len(bus.told) == 1


async def test_secrets_are_read_again(web: Web, tmp_path: Path) -> None:
    """A new secret holds as soon as it is in the file, and the old one no longer."""
    body = json.dumps(event()).encode()
    assert await web.send(body, headers=signed(body, request_id="r-1")) == 204
    (tmp_path / "KEYFERRY_WEBHOOK_HMAC_FILE").write_text("test-only-brand-new-secret")
    assert await web.send(body, headers=signed(body, request_id="r-2")) == 401
    assert await web.send(body, headers=signed(body, request_id="r-3", secret="test-only-brand-new-secret")) == 204


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-signature": ""},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-id": "r-2"},
        {"webhook-timestamp": str(int(time.time()))},
        {"webhook-timestamp": "٣"},
        {"Authorization": "Bearer wrong", "webhook-signature": "v1,AAAA"},
    ],
)
async def test_unsigned_and_altered_requests_are_refused(web: Web, bus: Bus, change: dict[str, str]) -> None:
    """Whatever the signature covers cannot be altered."""
    body = json.dumps(event()).encode()
    assert await web.send(body, headers={**signed(body, at=time.time() - 100), **change}) == 401
    assert bus.told == []


@pytest.mark.parametrize("seconds", [-301, 310])
async def test_old_and_early_requests_are_refused(web: Web, bus: Bus, seconds: int) -> None:
    """A request signed more than five minutes from now does not count, replayed or not."""
    body = json.dumps(event()).encode()
    assert await web.send(body, headers=signed(body, at=time.time() + seconds)) == 401
    assert bus.told == []


async def test_binary_and_batched_events_by_token(web: Web, bus: Bus) -> None:
    """All three modes of CloudEvents are understood, and a bearer token will do."""
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    batch = json.dumps([event("b-1", sources=["secret/data/1"]), event("b-2", provider="aws", sources=[])]).encode()
    kind = {"Content-Type": "application/cloudevents-batch+json; charset=utf-8"}
    assert await web.send(batch, headers={**bearer, **kind}) == 204
    attributes = {f"ce-{name}": value for name, value in event("b-3").items() if name != "data"}
    data = json.dumps({"provider": "gcp", "sources": ["secrets/db"]}).encode()
    assert await web.send(data, headers={**bearer, **attributes, "Content-Type": "application/json"}) == 204
    assert [(change.provider, change.sources) for change in bus.told] == [
        ("vault", ("secret/data/1",)),
        ("aws", ()),
        ("gcp", ("secrets/db",)),
    ]


async def test_what_was_not_told_may_come_again(web: Web, bus: Bus) -> None:
    """A request is remembered only once all of it is on the bus."""
    body = json.dumps(event()).encode()
    bus.away = True
    assert await web.send(body, headers=signed(body)) == 503
    bus.away = False
    assert await web.send(body, headers=signed(body)) == 204
    assert len(bus.told) == 1


async def test_refusals_by_form(web: Web, bus: Bus) -> None:
    """Each kind of unfit request has its status, and none says anything of what was sent."""
    good = json.dumps(event()).encode()
    large = b'"' + b"x" * 65_536 + b'"'
    assert await web.send(large, headers=signed(large)) == 413
    assert await web.send(good, headers={**signed(good), "Content-Type": "text/plain"}) == 415
    assert await web.send(good, headers={**signed(good), "Content-Encoding": "gzip"}) == 415
    assert await web.send(b"[]", headers=signed(b"[]")) == 400
    assert await web.send(good, path="/elsewhere", headers=signed(good)) == 404
    async with web.client.get(f"{web.url}/events?reflect=CANARY") as answer:
        assert (answer.status, await answer.read()) == (405, b"")
    assert bus.told == []


async def test_a_body_without_a_stated_length_is_bounded(web: Web, bus: Bus) -> None:
    """Chunks are counted too."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1024

    head = signed(b"")
    with contextlib.suppress(aiohttp.ClientError):  # cut while it sends
        async with web.client.post(f"{web.url}/events", data=endless(), headers=head) as answer:
            assert answer.status == 413
    assert bus.told == []


@pytest.mark.parametrize(
    "request_text",
    [
        b"CANARY\r\n\r\n",
        b"GET /CANARY HTTP/9.9\r\n\r\n",
        b"POST /events HTTP/1.1\r\nHost: a\r\n" + b"".join(b"CANARY-%d: x\r\n" % n for n in range(500)) + b"\r\n",
        b"POST /events HTTP/1.1\r\nHost: a\r\nCANARY: " + b"x" * 20_000 + b"\r\n\r\n",
        b"POST /" + b"x" * 20_000 + b"CANARY HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nCANARY",
        b"POST /events HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nCANARY",
        b"\x16\x03\x01\x02\x00CANARY\r\n\r\n",
    ],
    ids=["no HTTP", "version", "many headers", "a long header", "a long path", "length", "smuggling", "TLS"],
)
async def test_what_is_no_http_is_not_given_back(
    web: Web, bus: Bus, caplog: pytest.LogCaptureFixture, request_text: bytes
) -> None:
    """Whatever cannot be parsed is refused, and neither the answer nor the log has any of it."""
    answer = await raw(web.port, request_text)
    assert answer.partition(b" ")[2][:1] == b"4"
    assert b"CANARY" not in answer
    assert "CANARY" not in caplog.text
    assert bus.told == []


async def test_slow_senders_are_cut_off(tmp_path: Path, bus: Bus) -> None:
    """Headers that never end, bodies that never come and mere silence all end soon."""
    port = free_port()
    (opened,) = open_sources(environ(tmp_path, port))
    assert isinstance(opened, WebhookServer)
    opened._connection_seconds, opened._body_seconds = 0.5, 0.2
    body = json.dumps(event()).encode()
    head = "".join(f"{name}: {value}\r\n" for name, value in signed(body).items())
    async with serving_webhooks(tmp_path, bus, source=opened) as web:
        assert await raw(web.port, b"") == b""
        assert await raw(web.port, b"POST /events HTTP/1.1\r\nHost: a\r\nX: ") == b""
        slow = await raw(web.port, f"POST /events HTTP/1.1\r\nHost: a\r\n{head}Content-Length: 100\r\n\r\n".encode())
    assert slow.startswith(b"HTTP/1.1 408 ")


async def test_connections_are_few(web: Web) -> None:
    """Beyond 128 connections new ones are cut at once, and those that were there are served."""
    before = outcome("webhooks", "limited")
    first = await asyncio.open_connection("127.0.0.1", web.port)
    others = [await asyncio.open_connection("127.0.0.1", web.port) for _ in range(140)]
    await until(lambda: outcome("webhooks", "limited") >= before + 13)
    first[1].write(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await first[0].read()).startswith(b"HTTP/1.1 405 ")
    for _, writer in (first, *others):
        writer.close()


async def test_a_flood_is_limited(tmp_path: Path, bus: Bus) -> None:
    """Whoever may send still cannot make us work without bounds."""
    async with serving_webhooks(tmp_path, bus, KEYFERRY_WEBHOOK_RATE="5") as web:
        bodies = [json.dumps(event(f"f-{n}")).encode() for n in range(100)]
        statuses = [await web.send(body, headers=signed(body, request_id=f"f-{n}")) for n, body in enumerate(bodies)]
    assert set(statuses) == {204, 429}
    assert len(bus.told) == statuses.count(204)


async def test_stopping_while_busy(tmp_path: Path, bus: Bus) -> None:
    """A request that is not on the bus when we are told to stop is not answered with success."""
    bus.slow = asyncio.Event()
    body = json.dumps(event()).encode()
    async with serving_webhooks(tmp_path, bus) as web:
        request = asyncio.create_task(web.send(body, headers=signed(body)))
        await until(lambda: bus.waiting == 1)
    with pytest.raises(aiohttp.ClientError):
        await request
    assert bus.told == []


async def test_tls_and_a_renewed_certificate(tmp_path: Path, bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a certificate events come over TLS alone, and a renewed one is served without a restart."""
    monkeypatch.setattr("rotator.sources.server._LOOK_SECONDS", 0.05)
    certificate, key, ca = tmp_path / "tls.crt", tmp_path / "tls.key", tmp_path / "ca.crt"

    def issue() -> ssl.SSLContext:
        issued = tls.issue()
        key.write_text(issued.key)
        certificate.write_text(issued.certificate)
        ca.write_text(issued.ca_pem)
        return ssl.create_default_context(cafile=ca)

    trusted = issue()
    files: dict[str, Any] = {"KEYFERRY_WEBHOOK_TLS_CERT": str(certificate), "KEYFERRY_WEBHOOK_TLS_KEY": str(key)}
    async with serving_webhooks(tmp_path, bus, **files) as web:
        url = f"https://localhost:{web.port}/events"
        async with web.client.get(url, ssl=trusted) as answer:
            assert answer.status == 405
        renewed = issue()
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with web.client.get(url, ssl=renewed) as answer:
                        assert answer.status == 405
                        break
                await asyncio.sleep(0.05)
        assert not (await raw(web.port, b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")).startswith(b"HTTP")
