"""The command line on a whole cluster: what works, what is wrong and why, and never a value."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest

from keyferry.bus import Bus, connect
from keyferry.changes import RefreshRequested
from keyferry.explain.words import Told, last_word
from keyferry.kube import Json
from keyferry.subjects import change_subject
from keyferry.testing import services
from keyferry.testing.nats import nats_server
from keyferry.testing.proxy import CountingProxy, counting_proxy
from keyferry.testing.services import NodeDriver
from keyferry.testing.stack import Stack
from keyferry.testing.valkey import valkey_server
from keyferry.testing.world import World

if TYPE_CHECKING:
    from tests.e2e.conftest import Settle, Until

pytestmark = pytest.mark.root

READ = "GET /v1/secret/data"
PATIENCE = 60.0
CANARY = f"canary-{uuid.uuid4().hex}"


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def told(self) -> Any:
        """Its JSON."""
        return json.loads(self.out)

    def findings(self, check: str) -> list[tuple[str, str]]:
        """State and text of what `explain` or `doctor` found of one kind."""
        groups = self.told.get("groups") or [self.told, *self.told["volumes"]]
        found = [each for group in groups for each in group["findings"]]
        return [(each["state"], each["text"]) for each in found if each["check"] == check]


@dataclass
class Cluster:
    """Servers and services of this file's own, and the commands that were run on them."""

    stack: Stack
    node: NodeDriver
    said: list[str] = field(default_factory=list)

    async def keyferry(self, *argv: str, program: tuple[str, ...] = (sys.executable, "-m", "keyferry")) -> Ran:
        """Run a command as an administrator would."""
        env = os.environ | {
            "KEYFERRY_NATS_URL": self.stack.nats.url,
            "KEYFERRY_REDIS_URL": self.stack.valkey.url,
            "KEYFERRY_KUBECONFIG": str(self.stack.kube.kubeconfig),
        }
        told = await asyncio.to_thread(
            subprocess.run, [*program, *argv], capture_output=True, text=True, env=env, check=False, timeout=PATIENCE
        )
        self.said += [told.stdout, told.stderr]
        return Ran(told.returncode, told.stdout, told.stderr)


@pytest.fixture(scope="module")
def cluster(servers: Stack, place: Path) -> Iterator[Cluster]:
    """A bus, a Valkey, a fetcher, a rotator and a node."""
    directory = place / uuid.uuid4().hex[:6]
    with ExitStack() as exits:
        bus = exits.enter_context(nats_server(directory / "nats"))
        valkey = exits.enter_context(valkey_server(directory / "valkey"))
        services.prepare(bus.url, directory / "keys")
        stack = replace(servers, directory=directory, nats=bus, valkey=valkey)
        exits.enter_context(stack.fetcher(KEYFERRY_VAULT_TIMEOUT="3s"))
        exits.enter_context(stack.rotator(KEYFERRY_ROTATION_INTERVAL="1h"))
        yield Cluster(stack, exits.enter_context(stack.node_driver(KEYFERRY_ROTATION_INTERVAL="1h")))


@dataclass(frozen=True)
class Scene:
    """A namespace with a secret whose value is the canary, behind a proxy."""

    cluster: Cluster
    world: World
    bus: Bus
    proxy: CountingProxy
    until: Until

    async def mounted(self, class_name: str = "secrets") -> Json:
        """A pod whose volume is mounted, and known to the rotator."""
        pod = await self.world.pod(class_name)
        await self.world.mounted(pod, class_name)
        await self.until(lambda: self.known(pod), within=PATIENCE)
        return pod

    async def known(self, pod: Json) -> bool:
        """Whether the schedule has the pod's volume."""
        ran = await self.cluster.keyferry("explain", name(pod), "--json")
        return [state for state, _ in ran.findings("schedule")] == ["ok"]

    async def word(self, pod: Json) -> Told:
        """What the node last said of the pod's volume."""
        told = await last_word(self.bus, self.cluster.node.node, self.world.kubelet.handle(pod, "secrets"))
        assert isinstance(told, Told)
        return told

    async def complain(self, pod: Json, error: grpc.aio.AioRpcError) -> None:
        """Record the Event that kubelet records of a failed mount."""
        about = {"apiVersion": "v1", "kind": "Pod", **{k: pod["metadata"][k] for k in ("namespace", "name", "uid")}}
        code = "".join(part.capitalize() for part in error.code().name.split("_"))
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        text = f'MountVolume.SetUp failed for volume "secrets" : rpc error: code = {code} desc = {error.details()}'
        body = {
            "metadata": {"name": f"{pod['metadata']['name']}.1", "namespace": self.world.namespace},
            "involvedObject": about,
            "type": "Warning",
            "reason": "FailedMount",
            "message": text,
            "source": {"component": "kubelet"},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 3,
        }
        await self.world.kube.post(f"/api/v1/namespaces/{self.world.namespace}/events", body)

    async def fail(self, class_name: str) -> Json:
        """A pod whose mount fails, which kubelet has told of."""
        pod = await self.world.pod(class_name)
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await self.world.kubelet.publish(pod, class_name, seconds=30)
        await self.complain(pod, failure.value)
        return pod

    async def doctor(self, pod: Json) -> Ran:
        """All that the doctor can look at."""
        keys = str(self.cluster.stack.keys_dir)
        return await self.cluster.keyferry("doctor", name(pod), "--fetch", "--keys-dir", keys, "--json")


