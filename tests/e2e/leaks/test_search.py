"""The search for leaks must be able to fail: what is planted is found, wherever and however encoded."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
import redis.asyncio
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from keyferry.testing.serving import serving

if TYPE_CHECKING:
    from tests.e2e.conftest import Until
    from tests.e2e.leaks.conftest import Watch

pytestmark = pytest.mark.root

Canary = Callable[[], str]
Search = Callable[[bytes, list[str]], list[str]]


async def on_the_bus(watch: Watch, value: str) -> None:
    await watch.client.publish("keyferry.refresh.node-a", value.encode())


async def in_a_stream(watch: Watch, value: str) -> None:
    await watch.client.jetstream().publish("keyferry.volume.node-a.v", value.encode())


async def in_a_log(watch: Watch, value: str) -> None:
    with watch.world.node.process.log.open("a") as log:
        log.write(value)


async def in_a_record(watch: Watch, value: str) -> None:
    (watch.world.records / "x.bad").write_text(value)


async def in_a_span(watch: Watch, value: str) -> None:
    spans = ExportTraceServiceRequest(resource_spans=[ResourceSpans(schema_url=value)])
    await watch.otlp.receive(spans.SerializeToString())


async def in_a_text(watch: Watch, value: str) -> None:
    watch.texts.append(value)


async def in_valkey(watch: Watch, value: str) -> None:
    async with redis.asyncio.from_url(watch.stack.valkey.url) as store:
        await store.set("planted", value * 10, ex=60)


async def in_an_event(watch: Watch, value: str) -> None:
    event = {"metadata": {"name": "planted"}, "message": value, "involvedObject": {"namespace": watch.world.namespace}}
    await watch.world.kube.post(f"/api/v1/namespaces/{watch.world.namespace}/events", event)


@asynccontextmanager
async def page(text: str) -> AsyncIterator[str]:
    """A page of metrics that says this."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=text)

    app = web.Application()
    app.router.add_get("/metrics", answer)
    async with serving(app) as url:
        yield f"{url}/metrics"


PLANTS: dict[str, tuple[str, Callable[[Watch, str], Awaitable[None]]]] = {
    "bus": ("bus", on_the_bus),
    "stream": ("files", in_a_stream),
    "log": ("files", in_a_log),
    "record": ("files", in_a_record),
    "span": ("spans", in_a_span),
    "text": ("texts", in_a_text),
    "valkey": ("valkey", in_valkey),
    "event": ("events", in_an_event),
}


async def test_a_leak_would_be_found(watch: Watch, canary: Canary, until: Until) -> None:
    """A value that is planted in any of the places is found there, and was not before."""
    assert await watch.leaks() == {}
    for where, plant in PLANTS.values():
        value = canary()
        watch.values.append(value)
        await plant(watch, value)
        await until(partial(shows, watch, where, value))
    async with page(f'leak{{value="{watch.secret}"}} 1') as url:
        watch.pages.append(url)
        assert await shows(watch, "metrics", watch.secret)


async def shows(watch: Watch, where: str, value: str) -> bool:
    return value in (await watch.leaks()).get(where, [])


ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "raw": str.encode,
    "hex": lambda value: value.encode().hex().encode(),
    "HEX": lambda value: value.encode().hex().upper().encode(),
    "base64": lambda value: base64.b64encode(value.encode()),
    "within base64": lambda value: base64.b64encode(f'{{"a": "{value}", "b": 1}}'.encode()),
    "within shifted base64": lambda value: base64.b64encode(f'{{"ab": "{value}", "b": 1}}'.encode()),
    "base64url": lambda value: base64.urlsafe_b64encode(value.encode()).rstrip(b"="),
    "URL": lambda value: quote(value).encode(),
    "form": lambda value: quote(value, safe="").encode(),
    "JSON": lambda value: json.dumps({"x": value}).encode(),
    "JSON in UTF-8": lambda value: json.dumps({"x": value}, ensure_ascii=False).encode(),
    "repr": lambda value: repr({"x": value}).encode(),
}


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
def test_a_leak_would_be_recognised(encode: Callable[[str], bytes], canary: Canary, search: Search) -> None:
    """A value is recognised in each encoding, and no other value is."""
    value = canary()

    assert search(b"before " + encode(value) + b" after", [canary(), value]) == [value]
