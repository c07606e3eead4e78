"""A syncer's term in the test's own loop: on a real bus, and on a Kubernetes API that a test may break."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from keyferry import keymaking, streams
from keyferry.bus import Bus, connect
from keyferry.events import VolumeEvent, VolumePublished, VolumeUnpublished
from keyferry.handover import SecretsFetched
from keyferry.keys import FetcherKeys, KeyFile, PublicKeys
from keyferry.kube import Json, Kube
from keyferry.kube import connect as connect_kube
from keyferry.resources import Content, File, Pod
from keyferry.subjects import sync_subject, volume_subject
from keyferry.testing.kube import KubeAPI, crds
from keyferry.testing.kubelet import pod_manifest
from keyferry.testing.nats import Nats, nats_server
from keyferry.testing.stack import CRDS
from syncer.contents import Contents
from syncer.sync import Sync, Tools
from syncer.volumes import id_of, node_of

CLASSES = "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/{}/secretproviderclasses"
STATUSES = "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/{}/secretproviderclasspodstatuses"
NODE = "node-a"
_PATIENCE_SECONDS = 20.0


@dataclass
class Term:
    """A cluster, its bus, and a syncer that can be started and ended at any time.

    Attributes:
        at: Unix milliseconds of the next fetch.
    """

    api: KubeAPI
    kube: Kube
    bus: Bus
    tools: Tools
    fetcher: KeyFile[FetcherKeys]
    public: KeyFile[PublicKeys]
    namespace: str
    at: int = 1_800_000_000_000
    running: asyncio.Task[None] | None = None
    volumes: dict[str, VolumePublished] = field(default_factory=dict)

    def start(self) -> None:
        """Begin a term."""
        self.running = asyncio.create_task(Sync(self.tools, secrets=True).run())

    async def end(self) -> None:
        """End it."""
        if self.running:
            self.running.cancel()
            with suppress(asyncio.CancelledError):
                await self.running
            self.running = None

    @property
    def path(self) -> str:
        """Of the namespace."""
        return f"/api/v1/namespaces/{self.namespace}"

    async def make_class(self, name: str, *objects: Json) -> None:
        """Make a class with these entries."""
        body = {
            "apiVersion": "secrets-store.csi.x-k8s.io/v1",
            "kind": "SecretProviderClass",
            "metadata": {"name": name},
            "spec": {"provider": "vault", "parameters": {"a": "b"}, "secretObjects": list(objects)},
        }
        await self.kube.post(CLASSES.format(self.namespace), body)

    async def change_class(self, name: str, *objects: Json) -> None:
        """Give it other entries."""
        body = {"spec": {"secretObjects": list(objects)}}
        path = f"{CLASSES.format(self.namespace)}/{name}"
        await self.kube.call("PATCH", path, body=body, content_type="application/merge-patch+json")

    async def pod(self, name: str, class_name: str = "db", *, owner: str = "", node: str = NODE) -> Json:
        """Make a pod, owned by a ConfigMap of the name, if one is given."""
        body = pod_manifest(self.namespace, name, node=node, secret_provider_class=class_name)
        if owner:
            made = await self.kube.get(f"{self.path}/configmaps/{owner}") or await self.kube.post(
                f"{self.path}/configmaps", {"metadata": {"name": owner}}
            )
            assert made is not None
            reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": made["metadata"]["uid"]}
            body["metadata"]["ownerReferences"] = [reference]
        pod = await self.kube.post(f"{self.path}/pods", body)
        assert pod is not None
        return pod

    def volume(self, pod: Json, key: str = "k", class_name: str = "db", **about: Any) -> VolumePublished:
        """What the pod's node would tell of its volume."""
        self.at += 1
        metadata = pod["metadata"]
        usual: dict[str, Any] = {"node": NODE, "fetched_at_ms": self.at, "target_path": f"/pods/{metadata['uid']}"}
        usual["volume_id"] = f"csi-{metadata['uid']}-{class_name}"
        return VolumePublished(
            pod=Pod(self.namespace, metadata["name"], metadata["uid"], "default"),
            secret_provider_class=class_name,
            provider="vault",
            content_key=key,
            digest=b"d",
            versions=(),
            **{**usual, **about},
        )

    async def tell(self, event: VolumeEvent, *, subject: str = "") -> None:
        """Tell the bus as a node does."""
        where = subject or volume_subject(node_of(event), id_of(event))
        await self.bus.publish(where, event.to_bytes(), destination="keyferry.volume")

    async def mount(self, pod: Json, key: str = "k", class_name: str = "db", **about: Any) -> VolumePublished:
        """A volume of the pod is published."""
        volume = self.volume(pod, key, class_name, **about)
        await self.tell(volume)
        return volume

    async def unmount(self, volume: VolumePublished) -> None:
        """It is unpublished."""
        await self.tell(VolumeUnpublished(volume.volume_id, volume.node))

    async def hand_over(self, key: str = "k", *, at: int = 0, **files: bytes) -> None:
        """A fetcher hands a content over."""
        self.at += 1
        parts = tuple(File(path, contents) for path, contents in files.items())
        content = Content("vault", key, b"d", at or self.at, (), parts)
        told = SecretsFetched.seal(content, namespace=self.namespace, to=self.public.keys.syncer.current(0))
        payload = told.to_bytes(self.fetcher.keys.signing.current(0))
        await self.bus.publish(sync_subject(self.namespace, key), payload, destination="keyferry.sync")

    async def secret(self, name: str = "app") -> dict[str, bytes] | None:
        """Its values; None where there is no such Secret."""
        found = await self.kube.get(f"{self.path}/secrets/{name}")
        return found and {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}

    async def owners(self, name: str = "app") -> set[str]:
        """Names of its owners."""
        found = await self.kube.get(f"{self.path}/secrets/{name}") or {"metadata": {}}
        return {owner["name"] for owner in found["metadata"].get("ownerReferences", [])}

    async def version(self, name: str = "app") -> str:
        """The resourceVersion of a Secret."""
        found = await self.kube.get(f"{self.path}/secrets/{name}")
        assert found is not None
        return str(found["metadata"]["resourceVersion"])

    async def events(self) -> list[tuple[str, str]]:
        """Reason and message of the Events about classes."""
        found = await self.kube.get(f"{self.path}/events") or {}
        about_classes = [each for each in found["items"] if each["involvedObject"]["kind"] == "SecretProviderClass"]
        return [(each["reason"], each["message"]) for each in about_classes]

    async def until(self, claim: Callable[[], Awaitable[bool]]) -> None:
        """Wait until something is true."""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while not await claim():  # noqa: ASYNC110 - it is on a server
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{await self.secret()} of {await self.owners()}: {await self.events()}") from None

    async def until_secret(self, values: dict[str, bytes] | None, name: str = "app") -> None:
        """Wait until a Secret has these values."""

        async def has() -> bool:
            return await self.secret(name) == values

        await self.until(has)

    async def until_owners(self, *names: str, name: str = "app") -> None:
        """Wait until a Secret has these owners."""

        async def has() -> bool:
            return await self.owners(name) == set(names)

        await self.until(has)

    async def until_told(self, reason: str, text: str) -> None:
        """Wait for an Event about the class."""

        async def told() -> bool:
            return any(each == reason and text in message for each, message in await self.events())

        await self.until(told)

    async def idle(self, seconds: float = 0.7) -> None:
        """Give a syncer that should do nothing the time to do it all the same."""
        await asyncio.sleep(seconds)


