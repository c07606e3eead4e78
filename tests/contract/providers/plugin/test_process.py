"""The test plugin as a process of its own, controlled as upstream's e2e tests control theirs."""

from __future__ import annotations

import asyncio
import re
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from keyferry.errors import ProviderError
from keyferry.testing.processes import logged, server

if TYPE_CHECKING:
    from tests.contract.providers.plugin.conftest import Asking


def get(url: str) -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as answer:
        status: int = answer.status
        return status


async def test_two_urls_control_it(asking: Asking, tmp_path: Path) -> None:
    """Rotation there and back, and which tokens it insists on."""
    argv = [sys.executable, "-m", "keyferry.testing.plugin", str(asking.folder / "mock.sock")]
    provider = asking.provider()
    with server(argv, name="plugin", log=tmp_path / "plugin.log", ready=logged("controlled at")) as running:
        [url] = re.findall(r"http://\S+", running.output())

        await asyncio.to_thread(get, f"{url}/rotation?rotated=true")
        [rotated] = await provider.fetch(asking.asks())
        await asyncio.to_thread(get, f"{url}/rotation?rotated=false")
        [back] = await provider.fetch(asking.asks())
        await asyncio.to_thread(get, f"{url}/validate-token-requests?audience=aud1,aud9")
        with pytest.raises(ProviderError, match="token for audience aud9 was not in the request"):
            await provider.fetch(asking.asks())

    assert (rotated.contents, back.contents) == (b"rotated", b"secret")
