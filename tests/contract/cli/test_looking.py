"""`explain` and `doctor` on a bus, a Valkey and a Kubernetes API that are real, or nearly; the whole way is in e2e."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from keyferry import keymaking
from keyferry.bus import Bus
from keyferry.events import RefreshFailed, VolumePublished
from keyferry.kube import Json, Kube, connect
from keyferry.resources import DRIVER_NAME, ObjectVersion, Pod
from keyferry.store import Store
from keyferry.subjects import volume_subject
from keyferry.testing.kube import KubeAPI, crds
from keyferry.testing.kubelet import Kubelet, csi_driver, pod_manifest
from keyferry.testing.stack import CRDS
from tests.contract.cli.conftest import keyferry

if TYPE_CHECKING:
    from pathlib import Path

    from tests.contract.cli.conftest import Site

CLASS = {
    "apiVersion": "secrets-store.csi.x-k8s.io/v1",
    "kind": "SecretProviderClass",
    "spec": {"provider": "aws", "parameters": {"objects": "- objectName: db"}},
}
CLASSES = "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/shop/secretproviderclasses"


@dataclass
class Desk:
    """A cluster with a namespace, and what is printed about it."""

    kube: Kube
    bus: Bus
    capsys: pytest.CaptureFixture[str]
    status: int = 0
    told: dict[str, Any] = field(default_factory=dict)

    async def make(self, path: str, name: str, **body: Any) -> Json:
        """Make an object."""
        made = await self.kube.post(path, {"metadata": {"name": name, **body.pop("metadata", {})}, **body})
        assert made is not None
        return made

    async def pod(self, class_name: str = "db", *, node: str = "n1") -> Json:
        """Make a pod of service account `web` that mounts a class."""
        body = pod_manifest("shop", "web-0", node=node, secret_provider_class=class_name, account="web")
        made = await self.kube.post("/api/v1/namespaces/shop/pods", body)
        assert made is not None
        return made

    async def ask(self, *argv: str) -> dict[str, list[str]]:
        """Run a command; check to the states of its findings."""
        self.status = await keyferry(*argv, "--json")
        self.told = json.loads(self.capsys.readouterr().out)
        groups = self.told.get("groups") or [self.told, *self.told["volumes"]]
        found: dict[str, list[str]] = {}
        for each in (each for group in groups for each in group["findings"]):
            found.setdefault(each["check"], []).append(each["state"])
        return found

    def text(self, check: str) -> str:
        """What was said of a check, fixes included."""
        groups = self.told.get("groups") or [self.told, *self.told["volumes"]]
        found = [each for group in groups for each in group["findings"] if each["check"] == check]
        return "\n".join(f"{each['text']} {each['fix']}" for each in found)


@pytest.fixture
async def desk(
    site: Site, bus: Bus, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[Desk]:
    """A cluster with the CSIDriver and a namespace; somebody looks who may only look."""
    assert store.is_connected
    site.prepare(monkeypatch, "cli")
    await bus._nats.jetstream().purge_stream("VOLUMES")
    async with KubeAPI(crds=crds.load(CRDS)) as api, connect(api.kubeconfig) as kube:
        monkeypatch.setenv("KEYFERRY_KUBECONFIG", str(api.kubeconfig))
        desk = Desk(kube, bus, capsys)
        await desk.make("/api/v1/namespaces", "shop")
        await kube.post("/apis/storage.k8s.io/v1/csidrivers", csi_driver("keyferry", "sts.amazonaws.com"))
        yield desk


async def test_doctor_on_a_bare_class(desk: Desk) -> None:
    """The class is in order; that nobody works is found, and what nobody named a pod for is not looked at."""
    await desk.make(CLASSES, "db", **CLASS)

    found = await desk.ask("doctor", "--class", "shop/db")
    assert (desk.status, found["csi-driver"], found["class"], found["tokens"]) == (1, ["ok"], ["ok"], ["ok"])
    assert (found["nats"], found["streams"]) == (["ok"], ["ok"])
    assert (found["fetchers"], found["rotators"], found["syncers"]) == (["wrong"], ["wrong"], ["warning"])
    assert found["redis"] == ["wrong"]
    assert "pod" not in found


async def test_doctor_on_a_pod_without_a_role(desk: Desk) -> None:
    """The annotation that is missing is named, with the command that sets it."""
    await desk.make(CLASSES, "db", **CLASS)
    await desk.make("/api/v1/namespaces/shop/serviceaccounts", "web")
    await desk.pod()

    found = await desk.ask("doctor", "web-0", "-n", "shop")
    assert (found["service-account"], found["pod"], found["node-bus"]) == (["wrong"], ["ok"], ["warning"])
    assert "annotate serviceaccount web eks.amazonaws.com/role-arn=" in desk.text("service-account")


async def test_doctor_on_a_pod_with_a_role(desk: Desk) -> None:
    """Whom the backend will see is shown."""
    await desk.make(CLASSES, "db", **CLASS)
    role = {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/web"}}
    await desk.make("/api/v1/namespaces/shop/serviceaccounts", "web", metadata=role)
    await desk.pod()

    found = await desk.ask("doctor", "shop/web-0")
    assert found["service-account"] == ["ok"]
    assert "arn:aws:iam::1:role/web" in desk.text("service-account")


async def test_doctor_knows_what_the_driver_lacks(desk: Desk) -> None:
    """Each field of the CSIDriver that is not as it must be is a finding, and so is a missing token."""
    await desk.kube.call("DELETE", f"/apis/storage.k8s.io/v1/csidrivers/{DRIVER_NAME}")
    spec = {"podInfoOnMount": False, "requiresRepublish": False, "tokenRequests": [{"audience": "vault"}]}
    await desk.make("/apis/storage.k8s.io/v1/csidrivers", DRIVER_NAME, spec=spec)
    await desk.make(CLASSES, "db", **CLASS)

    found = await desk.ask("doctor", "--class", "shop/db")
    assert (found["csi-driver"], found["tokens"]) == (["wrong"] * 3, ["wrong"])
    assert "add audience sts.amazonaws.com" in desk.text("tokens")


async def test_doctor_compares_keys(desk: Desk, tmp_path: Path) -> None:
    """A folder with other keys than the cluster's is found out; the cluster's own is not."""
    await desk.make(CLASSES, "db", **CLASS)
    await desk.make("/api/v1/namespaces", "keys")
    for name in ("ours", "theirs"):
        keymaking.create(tmp_path / name)
    public = {"public.json": (tmp_path / "ours" / "public.json").read_text()}
    await desk.make("/api/v1/namespaces/keys/configmaps", "keyferry-public-keys", data=public)
    argv = ("doctor", "--class", "shop/db", "--system-namespace", "keys")

    assert (await desk.ask(*argv))["keys"] == ["ok"]
    assert (await desk.ask(*argv, "--keys-dir", str(tmp_path / "ours")))["keys"] == ["ok"]
    assert (await desk.ask(*argv, "--keys-dir", str(tmp_path / "theirs")))["keys"] == ["wrong"]


async def test_a_dry_run_without_the_right_to_it(desk: Desk, tmp_path: Path) -> None:
    """Who may not speak as a node is told which rights that takes."""
    keymaking.create(tmp_path / "keys")
    await desk.make(CLASSES, "db", **CLASS)
    await desk.make("/api/v1/namespaces/shop/serviceaccounts", "web")
    await desk.pod()

    argv = ("doctor", "shop/web-0", "--fetch", "--keys-dir", str(tmp_path / "keys"), "--seconds", "1")
    assert (await desk.ask(*argv))["fetch"] == ["wrong"]
    assert "publish keyferry.fetch.mount.n1 and subscribe to _INBOX.node.n1.>" in desk.text("fetch")


async def test_explain_a_refresh_that_failed(desk: Desk, store: Store) -> None:
    """The node's last word is shown with its reason and what would help; without a schedule that is said, too."""
    await desk.make("/api/v1/namespaces/shop/serviceaccounts", "web")
    await desk.make(CLASSES, "db", **CLASS)
    pod = await desk.pod()
    volume_id = Kubelet.handle(None, pod, "secrets")  # type: ignore[arg-type] # it looks at the pod alone
    volume = VolumePublished(
        volume_id=volume_id,
        node="n1",
        pod=Pod("shop", "web-0", pod["metadata"]["uid"], "web"),
        secret_provider_class="db",
        target_path="/t",
        provider="aws",
        content_key="k",
        digest=b"d",
        fetched_at_ms=int(time.time() * 1000),
        versions=(ObjectVersion("db", "v3"),),
    )
    failed = RefreshFailed(volume, 1, "PERMISSION_DENIED", "AccessDenied", "role web may not read db")
    await desk.bus.publish(volume_subject("n1", volume_id), failed.to_bytes(), destination="test")

    found = await desk.ask("explain", "shop/web-0")
    assert (desk.status, found["mount"], found["fetch"], found["content"]) == (1, ["ok"], ["wrong"], ["ok"])
    assert "role web may not read db" in desk.text("fetch")
    assert "holds db@v3" in desk.text("content")
    assert found["schedule"] == ["wrong"]

    await store.call("SET", "keyferry:rotation:built", "stream")
    assert (await desk.ask("explain", "shop/web-0"))["schedule"] == ["wrong"]
    assert "no rotator has heard of the volume" in desk.text("schedule")