def name(pod: Json) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


@pytest.fixture
async def scene(cluster: Cluster, settle: Settle, until: Until) -> AsyncIterator[Scene]:
    """A namespace on the cluster."""
    world = replace(await settle(cluster.node), servers=cluster.stack)
    await world.secret("db", password=CANARY)
    async with counting_proxy(world.servers.openbao.address) as proxy, connect(cluster.stack.nats.url, name="t") as bus:
        await world.vault_class(vaultAddress=proxy.url)
        yield Scene(cluster, world, bus, proxy, until)


async def test_a_pod_that_works(scene: Scene) -> None:
    """Nothing is found wrong with it, and a dry run gets its content and tells of it without showing it."""
    pod = await scene.mounted()

    explained, doctor = await scene.cluster.keyferry("explain", name(pod), "--json"), await scene.doctor(pod)
    assert (explained.status, explained.told["well"]) == (0, True), explained.out
    assert "holds password@1, confirmed by vault" in explained.findings("content")[0][1]
    assert (doctor.status, doctor.told["well"]) == (0, True), doctor.out
    assert doctor.findings("fetch")[0][0] == "ok"
    assert f"vault gave 1 files ({len(CANARY)} B; modes 0644); versions password@1" in doctor.findings("fetch")[0][1]


async def test_a_pod_with_a_wrong_role(scene: Scene) -> None:
    """What the backend said is shown, with what would help, by `explain` from kubelet and by `doctor` anew."""
    await scene.world.vault_class("secrets-wrong", roleName="nobody")
    pod = await scene.fail("secrets-wrong")

    explained, doctor = await scene.cluster.keyferry("explain", name(pod), "--json"), await scene.doctor(pod)
    assert (explained.status, doctor.status) == (1, 1)
    state, text = explained.findings("mount")[0]
    assert (state, "kubelet has tried 3 times" in text, "nobody" in text) == ("wrong", True, True)
    state, text = doctor.findings("fetch")[0]
    assert (state, "nobody" in text) == ("wrong", True)


async def test_a_class_that_is_missing(scene: Scene) -> None:
    """Both commands say that it is missing, and where to create it."""
    pod = await scene.fail("nowhere")

    explained, doctor = await scene.cluster.keyferry("explain", name(pod)), await scene.doctor(pod)
    assert (explained.status, doctor.status) == (1, 1)
    text = f"there is no SecretProviderClass {scene.world.namespace}/nowhere"
    assert text in explained.out
    assert "fix: create the class in the pod's namespace" in explained.out
    assert doctor.findings("class") == [("wrong", text)]


async def test_a_backend_that_is_paused(scene: Scene) -> None:
    """The pause is shown, and the pod's volume is said to be old for it."""
    pod = await scene.mounted()
    scene.proxy.fail(status=429, headers={"Retry-After": "120"}, body='{"errors": []}', match=READ)
    wish = RefreshRequested(scene.world.namespace, "secrets", int(time.time() * 1000))
    await scene.bus.publish(change_subject("kubernetes"), wish.to_bytes(), destination="test")

    async def failed() -> bool:
        return (await scene.word(pod)).failure is not None

    await scene.until(failed, within=PATIENCE)
    backends = await scene.cluster.keyferry("backends", "--json")
    explained = await scene.cluster.keyferry("explain", name(pod), "--json")
    top = await scene.cluster.keyferry("top", "--once")

    assert [pause["seconds"] > 0 for pause in backends.told["pauses"]] == [True]
    (row,) = backends.told["backends"]
    assert (row["provider"], row["reasons"]) == ("vault", {"RateLimited": 1})
    assert (explained.status, explained.findings("fetch")[0][0]) == (1, "wrong")
    assert "RateLimited" in explained.out
    assert "RateLimited" in top.out


async def test_no_command_prints_a_value(scene: Scene) -> None:
    """In no form, and not with logs of everything either: neither the secret nor a token."""
    pod = await scene.mounted()
    keys = str(scene.cluster.stack.keys_dir)
    commands = [
        ("volumes", "--wide"),
        ("contents", "--wide"),
        ("backends",),
        ("dead-letters", "list"),
        ("explain", name(pod)),
        ("doctor", name(pod), "--fetch", "--keys-dir", keys),
        ("doctor", "--class", f"{scene.world.namespace}/secrets"),
        ("top", "--once"),
        ("keys", "show", "--dir", keys),
    ]
    for command in commands:
        for more in (("--debug",), ("--debug", "--json")):
            ran = await scene.cluster.keyferry(*command, *more)
            assert (ran.status, bool(ran.out)) == (0, True), (command, more, ran.out, ran.err)

    said = "\n".join(scene.cluster.said)
    assert name(pod).partition("/")[2] in said
    assert (CANARY in said, "eyJ" in said) == (False, False)


async def test_as_a_plugin_of_kubectl(scene: Scene) -> None:
    """The executable that kubectl looks for is the same program, and calls itself as kubectl does."""
    plugin = str(Path(sys.executable).parent / "kubectl-keyferry")
    volumes = await scene.cluster.keyferry("volumes", "--json", program=(plugin,))
    usage = await scene.cluster.keyferry("explain", program=(plugin,))

    assert (volumes.status, "volumes" in volumes.told) == (0, True)
    assert (usage.status, usage.err.startswith("usage: kubectl keyferry explain")) == (2, True)
