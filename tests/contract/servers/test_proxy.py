import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web
from botocore.exceptions import ClientError

from keyferry.testing.aws import Aws
from keyferry.testing.openbao import OpenBao
from keyferry.testing.proxy import CountingProxy, counting_proxy
from keyferry.testing.serving import serving


@pytest.fixture
async def echo() -> AsyncIterator[str]:
    """A backend that repeats what it was sent."""
    app = web.Application()

    async def repeat(request: web.Request) -> web.Response:
        body = await request.read()
        return web.Response(status=203, body=body, headers={"X-Saw": f"{request.method} {request.raw_path}"})

    app.router.add_route("*", "/{path:.*}", repeat)
    async with serving(app) as url:
        yield url


@pytest.fixture
async def proxy(echo: str) -> AsyncIterator[CountingProxy]:
    async with counting_proxy(echo) as running:
        yield running


@pytest.fixture
async def client(proxy: CountingProxy) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(proxy.url) as session:
        yield session


async def test_requests_and_responses_pass_unchanged(client: aiohttp.ClientSession) -> None:
    """Method, escaped path, query, body, status and headers arrive as they were sent."""
    async with client.patch("/a%2Fb?c=%20d", data=b"\x00body") as response:
        assert (response.status, await response.read()) == (203, b"\x00body")
        assert response.headers["X-Saw"] == "PATCH /a%2Fb?c=%20d"


async def test_calls_are_counted_by_what_they_ask(proxy: CountingProxy, client: aiohttp.ClientSession) -> None:
    """Each request is one call, whatever becomes of it."""
    await client.get("/v1/secret/data/app")
    await client.post("/v1/auth/jwt/login")
    await client.post("/", headers={"X-Amz-Target": "secretsmanager.GetSecretValue"})
    await client.post("/", data={"Action": "AssumeRole"})

    assert proxy.count() == 4
    assert proxy.count("GET /v1/secret/data") == 1
    assert proxy.count("login") == 1
    assert proxy.count("GetSecretValue") == 1
    assert proxy.count("AssumeRole") == 1


async def test_failures_last_as_often_as_told(proxy: CountingProxy, client: aiohttp.ClientSession) -> None:
    """A throttled backend recovers without the test doing anything."""
    proxy.fail(status=429, body="slow down", times=2, match="/limited", headers={"Retry-After": "7"})

    first = await client.get("/limited")
    others = [(await client.get(path)).status for path in ("/free", "/limited", "/limited")]

    assert (first.status, await first.text(), first.headers["Retry-After"]) == (429, "slow down", "7")
    assert others == [203, 429, 203]


async def test_failures_end_with_restore(proxy: CountingProxy, client: aiohttp.ClientSession) -> None:
    """Without a number of times a failure lasts until the test lifts it."""
    proxy.fail(status=503)
    before = [(await client.get("/")).status for _ in range(3)]
    proxy.restore()

    assert before == [503, 503, 503]
    assert (await client.get("/")).status == 203
    assert proxy.count() == 4


async def test_dropped_calls_lose_their_connection(proxy: CountingProxy, client: aiohttp.ClientSession) -> None:
    """The client sees what it sees when a backend dies, and the next call goes through."""
    proxy.drop(times=1)

    with pytest.raises(aiohttp.ClientError):
        await client.post("/")
    assert (await client.post("/")).status == 203


async def test_a_backend_that_is_down_loses_its_callers() -> None:
    """The proxy never invents an answer for a backend that gives none."""
    async with counting_proxy("http://127.0.0.1:1") as proxy, aiohttp.ClientSession(proxy.url) as client:
        with pytest.raises(aiohttp.ClientError):
            await client.post("/")

        assert proxy.count() == 1


async def test_delayed_calls_wait(proxy: CountingProxy, client: aiohttp.ClientSession) -> None:
    """A slow backend is slow for matching calls only: a later one overtakes."""
    proxy.delay(0.2, match="/slow")
    order: list[str] = []

    async def get(path: str) -> None:
        await client.get(path)
        order.append(path)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(get("/slow"))
        await proxy.arrived(1, "/slow")
        tasks.create_task(get("/fast"))

    assert order == ["/fast", "/slow"]


async def test_held_calls_wait_for_the_end_of_the_block(proxy: CountingProxy, client: aiohttp.ClientSession) -> None:
    """A test can look at the moment when several calls are in flight, without a clock."""
    with proxy.held("/held"):
        calls = [asyncio.ensure_future(client.get("/held")) for _ in range(3)]
        await proxy.arrived(3, "/held")
        assert (await client.get("/other")).status == 203
        assert not any(call.done() for call in calls)

    assert [(await call).status for call in calls] == [203, 203, 203]


async def test_waiting_for_calls_that_never_come_ends(proxy: CountingProxy) -> None:
    """A test that waits for the wrong thing fails instead of hanging."""
    with pytest.raises(TimeoutError):
        await proxy.arrived(1, within=0.05)


async def test_aws_clients_go_through(aws: Aws) -> None:
    """The Host header is kept, so signed requests stay valid, and the error is one that boto3 understands."""
    async with counting_proxy(aws.endpoint_url) as proxy:
        proxied = replace(aws, endpoint_url=proxy.url)
        await proxied.create_secret("proxy/one", "value")
        proxy.fail(status=400, body='{"__type":"InternalServiceError"}', match="PutSecretValue")

        with pytest.raises(ClientError, match="InternalServiceError"):
            await proxied.put_secret("proxy/one", "value")
        assert proxy.count("secretsmanager.CreateSecret") == 1


async def test_openbao_clients_go_through(openbao: OpenBao) -> None:
    """A proxy replaces the backend's address and nothing else."""
    async with counting_proxy(openbao.address) as proxy:
        proxied = replace(openbao, address=proxy.url)

        assert await proxied.put("proxy/one", {"a": "1"}) == 1
        assert proxy.count("/v1/secret/data/proxy/one") == 1
        assert openbao.count_requests("secret/data/proxy/one") == 1
