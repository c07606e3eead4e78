"""A rotator that serves the live page, with the servers it needs, and nodes that tell of whatever a test wants."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats as nats_py
from nats.aio.client import Client

from keyferry import streams
from keyferry.events import RefreshFailed, VolumeEvent, VolumePublished, VolumeUnpublished
from keyferry.kube import Json, Kube, connect
from keyferry.resources import ObjectVersion, Pod
from keyferry.subjects import volume_subject
from keyferry.testing import services
from keyferry.testing.kube import tls
from keyferry.testing.nats import Nats, nats_server
from keyferry.testing.ports import free_port
from keyferry.testing.services import Service
from keyferry.testing.stack import KubeProcess, kube_api
from keyferry.testing.valkey import valkey_server

_GROUP = "secrets-store.csi.x-k8s.io"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"


def volume(name: str, namespace: str = "shop", **about: Any) -> VolumePublished:
    """A volume of a pod of the same name, confirmed just now unless told otherwise."""
    plain: dict[str, Any] = {
        "volume_id": f"csi-{namespace}-{name}",
        "node": "node-a",
        "pod": Pod(namespace, name, f"uid-{namespace}-{name}", "app"),
        "secret_provider_class": "db",
        "target_path": "/target",
        "provider": "vault",
        "content_key": f"key-{namespace}",
        "digest": b"digest",
        "fetched_at_ms": int(time.time() * 1000),
        "versions": (ObjectVersion(f"{namespace}-password", "7"),),
        "sources": (f"secret/data/{namespace}/db",),
    }
    return VolumePublished(**plain | about)


def failed(about: VolumePublished, reason: str = "SecretNotFound", message: str = "no such secret") -> RefreshFailed:
    """Its last refresh went wrong."""
    return RefreshFailed(about, int(time.time() * 1000), "NOT_FOUND", reason, message)


def name_of(about: VolumePublished) -> str:
    """What the page calls a volume."""
    return f"{about.node} {about.volume_id}"


@dataclass(frozen=True)
class LivePage:
    """The page.

    Attributes:
        url: Without a path.
        rotator: Who serves it.
        nodes: Everybody's connection to NATS.
        kube: The administrator's connection to Kubernetes.
        api: The API server as a process.
    """

    url: str
    rotator: Service
    bus: Nats
    nodes: Client
    kube: Kube
    api: KubeProcess

    async def tell(self, *events: VolumeEvent) -> None:
        """Nodes tell of their volumes."""
        await self.nodes.flush()
        before = (await self.nodes.jetstream().stream_info("VOLUMES")).state.last_seq
        for event in events:
            about = event if isinstance(event, VolumePublished | VolumeUnpublished) else event.volume
            await self.nodes.publish(volume_subject(about.node, about.volume_id), event.to_bytes())
        await self.nodes.flush()
        async with asyncio.timeout(30):
            while (await self.nodes.jetstream().stream_info("VOLUMES")).state.last_seq < before + len(events):  # noqa: ASYNC110 - it is on a server
                await asyncio.sleep(0.02)

    async def account(self, name: str, *, sees: Iterable[str] = (), sees_all: bool = False) -> str:
        """See `make_account`."""
        return await make_account(self.kube, name, sees=sees, sees_all=sees_all)


async def make_account(kube: Kube, name: str, *, sees: Iterable[str] = (), sees_all: bool = False) -> str:
    """A token of a new service account in the namespace ``default``.

    Args:
        kube: The administrator's connection.
        name: The account's.
        sees: Namespaces in which it may list mounts; they are made if there are none.
        sees_all: Whether it may do so in all of them.
    """
    subject = {"kind": "ServiceAccount", "name": name, "namespace": "default"}
    account = "/api/v1/namespaces/default/serviceaccounts"
    await kube.post(account, {"metadata": {"name": name}})
    for namespace in sees:
        if await kube.get(f"/api/v1/namespaces/{namespace}") is None:
            await kube.post("/api/v1/namespaces", {"metadata": {"name": namespace}})
        await _bind(kube, f"{_RBAC}/namespaces/{namespace}", "Role", f"{name}-sees", subject)
    if sees_all:
        await _bind(kube, _RBAC, "ClusterRole", f"{name}-sees", subject)
    made = await kube.post(f"{account}/{name}/token", {"spec": {}})
    assert made is not None
    return str(made["status"]["token"])


async def _bind(kube: Kube, path: str, kind: str, name: str, subject: Json) -> None:
    rules = [{"apiGroups": [_GROUP], "resources": ["secretproviderclasspodstatuses"], "verbs": ["list"]}]
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
    body = {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]}
    await kube.post(f"{path}/{kind.lower()}s", {"metadata": {"name": name}, "rules": rules})
    await kube.post(f"{path}/{kind.lower()}bindings", body)


@contextmanager
def certificate(directory: Path) -> Iterator[tuple[Path, Path, str]]:
    """Files of a certificate for this machine and its key, and the PEM of who vouches for it."""
    made = tls.issue()
    chain, key = directory / "page.crt", directory / "page.key"
    key.touch(mode=0o600)
    chain.write_text(made.certificate)
    key.write_text(made.key)
    yield chain, key, made.ca_pem


@asynccontextmanager
async def live_page(
    directory: Path, *, encrypted: bool = True, env: Mapping[str, str] | None = None
) -> AsyncIterator[LivePage]:
    """Run a rotator with the page, and all that it needs, for the length of the block.

    Args:
        directory: Holds logs and stores.
        encrypted: Whether the page is served over TLS.
        env: More settings of the rotator.

    Raises:
        ServerError: something does not come up.
    """
    async with AsyncExitStack() as running:
        nats = running.enter_context(nats_server(directory / "nats"))
        valkey = running.enter_context(valkey_server(directory / "valkey"))
        api = running.enter_context(kube_api(directory / "kube"))
        chain, key, _ = running.enter_context(certificate(directory))
        await streams.ensure(streams.Settings(nats_url=nats.url))
        port = free_port()
        settings = {"KEYFERRY_UI_ADDRESS": f"127.0.0.1:{port}", "KEYFERRY_KUBECONFIG": str(api.kubeconfig)}
        settings |= {"KEYFERRY_UI_TLS_CERT": str(chain), "KEYFERRY_UI_TLS_KEY": str(key)} if encrypted else {}
        rotator = await asyncio.to_thread(
            running.enter_context,
            services.rotator(directory, nats_url=nats.url, redis_url=valkey.url, env={**settings, **(env or {})}),
        )
        nodes = await nats_py.connect(nats.url)
        running.push_async_callback(nodes.close)
        kube = await running.enter_async_context(connect(api.kubeconfig, user_agent="live-page-tests"))
        yield LivePage(f"http{'s' if encrypted else ''}://localhost:{port}", rotator, nats, nodes, kube, api)


def fetched(url: str, *, token: str = "", method: str = "GET", **headers: str) -> tuple[int, dict[str, str], Any]:
    """Status, headers by lower-case name and body of an answer; JSON is parsed. Blocks."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named |= {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, headers=named, method=method)  # noqa: S310 - loopback
    context = ssl._create_unverified_context()  # noqa: S323, SLF001 - a certificate of the test's own
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(request, timeout=20) as answer:
            status, told, body = answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            status, told, body = error.code, error.headers, error.read()
    is_json = told.get("Content-Type") == "application/json"
    return status, {name.lower(): value for name, value in told.items()}, json.loads(body) if is_json else body
