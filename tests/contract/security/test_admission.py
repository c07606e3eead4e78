"""A fetcher says whether NATS can ask it about nodes, and what to do where it cannot."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fetcher import app
from fetcher.admission import Admission
from fetcher.identity import TokenVerifier
from fetcher.settings import Settings
from keyferry import keymaking
from keyferry.bus.nkeys import Nkey, Role
from keyferry.health import Readiness
from keyferry.testing.kube import KubeAPI
from keyferry.testing.nats import Nats, guarded_nats_server

from .conftest import Cluster, plain

NOBODY = "no node can connect to NATS by this fetcher's word"


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something to hold."""
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - told by nobody, as a kubelet that probes
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(work: asyncio.Task[None]) -> AsyncIterator[None]:
    """A task for as long as the block lasts."""
    try:
        yield
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


@pytest.fixture
def callout(made: Path, tmp_path: Path) -> Path:
    """A folder with the issuer's key and the callout's, to be tampered with."""
    folder = tmp_path / "callout"
    folder.mkdir()
    for name in ("issuer.nk", "callout.nk"):
        shutil.copy(made / name, folder / name)
    return folder


def settings(nats: Nats, made: Path, callout: Path) -> Settings:
    """Of a fetcher that answers for nodes."""
    ca, key = str(made / "ca.crt"), str(made / "fetcher.nk")
    return Settings(nats_url=nats.url, nats_ca_file=ca, nats_nkey_file=key, callout_dir=str(callout), audit_log="off")


async def test_a_key_that_the_server_does_not_know(
    server: Nats, api: KubeAPI, cluster: Cluster, callout: Path, tmp_path: Path
) -> None:
    """The fetcher is not ready and names the key; with the right one it is, and a node connects, without a restart."""
    keymaking.create(tmp_path / "keys")
    (callout / "callout.nk").write_text(Nkey.generate(Role.USER).seed)
    told = settings(server, cluster.made, callout)
    told, ready = replace(told, keys_dir=str(tmp_path / "keys"), kubeconfig=str(api.kubeconfig)), Readiness()

    async with running(asyncio.create_task(app.serve(told, ready))):
        await until(lambda: len(ready.missing()) == 1 and "NATS cannot be reached" in ready.missing()[0])
        assert ready.missing()[0].startswith(NOBODY)
        assert "(it did not answer in time)" in ready.missing()[0]  # since nobody is there to be asked about it
        assert ready.missing()[0].endswith("callout.nk in KEYFERRY_CALLOUT_DIR is the one of auth.conf")

        shutil.copy(cluster.made / "callout.nk", callout / "callout.nk")
        await until(lambda: ready.missing() == [])
        async with plain(server.url, await cluster.node("node-a")) as client:
            assert client.is_connected


async def test_a_server_that_goes_and_comes(made: Path, cluster: Cluster, callout: Path, tmp_path: Path) -> None:
    """While the server is away it is said that the connection is lost, and no more once it is back."""
    with guarded_nats_server(tmp_path / "own", made) as nats:
        admission = Admission(settings(nats, made, callout), TokenVerifier(cluster.kube))
        assert "(it is being made)" in admission.missing()[0]

        async with running(asyncio.create_task(admission.run())):
            await until(lambda: admission.missing() == [])
            await asyncio.to_thread(nats.process.stop)
            await until(lambda: admission.missing() != [])
            assert "it is lost" in admission.missing()[0]
            await asyncio.to_thread(nats.process.start)
            await until(lambda: admission.missing() == [])
