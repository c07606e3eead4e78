"""The command line's own identities, on servers as they are deployed: each command works, and nothing is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats.errors
import pytest

from keyferry import identities, keymaking
from keyferry.__main__ import main
from keyferry.changes import BackendChanged
from keyferry.kube import Kube
from keyferry.kube import connect as connect_kube
from keyferry.subjects import change_subject
from keyferry.testing.kube import KubeAPI
from keyferry.testing.kubelet import csi_driver, pod_manifest
from keyferry.testing.nats import Nats
from keyferry.testing.valkey import Valkey, valkey_server

from .conftest import ACCOUNT, Cluster, access_of, admitting, plain
from .tls import encrypted

LOOKING = (
    *(("volumes",), ("contents",), ("backends",), ("top", "--once"), ("dead-letters", "list")),
    *(("explain", "shop/web-0"), ("doctor", "shop/web-0")),
)


@dataclass(frozen=True)
class Desk:
    """An installation, and a person with a kubeconfig and two forwarded ports."""

    server: Nats
    made: Path
    kube: Kube
    redis_url: str
    lines_before: int
    capsys: pytest.CaptureFixture[str]

    async def keyferry(self, *argv: str, status: int = 0) -> Any:
        """Run a command with what the cluster keeps for it; its JSON."""
        forwarded = (f"--nats-url={self.server.url}", f"--redis-url={self.redis_url}", "--context=testing")
        ended = await asyncio.to_thread(main, [*argv, "--from-cluster", "--json", *forwarded])
        out, err = self.capsys.readouterr()
        assert (ended, err) == (status, "")
        return json.loads(out)

    def violations(self) -> list[str]:
        """What was refused of it, by the server's log."""
        lines = self.server.process.log.read_text().splitlines()[self.lines_before :]
        return [line for line in lines if "violation" in line.lower()]


