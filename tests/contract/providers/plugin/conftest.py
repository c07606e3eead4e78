"""Plugins of a test's own, on sockets in its own folder, and a client that looks there."""

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jwt
import pytest
import yaml

from fetcher.provider import ProviderRequest
from fetcher.providers.plugin import Client, Plugin, PluginSettings
from keyferry.resources import Pod

POD = Pod("shop", "web-1", "d448c6a2-cda8-42e3-84fb-3cf75faa8399", "web")


def token(audience: str, **claims: Any) -> str:
    """A token as kubelet hands it out."""
    body = {"sub": "system:serviceaccount:shop:web", "aud": [audience], "exp": int(time.time()) + 600, **claims}
    return jwt.encode(body, "a key of at least thirty-two bytes")


@dataclass(frozen=True)
class Asking:
    """The provider as the fetch handler has it.

    Attributes:
        folder: Where it looks for sockets first.
        second: Where it looks then.
        client: What it speaks through.
    """

    folder: Path
    second: Path
    client: Client

    def provider(self, name: str = "mock") -> Plugin:
        """For this name."""
        return Plugin(name, self.client)

    def asks(self, *objects: str, seconds: float = 20.0, **fields: Any) -> ProviderRequest:
        """A request for objects of the mock provider, with tokens for us and for it."""
        array = [yaml.safe_dump({"objectName": name}) for name in objects or ("foo",)]
        return ProviderRequest(
            parameters={"objects": yaml.safe_dump({"array": array})},
            pod=POD,
            tokens={"keyferry": token("keyferry"), "aud1": token("aud1")},
            deadline=time.time() + seconds,
            **fields,
        )


@pytest.fixture
def folders() -> Iterator[tuple[Path, Path]]:
    """Two folders with short paths: pytest's own may be too long for a socket."""
    with TemporaryDirectory(prefix="plugin-") as root:
        first, second = Path(root, "first"), Path(root, "second")
        first.mkdir()
        second.mkdir()
        yield first, second


@pytest.fixture
async def asking(folders: tuple[Path, Path]) -> AsyncIterator[Asking]:
    """With pauses between tries that a test can wait for."""
    client = Client(PluginSettings(folders=tuple(map(str, folders))), pauses=(0.05, 0.05))
    yield Asking(*folders, client)
    await client.close()
