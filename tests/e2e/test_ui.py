"""The live page as people see it: a real rotator, and a real browser that has never been here."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from keyferry.events import VolumeUnpublished
from keyferry.resources import ObjectVersion, Pod
from keyferry.testing.chromium import Chromium, Tab, chromium
from keyferry.testing.live_page import LivePage, failed, live_page, volume

BOARD = "!document.getElementById('board').hidden && document.getElementById('n-volumes').textContent.match(/[0-9]/)"
ROWS = "document.querySelectorAll('#volumes tbody tr').length"
PODS = "[...document.querySelectorAll('#volumes tbody tr td:nth-child(2)')].map(cell => cell.textContent).join()"
HOSTILE = "<img src=x onerror='window.broken=1'><script>window.broken=1</script>"
CONTRASTS = """
(() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (part) => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4;
  const light = (rgb) => [.2126, .7152, .0722].reduce((sum, weight, i) => sum + weight * linear(rgb[i] / 255), 0);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const found = numbers(getComputedStyle(e).backgroundColor);
      if (found.length < 4 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), poor = [];
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, text = walk.currentNode.textContent.trim();
    if (!text || !e.checkVisibility() || e.matches(":disabled, script, noscript, .skip")) continue;
    const style = getComputedStyle(e), ink = e.closest("svg") ? style.fill : style.color;
    const [a, b] = [light(numbers(ink)), light(ground(e))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) poor.push(`${text}: ${ink}`);
  }
  return poor;
})()
"""
UNNAMED = """
[...document.querySelectorAll("input, select, button, svg, nav, [role=region]")].filter((e) => e.checkVisibility() &&
  !(e.labels?.length || e.textContent.trim() || e.getAttribute("aria-label") || e.getAttribute("aria-labelledby")))
  .map((e) => e.outerHTML)
"""
SHIFT = """
new Promise((done) => {
  let sum = 0;
  const add = (list) => { for (const each of list.getEntries()) sum += each.hadRecentInput ? 0 : each.value; };
  new PerformanceObserver(add).observe({ type: "layout-shift", buffered: true });
  setTimeout(() => done(sum), 300);
})
"""
"""How much has moved by itself so far (https://web.dev/articles/cls); below 0.1 is good."""


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[LivePage]:
    """A rotator that serves the page."""
    async with live_page(tmp_path) as running:
        yield running


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Chromium]:
    """A browser."""
    async with chromium(tmp_path) as running:
        yield running


async def sign_in(tab: Tab, page: LivePage, token: str, path: str = "/ui") -> None:
    """By the keyboard alone, as the form has the focus."""
    await tab.open(page.url + path)
    await tab.until("document.activeElement.id == 'token'")
    await tab.type(token)
    await tab.press("Enter", 13)
    await tab.until(BOARD)


async def test_a_person_signs_in_watches_and_signs_out(page: LivePage, browser: Chromium) -> None:
    """What happens to their volumes shows by itself, with what to do; of others they learn a number only."""
    await page.tell(volume("web"), volume("job"), volume("vault-web", "bank"))
    token = await page.account("bob", sees=["shop"])
    async with browser.tab() as tab:
        await sign_in(tab, page, token)
        assert await tab.until(PODS) == "job,web"
        assert await tab.text("#viewer") == "system:serviceaccount:default:bob"
        assert "Not shown: 1 volume and 1 content of others." in await tab.text("#hidden-note")

        await page.tell(failed(volume("job"), message="secret shop/db is not there"))
        await tab.until("document.getElementById('n-failing').textContent == '1'")
        said = await tab.text("#failures")
        assert "secret shop/db is not there" in said
        assert "create the object in the backend" in said

        await page.tell(VolumeUnpublished(volume("job").volume_id, "node-a"), volume("cron"))
        await tab.until(f"{PODS} == 'cron,web'")
        assert "None:" in await tab.text("#failures")
        assert "bank" not in await tab.run("document.documentElement.outerHTML")

        await tab.click("#sign-out")
        await tab.until("!document.getElementById('sign-in').hidden")
        assert "cron" not in await tab.run("document.documentElement.outerHTML")
        assert tab.problems == []
        assert [url for url in tab.requests if not url.startswith(page.url) or token in url] == []
        assert await tab.run("document.cookie + JSON.stringify({...localStorage, ...sessionStorage})") == "{}"


async def test_a_wrong_token_is_told(page: LivePage, browser: Chromium) -> None:
    """The form says so, and stays."""
    async with browser.tab() as tab:
        await tab.open(f"{page.url}/ui")
        await tab.until("document.activeElement.id == 'token'")
        await tab.type("wrong")
        await tab.press("Enter", 13)
        await tab.until("document.getElementById('sign-in-problem').textContent.includes('does not know this token')")
        assert await tab.run("document.getElementById('board').hidden")
        assert tab.problems == []


async def test_names_are_text_whatever_is_in_them(page: LivePage, browser: Chromium) -> None:
    """A node in foreign hands writes HTML everywhere it can; it is shown as it is, and does nothing."""
    pod = Pod("shop", HOSTILE, "uid", HOSTILE)
    versions = (ObjectVersion(HOSTILE, HOSTILE),)
    hostile = volume(
        "x", secret_provider_class=HOSTILE, provider=HOSTILE, content_key=HOSTILE, versions=versions, pod=pod
    )
    await page.tell(failed(hostile, HOSTILE, HOSTILE), volume("odd", content_key="__proto__"))
    async with browser.tab() as tab:
        await sign_in(tab, page, await page.account("root", sees_all=True))
        await tab.until(f"{ROWS} == 2")

        for place in ("#volumes", "#contents", "#backends", "#failures"):
            assert "<script>window.broken=1" in await tab.text(place)
        assert await tab.run("document.querySelectorAll('script').length") == 1
        assert await tab.run("document.querySelectorAll('img').length") == 0
        assert await tab.run("typeof window.broken") == "undefined"
        assert tab.problems == []


