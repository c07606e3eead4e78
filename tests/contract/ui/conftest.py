"""An API server, the emulator or a real one, and people in it who may see different things."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from keyferry.kube import Kube, connect
from keyferry.testing.kube.real import real_kube
from keyferry.testing.live_page import LivePage, live_page, make_account
from keyferry.testing.stack import kube_api


@contextmanager
def api_server(folder: Path) -> Iterator[Path]:
    """The kubeconfig of a real server if KUBEBUILDER_ASSETS names its binaries, else of the emulator."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets:
        with real_kube(Path(assets), folder) as real:
            yield real.kubeconfig
    else:
        with kube_api(folder) as emulator:
            yield emulator.kubeconfig


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The administrator's."""
    with api_server(tmp_path_factory.mktemp("kube")) as path:
        yield path


@dataclass(frozen=True)
class People:
    """Makes service accounts of which no other test knows, and namespaces."""

    kube: Kube
    mark: str

    def namespace(self, name: str) -> str:
        """A namespace's name, of this test alone."""
        return f"{name}-{self.mark}"

    async def token(self, name: str, *, sees: tuple[str, ...] = (), sees_all: bool = False) -> str:
        """A token of somebody who may list in these namespaces."""
        return await make_account(
            self.kube, f"{name}-{self.mark}", sees=[self.namespace(each) for each in sees], sees_all=sees_all
        )


@pytest.fixture
async def kube(kubeconfig: Path) -> AsyncIterator[Kube]:
    """A connection with the administrator's rights."""
    async with connect(kubeconfig, user_agent="keyferry-tests") as running:
        yield running


@pytest.fixture
def people(kube: Kube) -> People:
    """Nobody yet."""
    return People(kube, uuid.uuid4().hex[:8])


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[LivePage]:
    """A rotator that serves the page."""
    async with live_page(tmp_path) as running:
        yield running
