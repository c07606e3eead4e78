"""An API server for each test, and a client of ours."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keyferry.kube import Kube, connect
from keyferry.testing.kube import KubeAPI, crds

DEFINITIONS = crds.load(Path(__file__).parents[3] / "deploy" / "crds")


@pytest.fixture
async def api() -> AsyncIterator[KubeAPI]:
    """An emulator that knows our kinds and sends bookmarks often."""
    async with KubeAPI(crds=DEFINITIONS, bookmark_seconds=0.2) as api:
        yield api


@pytest.fixture
async def kube(api: KubeAPI) -> AsyncIterator[Kube]:
    """A client of ours with the administrator's rights."""
    async with connect(api.kubeconfig, user_agent="keyferry-tests") as kube:
        yield kube