async def test_ten_thousand_volumes_are_usable(page: LivePage, browser: Chromium) -> None:
    """Fifty rows at a time; filters, orders and pages act on all of them, and the address keeps them."""
    many = [volume(f"p{n:05}", f"ns-{n % 40}", node=f"node-{n % 90}", content_key=f"k{n % 700}") for n in range(10_000)]
    await page.tell(*many, *(failed(each) for each in many[:120]))
    async with browser.tab() as tab:
        await sign_in(tab, page, await page.account("root", sees_all=True), "/ui?sort=pod")
        await tab.until("document.getElementById('n-volumes').textContent == '10,000'")
        assert await tab.run(ROWS) == 50
        assert (await tab.run(PODS)).startswith("p00000,p00001,")

        await tab.click("#volumes th:nth-child(2) button")
        await tab.until(f"{PODS}.startsWith('p09999,p09998')")
        assert await tab.run("document.querySelector('#volumes th:nth-child(2)').ariaSort") == "descending"
        await tab.click("#volumes-pages button:last-child")
        await tab.until(f"{PODS}.startsWith('p09949')")
        await tab.run(
            "Object.assign(document.querySelector('[name=state]'), {value: 'failing'})"
            ".dispatchEvent(new Event('input', {bubbles: true}))"
        )
        await tab.until("document.getElementById('n-volumes').textContent == '120'")
        assert (await tab.text("#volumes-pages")).split("\n")[1] == "page 1 of 3, 120 rows"
        assert await tab.run("document.querySelectorAll('#failures li').length") == 30
        assert await tab.run("document.querySelectorAll('*').length") < 4000

        await tab.open(str(await tab.run("location.href")))
        await tab.until("document.getElementById('n-volumes').textContent == '120'")
        assert await tab.run("document.querySelector('[name=state]').value") == "failing"
        assert (await tab.run(PODS)).startswith("p00119,")
        assert tab.problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everybody_can_read_and_reach_it(page: LivePage, browser: Chromium, scheme: str) -> None:
    """Contrast of 4.5 (WCAG 2.2, 1.4.3), a name for all that can be used, nothing that jumps while news come."""
    await page.tell(volume("web"), failed(volume("job")), volume("old", stale_since_ms=1, provider="aws"))
    token = await page.account("bob", sees=["shop"])
    async with browser.tab(scheme=scheme) as tab:
        await tab.open(f"{page.url}/ui")
        await tab.until("document.activeElement.id == 'token'")
        assert await tab.run(CONTRASTS) == []
        await tab.type(token)
        await tab.press("Enter", 13)
        await tab.until(f"{ROWS} == 3")
        assert await tab.run(CONTRASTS) == []
        assert await tab.run(UNNAMED) == []

        await page.tell(failed(volume("web")), replace(volume("old"), provider="aws"))
        await tab.until("document.getElementById('n-failing').textContent == '2'")
        await tab.press("Tab", 9)
        assert await tab.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        assert await tab.run(SHIFT) < 0.1
        assert tab.problems == []


async def test_pictures_of_it(page: LivePage, browser: Chromium, tmp_path: Path) -> None:
    """What docs/live-page.md shows is taken from here: KEYFERRY_SCREENSHOTS=docs/images keeps it."""
    folder = Path(os.environ.get("KEYFERRY_SCREENSHOTS", tmp_path))
    backends, names = ("vault", "aws", "azure", "gcp"), ("checkout", "payments", "search", "orders", "mail")
    now = int(time.time() * 1000)
    known = [
        volume(
            f"{names[n % 5]}-{7000 + n * 37:x}",
            ("shop", "billing", "hidden")[n % 3],
            node=f"worker-{n % 6}",
            secret_provider_class=f"{names[n % 5]}-secrets",
            provider=backends[n % 4],
            content_key=f"{names[n % 5]}{n % 3}",
            # The leases of some have run out, so that the rotator has asked for them again.
            fetched_at_ms=now - 90_000 if n % 5 == 4 else now,
            refresh_by_ms=now - 35_000 if n % 5 == 4 else 0,
            versions=(ObjectVersion(f"{names[n % 5]}-db", str(3 + n % 4)),),
        )
        for n in range(160)
    ]
    denied = "role orders may not read secret/data/shop/orders: permission denied (403)"
    away = "Azure Key Vault shop-vault does not answer: it is asked again by itself"
    await page.tell(*known, failed(known[3], "AccessDenied", denied), failed(known[6], "ProviderUnavailable", away))
    token = await page.account("ada", sees=["shop", "billing"])
    for name, scheme in (("live-page", "light"), ("live-page-dark", "dark")):
        async with browser.tab(scheme=scheme, height=1180) as tab:
            await sign_in(tab, page, token)
            await tab.until("document.querySelectorAll('#failures li').length == 2")
            await tab.until("document.getElementById('n-behind').textContent == '22'")
            picture = await tab.screenshot()
        assert picture.startswith(b"\x89PNG")
        assert 20_000 < len(picture) < 300_000
        await asyncio.to_thread((folder / f"{name}.png").write_bytes, picture)
