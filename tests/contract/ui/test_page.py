"""The page's address as browsers and programs see it, at a real rotator."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import aiohttp
import pytest
from yarl import URL

from keyferry.events import VolumeUnpublished
from keyferry.testing.live_page import LivePage, failed, name_of, volume

EVENTS = "/ui/events"
TRUST = ssl._create_unverified_context()  # noqa: S323 - a certificate of the test's own
Stream = AsyncGenerator[dict[str, Any], None]


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that keeps no cookies by itself."""
    connector, jar = aiohttp.TCPConnector(ssl=TRUST), aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    """The header."""
    return {"Authorization": f"Bearer {token}"}


def same(page: LivePage) -> dict[str, str]:
    """As the page itself sends it."""
    return {"Origin": page.url, "Sec-Fetch-Site": "same-origin"}


async def events(
    http: aiohttp.ClientSession, url: str, headers: dict[str, str]
) -> AsyncGenerator[dict[str, Any], None]:
    """Server-sent events as they come: what they tell, with their name as ``event``."""
    async with http.get(url, headers=headers, timeout=aiohttp.ClientTimeout(total=60)) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        name = ""
        async for line in answer.content:
            kind, _, told = line.decode().rstrip("\n").partition(": ")
            name = told if kind == "event" else name
            if kind == "data":
                yield {"event": name, **json.loads(told)}


async def until(
    coming: AsyncGenerator[dict[str, Any], None], wanted: Callable[[dict[str, Any]], Any]
) -> dict[str, Any]:
    """The first event that is wanted."""
    async with asyncio.timeout(40):
        async for told in coming:
            if wanted(told):
                return told
    raise AssertionError("the stream ended first")


def problems(told: dict[str, Any]) -> Any:
    """What is said to be wrong; None if nothing is said of it."""
    return told.get("health", {}).get("problems")


async def view(http: aiohttp.ClientSession, page: LivePage, token: str, **query: str) -> Any:
    """What somebody sees."""
    async with http.get(f"{page.url}/ui/view", headers=bearer(token), params=query) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def test_nobody_sees_anything_without_a_token(page: LivePage, http: aiohttp.ClientSession) -> None:
    """The page itself has nothing in it; what it shows takes a token that the cluster knows, each time."""
    await page.tell(volume("web"))
    for path in ("/ui/view", EVENTS):
        for headers in ({}, bearer("x"), {"Authorization": "Basic YTpi"}, {"Cookie": "__Host-keyferry=guess"}):
            async with http.get(page.url + path, headers=headers) as answer:
                assert answer.status == 401
                assert "shop" not in await answer.text()


PATHS = (
    *(("GET", path, 200) for path in ("/ui", "/ui/", "/ui/page.js", "/ui/table.js", "/ui/page.css", "/ui/icon.svg")),
    ("GET", "/", 303),
    ("GET", "/ui/../settings.py", 404),
    ("GET", "/ui/page.py", 404),
    ("POST", "/ui", 405),
    ("GET", "/ui/login", 405),
    ("DELETE", "/ui/view", 405),
    ("GET", "/ui/view", 401),
    ("POST", "/ui/login", 403),
    ("POST", "/ui/logout", 403),
)


async def test_every_answer_is_guarded(page: LivePage, http: aiohttp.ClientSession) -> None:
    """No script but our own, in no frame, kept by no cache; whatever is asked."""
    for method, path, wanted in PATHS:
        async with http.request(method, URL(page.url + path, encoded=True), allow_redirects=False) as answer:
            assert (path, answer.status) == (path, wanted)
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["X-Frame-Options"] == "DENY"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "unsafe" not in policy


async def test_a_viewer_sees_their_namespaces_and_how_much_else_there_is(
    page: LivePage, http: aiohttp.ClientSession
) -> None:
    """Volumes, contents and failures of one namespace; of the others two numbers, and no name."""
    shop, bank = volume("web"), volume("vaulted", "bank", node="bank-node", provider="aws")
    await page.tell(shop, failed(volume("job")), failed(bank, message="bank secret"), volume("more", "bank"))
    token = await page.account("bob", sees=["shop"])

    told = await view(http, page, token)

    assert told["volumes"]["order"] == [name_of(volume("job")), name_of(shop)]
    assert [each["pod"] for each in told["failures"]] == ["job"]
    assert (told["summary"]["hidden_volumes"], told["summary"]["hidden_contents"]) == (2, 1)
    assert "bank" not in json.dumps(told)
    everything = await view(http, page, await page.account("root", sees_all=True), namespace="bank", sort="-pod")
    assert everything["volumes"]["order"] == [name_of(bank), name_of(volume("more", "bank"))]