async def test_explain_without_redis(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """All the rest is told."""
    monkeypatch.setenv("KEYFERRY_REDIS_URL", "")
    await desk.make("/api/v1/namespaces/shop/serviceaccounts", "web")
    await desk.make(CLASSES, "db", **CLASS)
    await desk.pod()

    found = await desk.ask("explain", "shop/web-0")
    assert (desk.status, found["class"], found["mount"]) == (1, ["ok"], ["wrong"])


async def test_a_pod_that_is_not_there(desk: Desk) -> None:
    """Neither is one that no pod could be called."""
    for pod in ("shop/nobody", "shop/../../secrets/x"):
        assert await keyferry("explain", pod) == 2
        assert await keyferry("doctor", pod) == 2
    assert desk.capsys.readouterr().out == ""


async def test_a_class_that_no_class_can_be_called(desk: Desk) -> None:
    """A name that Kubernetes does not take, or none at all, is a finding and no failure of the command."""
    await desk.make("/api/v1/namespaces/shop/serviceaccounts", "web")
    await desk.pod("../Db")

    assert (await desk.ask("explain", "shop/web-0"))["class"] == ["wrong"]
    assert (await desk.ask("doctor", "shop/web-0"))["class"] == ["wrong"]
    assert (await desk.ask("doctor", "--class", "shop/"))["class"] == ["wrong"]