def entry(name: str = "app", kind: str = "Opaque", **keys: str) -> Json:
    """An entry of secretObjects: key to file."""
    data = [{"objectName": file, "key": key} for key, file in (keys or {"password": "pw"}).items()]
    return {"secretName": name, "type": kind, "data": data}


@pytest.fixture
def own_nats(tmp_path: Path) -> Iterator[Nats]:
    """A bus of a test's own: a term reads all that it holds."""
    with nats_server(tmp_path / "nats") as running:
        yield running


@pytest.fixture
async def term(own_nats: Nats, tmp_path: Path) -> AsyncIterator[Term]:
    """A cluster in which no syncer has begun yet."""
    keymaking.create(tmp_path / "keys")
    await streams.ensure(streams.Settings(nats_url=own_nats.url))
    public = KeyFile.public(tmp_path / "keys")
    async with AsyncExitStack() as exits:
        bus = await exits.enter_async_context(connect(own_nats.url, name="test"))
        api = await exits.enter_async_context(KubeAPI(crds=crds.load(CRDS)))
        kube = await exits.enter_async_context(connect_kube(api.kubeconfig))
        namespace = f"ns-{secrets.token_hex(4)}"
        await kube.post("/api/v1/namespaces", {"metadata": {"name": namespace}})
        tools = Tools(bus, kube, Contents(bus, public, KeyFile.syncer(tmp_path / "keys")))
        fetcher = KeyFile.fetcher(tmp_path / "keys")
        made = Term(api, kube, bus, tools, fetcher, public, namespace)
        yield made
        await made.end()