async def test_what_is_asked_wrongly_is_refused(page: LivePage, http: aiohttp.ClientSession) -> None:
    """400 names the parameter; a token in a query string is none, and is not repeated."""
    token = await page.account("bob", sees=["shop"])
    async with http.get(f"{page.url}/ui/view?token=abcdefg", headers=bearer(token)) as answer:
        assert answer.status == 400
        assert "there is no parameter 'token'" in await answer.text()


async def test_changes_come_by_themselves(page: LivePage, http: aiohttp.ClientSession) -> None:
    """First all of it, then only what has changed: a failure, its end, a volume that leaves."""
    await page.tell(volume("web"), volume("job"))
    token = await page.account("bob", sees=["shop"])
    job = name_of(volume("job"))

    async with aclosing(events(http, page.url + EVENTS, bearer(token))) as coming:
        first = await until(coming, lambda told: told["volumes"]["total"] == 2)
        assert set(first["volumes"]["rows"]) == set(first["volumes"]["order"])

        await page.tell(failed(volume("job")))
        news = await until(coming, lambda told: "failures" in told)
        assert list(news["volumes"]["rows"]) == [job]
        assert news["volumes"]["rows"][job]["failure"]["reason"] == "SecretNotFound"
        assert "choices" not in news

        await page.tell(VolumeUnpublished(volume("job").volume_id, "node-a"))
        news = await until(coming, lambda told: "volumes" in told and told["volumes"]["total"] == 1)
        assert news["volumes"]["order"] == [name_of(volume("web"))]
        assert news["failures"] == []


async def test_a_stream_ends_with_its_token(page: LivePage, http: aiohttp.ClientSession) -> None:
    """An account that is deleted is told no more, within seconds."""
    await page.tell(volume("web"))
    token = await page.account("bob", sees=["shop"])
    async with aclosing(events(http, page.url + EVENTS, bearer(token))) as coming:
        await until(coming, lambda told: "volumes" in told)
        await page.kube.call("DELETE", "/api/v1/namespaces/default/serviceaccounts/bob")
        await until(coming, lambda told: told["event"] == "ended")
        assert [each async for each in coming] == []


async def test_without_kubernetes_nothing_is_told(page: LivePage, http: aiohttp.ClientSession) -> None:
    """While it cannot be asked who looks, an open page gets a word of it and no data, and a new one is refused."""
    await page.tell(volume("web"))
    token = await page.account("bob", sees=["shop"])
    async with aclosing(events(http, page.url + EVENTS, bearer(token))) as coming:
        await until(coming, lambda told: "volumes" in told)
        page.api.process.pause()
        told = await until(coming, lambda told: told["event"] == "trouble")
        assert "Kubernetes API server does not answer" in told["message"]
        page.api.process.resume()
        await until(coming, lambda told: told["event"] == "news")


async def test_an_outage_of_nats_is_told(page: LivePage, http: aiohttp.ClientSession) -> None:
    """What is known is still shown, as old; and it is live again afterwards."""
    await page.tell(volume("web"))
    token = await page.account("bob", sees=["shop"])
    async with aclosing(events(http, page.url + EVENTS, bearer(token))) as coming:
        await until(coming, lambda told: problems(told) == [])
        await asyncio.to_thread(page.bus.process.stop)
        told = await until(coming, lambda told: len(problems(told) or []) > 1)
        assert "NATS is not connected" in told["health"]["problems"]
        assert (await view(http, page, token))["volumes"]["total"] == 1
        await asyncio.to_thread(page.bus.process.start)
        await until(coming, lambda told: problems(told) == [])


async def test_signing_in_exchanges_a_token_for_a_cookie(page: LivePage, http: aiohttp.ClientSession) -> None:
    """The cookie shows what the token shows, until somebody signs out; then it shows nothing."""
    await page.tell(volume("web"))
    token = await page.account("bob", sees=["shop"])
    async with http.post(f"{page.url}/ui/login", data={"token": token}, headers=same(page)) as answer:
        assert answer.status == 204
        cookie = answer.headers["Set-Cookie"]
    assert "; Path=/; Secure; HttpOnly; SameSite=Strict" in cookie
    assert token not in cookie
    headers = {"Cookie": cookie.partition(";")[0]}
    async with http.get(f"{page.url}/ui/view", headers=headers) as answer:
        assert (await answer.json())["volumes"]["total"] == 1
    async with http.post(f"{page.url}/ui/logout", headers={**headers, **same(page)}) as answer:
        assert answer.headers["Set-Cookie"].startswith("__Host-keyferry=;")
    async with http.get(f"{page.url}/ui/view", headers=headers) as answer:
        assert answer.status == 401