@pytest.fixture(scope="module")
def users(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A Valkey with the users of the identities."""
    with valkey_server(tmp_path_factory.mktemp("users"), users=made / "users.acl") as running:
        yield running


async def furnish(kube: Kube, made: Path, folder: Path) -> None:
    """What the chart leaves in a cluster, and a pod that mounts a class."""
    keymaking.create(folder)
    for each in (
        identities.manifests(made, "kube-system")["items"] + keymaking.manifests(folder, "kube-system")["items"]
    ):
        await kube.post(f"/api/v1/namespaces/kube-system/{each['kind'].lower()}s", each)
    await kube.post("/api/v1/namespaces", {"metadata": {"name": "shop"}})
    await kube.post("/apis/storage.k8s.io/v1/csidrivers", csi_driver("keyferry", "vault"))
    spec = {"provider": "vault", "parameters": {"roleName": "web", "objects": "- objectName: db"}}
    await kube.post(
        "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/shop/secretproviderclasses",
        {
            "apiVersion": "secrets-store.csi.x-k8s.io/v1",
            "kind": "SecretProviderClass",
            "metadata": {"name": "db"},
            "spec": spec,
        },
    )
    await kube.post("/api/v1/namespaces/shop/serviceaccounts", {"metadata": {"name": "web"}})
    body = pod_manifest("shop", "web-0", node="node-a", secret_provider_class="db", account="web")
    await kube.post("/api/v1/namespaces/shop/pods", body)


@pytest.fixture
async def redis_url(users: Valkey, made: Path) -> AsyncIterator[str]:
    """Where Valkey is, without a password."""
    async with encrypted(users, made) as port:
        yield f"rediss://127.0.0.1:{port}/0"


@pytest.fixture
async def kube(api: KubeAPI, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kube]:
    """A cluster that has all that the chart makes; the environment names its kubeconfig and nothing else."""
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig))
    async with connect_kube(api.kubeconfig) as connected:
        await furnish(connected, made, tmp_path / "keys")
        yield connected


@pytest.fixture
def desk(server: Nats, made: Path, kube: Kube, redis_url: str, capsys: pytest.CaptureFixture[str]) -> Desk:
    """Somebody at a keyboard outside the cluster."""
    return Desk(server, made, kube, redis_url, len(server.process.log.read_text().splitlines()), capsys)


@pytest.mark.parametrize("argv", LOOKING, ids=" ".join)
async def test_looking(desk: Desk, argv: tuple[str, ...]) -> None:
    """Each command that looks does so with the identity that the cluster keeps for it, and tries nothing else."""
    wrong = argv[0] in ("explain", "doctor")  # no service runs here
    told = await desk.keyferry(*argv, status=int(wrong))
    found = {each["check"]: each["state"] for group in told.get("groups", []) for each in group["findings"]}
    assert found.get("streams", "ok") == found.get("keys", "ok") == found.get("nats", "ok") == "ok"
    assert "refuses" not in json.dumps(told)
    assert "may not" not in json.dumps(told)
    assert desk.violations() == []


async def bury(desk: Desk, change: BackendChanged) -> None:
    """A dead letter, as rotators write it."""
    headers = {"Keyferry-Subject": change_subject("vault"), "Keyferry-Error": "ValueError at x.py:1"}
    async with plain(desk.server.url, access_of(desk.made, "rotator"), "_INBOX.rotator") as client:
        subject = "keyferry.dead.CHANGES.rotator-changes"
        answer = await client.request(subject, change.to_bytes(), timeout=10, headers=headers)
        assert b'"stream"' in answer.data


async def test_mending(desk: Desk) -> None:
    """Letters are replayed and dropped by the other identity, which the same person may or may not be given."""
    await bury(desk, BackendChanged("vault", ("a",), 1, "event-1"))
    await bury(desk, BackendChanged("vault", ("b",), 1, "event-2"))
    first, second = (each["sequence"] for each in (await desk.keyferry("dead-letters", "list"))["letters"])

    replayed = await desk.keyferry("dead-letters", "replay", str(first), "--yes")
    dropped = await desk.keyferry("dead-letters", "drop", str(second), "--yes")
    assert (replayed["letters"][0]["outcome"], dropped["letters"][0]["outcome"]) == ("replayed", "dropped")
    assert (await desk.keyferry("dead-letters", "list"))["letters"] == []
    assert desk.violations() == []


async def test_fetching_as_a_pod(desk: Desk, tmp_path: Path) -> None:
    """`doctor --fetch` speaks as the driver on the pod's node, by a token that it makes for it; nothing is refused."""
    cluster = Cluster(desk.kube, desk.made, tmp_path)
    await cluster.run(ACCOUNT, "driver-node-a", "node-a")
    labels = {"app.kubernetes.io/name": "keyferry", "app.kubernetes.io/component": "node-driver"}
    path, merge = "/api/v1/namespaces/kube-system/pods/driver-node-a", "application/merge-patch+json"
    await desk.kube.call("PATCH", path, body={"metadata": {"labels": labels}}, content_type=merge)
    async with admitting(desk.server, desk.made, desk.kube):
        told = await desk.keyferry("doctor", "shop/web-0", "--fetch", "--seconds=2", status=1)
    (found,) = (each for group in told["groups"] for each in group["findings"] if each["check"] == "fetch")
    assert "no fetcher answered in time" in found["text"]
    assert desk.violations() == []


async def test_fetching_where_no_driver_runs(desk: Desk) -> None:
    """That is a finding of its own: the pod's mounts fail as well."""
    told = await desk.keyferry("doctor", "shop/web-0", "--fetch", "--seconds=1", status=1)
    (found,) = (each for group in told["groups"] for each in group["findings"] if each["check"] == "fetch")
    assert "no node-driver runs on node node-a" in found["text"]


@pytest.mark.parametrize("name", ["cli", "mender"])
async def test_neither_speaks_as_a_node(server: Nats, made: Path, name: str) -> None:
    """Whoever looks, and whoever mends, can neither ask in a node's name nor hear what nodes are answered."""
    async with plain(server.url, access_of(made, name), f"_INBOX.{name}") as client:
        with pytest.raises((nats.errors.Error, TimeoutError)):
            await client.request("keyferry.fetch.mount.node-a", b"x", timeout=0.5)
        await client.subscribe("_INBOX.node.node-a.>")
        async with asyncio.timeout(10):
            while len(client.complaints) < 2:  # noqa: ASYNC110 - a callback of the library's
                await asyncio.sleep(0.01)
    assert all("permissions violation" in each for each in client.complaints)


async def test_an_identity_that_is_not_there(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Is named, with what would make it."""
    await desk.kube.call("DELETE", "/api/v1/namespaces/kube-system/secrets/keyferry-cli-identity")
    assert await asyncio.to_thread(main, ["volumes", "--from-cluster", f"--nats-url={desk.server.url}"]) == 2
    assert "there is no Secret kube-system/keyferry-cli-identity" in capsys.readouterr().err
    assert await asyncio.to_thread(main, ["volumes", "--from-cluster", "--context=other"]) == 2
    assert "other" in capsys.readouterr().err
