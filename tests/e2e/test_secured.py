"""All four services as they are deployed: TLS, an identity each, and nobody may do more than he does."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from keyferry import identities, keymaking, streams
from keyferry.bus.permissions import SERVICES
from keyferry.kube import Kube
from keyferry.store_users import STORE_USERS, acl_file
from keyferry.testing.nats import Nats, guarded_nats_server
from keyferry.testing.stack import Stack
from keyferry.testing.valkey import valkey_server
from keyferry.testing.world import World

from .conftest import Settle, Until, enter

pytestmark = pytest.mark.root

PASSWORDS = {user: f"{user}-password" for user in STORE_USERS}


@dataclass(frozen=True)
class Secured:
    """A world whose bus and store let nobody do more than his own."""

    world: World
    nats: Nats
    command_line: dict[str, str]

    def violations(self) -> list[str]:
        """What somebody tried on the bus that is not his, by the server's log."""
        lines = self.nats.process.log.read_text().splitlines()
        return [line for line in lines if "Violation" in line or "authorization" in line.lower()]

    async def keyferry(self, *argv: str) -> Any:
        """What the command line prints, with the identity that is its own."""
        env = os.environ | {"KEYFERRY_KUBECONFIG": str(self.world.servers.kube.kubeconfig)} | self.command_line
        command = [sys.executable, "-m", "keyferry", *argv, "--json"]
        ran = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, env=env, check=False)
        assert ran.stdout, ran.stderr
        return json.loads(ran.stdout)


async def driver_token(kube: Kube, node: str) -> str:
    """The token of the driver's pod on a node, as kubelet would mount it."""
    name = "secrets-store-csi-driver"
    await kube.post("/api/v1/namespaces/kube-system/serviceaccounts", {"metadata": {"name": name}})
    spec = {"serviceAccountName": name, "nodeName": node, "containers": [{"name": "c", "image": "i"}]}
    labels = {"app.kubernetes.io/name": "keyferry", "app.kubernetes.io/component": "node-driver"}
    metadata = {"name": f"driver-{node}", "labels": labels}
    await kube.post("/api/v1/namespaces/kube-system/pods", {"metadata": metadata, "spec": spec})
    bound = {"kind": "Pod", "apiVersion": "v1", "name": f"driver-{node}"}
    path = f"/api/v1/namespaces/kube-system/serviceaccounts/{name}/token"
    made = await kube.post(path, {"spec": {"audiences": ["keyferry-nats"], "boundObjectRef": bound}}) or {}
    return str(made["status"]["token"])


def environment(made: Path, name: str, store: int) -> dict[str, str]:
    """What a service is told of its identity."""
    known = {"KEYFERRY_NATS_CA_FILE": str(made / "ca.crt")}
    if name in SERVICES:
        known["KEYFERRY_NATS_NKEY_FILE"] = str(made / f"{name}.nk")
    if name in PASSWORDS:
        known["KEYFERRY_REDIS_URL"] = f"redis://{name}:{PASSWORDS[name]}@127.0.0.1:{store}/0"
    return known


@pytest.fixture
async def secured(servers: Stack, place: Path, kube: Kube, settle: Settle) -> AsyncIterator[Secured]:
    """Four services, a NATS and a Valkey with identities."""
    folder = place / "secured"
    made = folder / "identities"
    identities.create(made, nats_hosts=["127.0.0.1"], redis_hosts=["127.0.0.1"])
    (folder / "users.acl").write_text(acl_file(PASSWORDS))
    token = folder / "token"
    token.write_text(await driver_token(kube, "node-s"))
    async with AsyncExitStack() as exits:
        nats = await enter(exits, guarded_nats_server(folder / "nats", made))
        valkey = await enter(exits, valkey_server(folder / "valkey", users=folder / "users.acl"))
        key, ca = str(made / "streams.nk"), str(made / "ca.crt")
        await streams.ensure(streams.Settings(nats_url=nats.url, nats_ca_file=ca, nats_nkey_file=key))
        stack = replace(servers, directory=folder, nats=nats)
        keymaking.create(stack.keys_dir)
        told = {name: environment(made, name, valkey.port) for name in (*SERVICES, "node-driver")}
        await enter(exits, stack.fetcher(**told["fetcher"], KEYFERRY_CALLOUT_DIR=str(made)))
        await enter(exits, stack.rotator(**told["rotator"], KEYFERRY_ROTATION_INTERVAL="2s"))
        await enter(exits, stack.syncer(**told["syncer"], KEYFERRY_NAMESPACE="default"))
        identity = {**told["node-driver"], "KEYFERRY_NATS_TOKEN_FILE": str(token)}
        node = await enter(exits, stack.node_driver("node-s", **identity))
        command_line = told["cli"] | {"KEYFERRY_NATS_URL": nats.url}
        yield Secured(replace(await settle(node), servers=stack), nats, command_line)


async def test_all_together(secured: Secured, until: Until) -> None:
    """A pod mounts, its Secret is synced, a new value reaches both, the command line sees it; nobody was refused."""
    world = secured.world
    await world.secret("db", password="tiger")
    entry = {"objectName": "password", "secretPath": world.path("db"), "secretKey": "password"}
    parameters = {
        "vaultAddress": world.servers.openbao.address,
        "roleName": world.namespace,
        "objects": yaml.safe_dump([entry]),
    }
    synced = {"secretName": "synced", "type": "Opaque", "data": [{"objectName": "password", "key": "password"}]}
    await world.make_class("secrets", "vault", parameters, secretObjects=[synced])

    async def in_secret(value: str) -> bool:
        found = await world.kube.get(f"/api/v1/namespaces/{world.namespace}/secrets/synced")
        return found is not None and base64.b64decode(found["data"]["password"]).decode() == value

    pod = await world.pod()
    target = await world.mounted(pod)
    assert (target / "password").read_text() == "tiger"
    await until(lambda: in_secret("tiger"), within=30)

    await world.secret("db", password="lion")
    await until(lambda: (target / "password").read_text() == "lion", within=30)
    await until(lambda: in_secret("lion"), within=30)

    name = f"{world.namespace}/{pod['metadata']['name']}"
    assert [each["pod"] for each in (await secured.keyferry("volumes"))["volumes"]] == [pod["metadata"]["name"]]
    assert (await secured.keyferry("explain", name))["well"]
    keys_dir = str(world.servers.keys_dir)
    groups = (await secured.keyferry("doctor", name, "--fetch", "--keys-dir", keys_dir))["groups"]
    found = {each["check"]: each["state"] for group in groups for each in group["findings"]}
    assert (found["fetch"], found["streams"], found["fetchers"], found["redis"]) == ("ok", "ok", "ok", "ok")

    await world.kubelet.unpublish(pod)
    assert world.left(pod) == []
    assert secured.violations() == []
