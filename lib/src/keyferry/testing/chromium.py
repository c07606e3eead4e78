"""A real Chromium without a window, driven over its DevTools protocol, to test pages as people see them."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

import aiohttp

from keyferry.testing.processes import Server, server

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
_PACKAGE = "chromium-headless-shell"
_SECONDS = 20.0
_PLACE = """
e => { e.scrollIntoView({block: "center"}); const r = e.getBoundingClientRect();
       return [r.x + r.width / 2, r.y + r.height / 2]; }
"""


def installed_chromium() -> Path:
    """Where Chromium is: as KEYFERRY_CHROMIUM says, on PATH, or installed from Debian's packages by root.

    Raises:
        FileNotFoundError: there is none, and how to get one.
    """
    told = os.environ.get("KEYFERRY_CHROMIUM")
    if told:
        return Path(told)
    if not any(map(shutil.which, NAMES)) and os.geteuid() == 0 and shutil.which("apt-get"):
        _install()
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise FileNotFoundError(
            f"the tests of the live page need Chromium: run `apt-get install {_PACKAGE}`, or set KEYFERRY_CHROMIUM"
        )
    return Path(found)


def _install() -> None:
    for words in (("update",), ("install", "-y", "--no-install-recommends", _PACKAGE, "fonts-dejavu-core")):
        subprocess.run(["apt-get", "-qq", *words], check=False, stdout=subprocess.DEVNULL)  # noqa: S607 - found above


class Tab:
    """A tab; its cookies and storage are its own.

    Attributes:
        problems: What the page's scripts threw, logged as an error, or were forbidden by its policy, in words.
        requests: What was asked for, by URL.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._last = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.problems: list[str] = []
        self.requests: list[str] = []

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the protocol (https://chromedevtools.github.io/devtools-protocol).

        Raises:
            RuntimeError: Chromium refuses it.
        """
        self._last += 1
        number, answer = self._last, asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(_SECONDS):
            told: dict[str, Any] = await answer
        if "error" in told:
            raise RuntimeError(f"{method}: {told['error']['message']}")
        result: dict[str, Any] = told["result"]
        return result

    async def listen(self) -> None:
        """Take what Chromium says, until it is gone; belongs into a task."""
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                waiting = self._waiting.pop(told["id"])
                if not waiting.done():  # nobody waits any more
                    waiting.set_result(told)
            else:
                self._note(told["method"], told["params"])

    def _note(self, method: str, about: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and about["type"] == "error":
            self.problems.append(" ".join(str(each.get("value")) for each in about["args"]))
        elif (
            method == "Log.entryAdded" and about["entry"]["level"] == "error" and about["entry"]["source"] != "network"
        ):
            self.problems.append(f"{about['entry']['text']} {about['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])

    async def open(self, url: str) -> None:
        """Go to a page."""
        await self.call("Page.navigate", url=url)

    async def run(self, script: str) -> Any:
        """The value of an expression in the page.

        Raises:
            RuntimeError: it throws.
        """
        told = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in told:
            raise RuntimeError(told["exceptionDetails"].get("exception", {}).get("description", "it throws"))
        return told["result"].get("value")

    async def until(self, script: str, *, seconds: float = _SECONDS) -> Any:
        """The value of an expression once it is true.

        Raises:
            AssertionError: it never was; shows the page's text.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    with suppress(RuntimeError):  # the page may be on its way
                        if value := await self.run(script):
                            return value
                    await asyncio.sleep(0.05)
        text = await self.run("document.body?.innerText")
        raise AssertionError(f"{script} was never true; problems: {self.problems}; the page says:\n{text}")

    async def text(self, selector: str) -> str:
        """What an element says."""
        return str(await self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    async def click(self, selector: str) -> None:
        """Click on an element, as a person would: it must be where the mouse is."""
        place = await self.run(f"({_PLACE})(document.querySelector({json.dumps(selector)}))")
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    async def type(self, text: str) -> None:
        """Write into what has the focus."""
        await self.call("Input.insertText", text=text)

    async def press(self, key: str, code: int) -> None:
        """Press a key, such as Tab (9) or Enter (13)."""
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text)

    async def screenshot(self) -> bytes:
        """What can be seen, as a PNG."""
        return base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])

    @classmethod
    async def prepared(cls, socket: aiohttp.ClientWebSocketResponse, tasks: asyncio.TaskGroup) -> Self:
        """A tab whose problems are noted from the beginning."""
        tab = cls(socket)
        tasks.create_task(tab.listen())
        for domain in ("Page", "Runtime", "Log", "Network"):
            await tab.call(f"{domain}.enable")
        return tab


class Chromium:
    """A running Chromium; made by `chromium`."""

    def __init__(self, http: aiohttp.ClientSession, url: str, tasks: asyncio.TaskGroup) -> None:
        self._http, self._url, self._tasks = http, url, tasks

    @asynccontextmanager
    async def tab(self, *, width: int = 1280, height: int = 1000, scheme: str = "light") -> AsyncIterator[Tab]:
        """A tab in a profile of its own, so many pixels large, for people who like it light or dark."""
        async with self._http.ws_connect(self._url, max_msg_size=0) as browser:
            await browser.send_json({"id": 1, "method": "Target.createBrowserContext"})
            context = (await browser.receive_json())["result"]["browserContextId"]
            wanted = {"url": "about:blank", "browserContextId": context}
            await browser.send_json({"id": 2, "method": "Target.createTarget", "params": wanted})
            target = await _answer(browser, 2)
            address = f"{self._url.rpartition('/devtools/')[0]}/devtools/page/{target['targetId']}"
            async with self._http.ws_connect(address, max_msg_size=0) as socket:
                tab = await Tab.prepared(socket, self._tasks)
                size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
                await tab.call("Emulation.setDeviceMetricsOverride", **size)
                features = [{"name": "prefers-color-scheme", "value": scheme}]
                await tab.call("Emulation.setEmulatedMedia", features=features)
                yield tab
            await browser.send_json(
                {"id": 3, "method": "Target.disposeBrowserContext", "params": {"browserContextId": context}}
            )
            await _answer(browser, 3)


async def _answer(socket: aiohttp.ClientWebSocketResponse, number: int) -> dict[str, Any]:
    while True:
        told = await socket.receive_json()
        if told.get("id") == number:
            result: dict[str, Any] = told["result"]
            return result


@asynccontextmanager
async def chromium(directory: Path) -> AsyncIterator[Chromium]:
    """Run Chromium for as long as the block lasts.

    Args:
        directory: Holds its log.

    Raises:
        FileNotFoundError, ServerError: there is none, or it does not come up.
    """
    binary = await asyncio.to_thread(installed_chromium)
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        port_file = Path(profile) / "DevToolsActivePort"
        argv = [
            str(binary),
            *("--headless", "--remote-debugging-port=0", f"--user-data-dir={profile}", "--hide-scrollbars"),
            # Pages are ours, and containers have neither the rights nor the shared memory that these would take.
            *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--no-proxy-server"),
            *("--ignore-certificate-errors", "about:blank"),
        ]

        def ready(_: Server) -> bool:
            return port_file.exists() and len(port_file.read_text().split()) > 1

        env = {"HOME": profile}
        with server(argv, name="chromium", log=directory / "chromium.log", ready=ready, env=env, timeout=60.0):
            port, path = port_file.read_text().split()
            async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as tasks:
                yield Chromium(http, f"ws://127.0.0.1:{port}{path}", tasks)