FOREIGN: tuple[dict[str, str], ...] = (
    {},
    {"Origin": "null"},
    {"Origin": "https://elsewhere.example"},
    {"Origin": "https://localhost"},
    {"Origin": "OURS", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "OURS.elsewhere.example"},
    {"Origin": "file://OURS"},
)


async def test_other_sites_sign_nobody_in_or_out(page: LivePage, http: aiohttp.ClientSession) -> None:
    """What does not come from the page itself is refused before its token is looked at."""
    token = await page.account("bob", sees=["shop"])
    for headers in FOREIGN:
        named = {name: value.replace("OURS", page.url) for name, value in headers.items()}
        for path in ("/ui/login", "/ui/logout"):
            async with http.post(page.url + path, data={"token": token}, headers=named) as answer:
                assert (named, answer.status) == (named, 403)
                assert "Set-Cookie" not in answer.headers


async def test_what_is_no_token_opens_nothing(page: LivePage, http: aiohttp.ClientSession) -> None:
    """A wrong token, none, too much of one, or another kind of body."""
    url, headers = f"{page.url}/ui/login", same(page)
    for body, status in (
        ({"token": "wrong"}, 401),
        ({}, 401),
        ({"token": ""}, 401),
        ({"token": "x" * 30_000}, 413),
    ):
        named = {**headers, "Content-Type": "application/x-www-form-urlencoded"}
        async with http.post(url, data=body, headers=named) as answer:
            assert answer.status == status
            assert "Set-Cookie" not in answer.headers
    async with http.post(url, json={"token": "x"}, headers=headers) as answer:
        assert answer.status == 415


async def test_open_pages_are_bounded(page: LivePage, http: aiohttp.ClientSession) -> None:
    """One person may have eight; the ninth is told why, and one that closes makes room."""
    token = await page.account("bob", sees=["shop"])
    opened = [await http.get(page.url + EVENTS, headers=bearer(token)) for _ in range(8)]
    assert [each.status for each in opened] == [200] * 8
    async with http.get(page.url + EVENTS, headers=bearer(token)) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
    opened.pop().close()
    async with asyncio.timeout(10):
        while await status(http, page, token) != 200:  # noqa: ASYNC110 - it is on a server
            await asyncio.sleep(0.2)
    for each in opened:
        each.close()


async def status(http: aiohttp.ClientSession, page: LivePage, token: str) -> int:
    """Of an answer to somebody who wants events."""
    async with http.get(page.url + EVENTS, headers=bearer(token)) as answer:
        return answer.status


async def test_no_token_is_ever_logged(page: LivePage, http: aiohttp.ClientSession) -> None:
    """At the highest level of logs, over signing in, looking, and being refused."""
    token = await page.account("bob", sees=["shop"])
    async with http.post(f"{page.url}/ui/login", data={"token": token}, headers=same(page)) as answer:
        number = answer.headers["Set-Cookie"].partition("=")[2].partition(";")[0]
    await view(http, page, token)
    async with http.get(f"{page.url}/ui/view?{token}=x", headers=bearer(token)) as answer:
        assert answer.status == 400
    async with http.get(f"{page.url}/ui/view", headers=bearer(f"{token}x")) as answer:
        assert answer.status == 401

    log = page.rotator.process.output()
    assert "somebody looks at the live page" in log
    assert [each for each in (token, token.split(".")[2], number) if each in log] == []


async def test_ten_thousand_volumes_are_a_page(page: LivePage, http: aiohttp.ClientSession) -> None:
    """All are counted, fifty are sent, and what goes out does not grow with the cluster."""
    await page.tell(*(volume(f"p{n:05}", f"ns-{n % 200}", node=f"node-{n % 900}") for n in range(10_000)))
    token = await page.account("root", sees_all=True)

    async with aclosing(events(http, page.url + EVENTS, bearer(token))) as coming:
        told = await until(coming, lambda told: told.get("volumes", {}).get("total") == 10_000)

    assert (told["volumes"]["pages"], len(told["volumes"]["rows"])) == (200, 50)
    assert sum(told["lag"]["counts"]) == 10_000
    assert len(json.dumps(told)) < 100_000
