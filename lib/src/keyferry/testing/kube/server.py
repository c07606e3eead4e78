"""The Kubernetes API as a server in this process: where everything is wired together."""

import asyncio
import json
import secrets
import shutil
import socket
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from keyferry.testing.kube import builtin, requests, tls
from keyferry.testing.kube.accounts import Accounts, stamp
from keyferry.testing.kube.catalog import Catalog
from keyferry.testing.kube.controllers import Controllers
from keyferry.testing.kube.deleting import Deleting
from keyferry.testing.kube.faults import Faults
from keyferry.testing.kube.routes import Routes
from keyferry.testing.kube.store import Key, Store
from keyferry.testing.kube.tokens import Issuer
from keyferry.testing.kube.writing import Writing

Json = dict[str, Any]

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_WITH_NODE_CLAIM, _WITHOUT_NODE_CLAIM = 32, 29


def _utc_now() -> datetime:
    return datetime.now(UTC)


class KubeAPI:
    """An API server on loopback with everything in memory. Use as `async with KubeAPI() as api`.

    RBAC is not enforced: the administrator's token and every valid service account token may do everything.

    Args:
        port: TCP port on 127.0.0.1; 0 takes a free one.
        secure: HTTPS with a certificate of the API's own authority; False is plain HTTP.
        issuer: The `iss` of service account tokens; the API's own URL when empty, so that OIDC discovery works.
        node_claim: Tokens bound to a pod name the pod's node, as from Kubernetes 1.30 on; False is an older server.
        history: How many changes a watch can look back on before it gets 410 Gone.
        bookmark_seconds: How often a watch that asked for bookmarks gets one.
        collect_seconds: How long after a deletion the garbage collector acts.
        crds: CustomResourceDefinition objects to create at the start.
        now: The clock that objects and tokens are dated by.

    Attributes:
        url: Where it listens.
        kubeconfig: Path of a kubeconfig file for the administrator.
        ca_pem: The authority's certificate, for clients without a kubeconfig.
        admin_token: The administrator's bearer token.
        issuer: The `iss` of its tokens.
        faults: Switches that make it misbehave.
        store: The objects themselves.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        secure: bool = True,
        issuer: str = "",
        node_claim: bool = True,
        history: int = 10_000,
        bookmark_seconds: float = 60.0,
        collect_seconds: float = 0.05,
        crds: list[Json] | None = None,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self.now = now
        self.issuer = issuer
        self.admin_token = secrets.token_urlsafe(24)
        self.store = Store(history)
        self.faults = Faults(self.store)
        self._port, self._secure, self._node_claim = port, secure, node_claim
        self._bookmark_seconds, self._collect_seconds = bookmark_seconds, collect_seconds
        self._definitions = crds or []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="kube-api-"))
        self._stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
        self._certificates = tls.issue()
        self.ca_pem = self._certificates.ca_pem
        self._socket_port()
        scheme = "https" if self._secure else "http"
        self.url = f"{scheme}://127.0.0.1:{self._port}"
        self.issuer = self.issuer or self.url
        self._wire()
        controllers = Controllers(
            self.store, self._catalog, ca_pem=self.ca_pem, delay=self._collect_seconds, now=self._clock
        )
        await self._stack.enter_async_context(controllers)
        self._furnish()
        self._stack.push_async_callback(self._stop)
        await self._start()
        self.kubeconfig = self._write_kubeconfig()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def _clock(self) -> datetime:
        # Read through the attribute, so that a test may set `api.now` at any time.
        return self.now()

    def _wire(self) -> None:
        self._catalog = Catalog(builtin.ROWS)
        self.tokens = Issuer(self.issuer, self._clock)
        accounts = Accounts(
            self.store,
            self._catalog,
            self.tokens,
            admin_token=self.admin_token,
            node_claim=self._node_claim,
            now=self._clock,
        )
        self._routes = Routes(
            self.store,
            self._catalog,
            Writing(self.store, self._catalog, self._clock),
            Deleting(self.store, self._clock),
            accounts,
            self.tokens,
            self.faults,
            minor=_WITH_NODE_CLAIM if self._node_claim else _WITHOUT_NODE_CLAIM,
            bookmark_seconds=self._bookmark_seconds,
        )

    def _furnish(self) -> None:
        """The namespaces that every cluster has, and the definitions given to the constructor."""
        for kind, name, content in (
            *(("Namespace", name, {}) for name in NAMESPACES),
            *(("CustomResourceDefinition", d["metadata"]["name"], d) for d in self._definitions),
        ):
            resource = next(row for row in self._catalog if row.kind == kind)
            meta = {"uid": str(uuid.uuid4()), "creationTimestamp": stamp(self._clock()), "name": name}
            item = json.loads(json.dumps(content)) | {"kind": kind, "apiVersion": resource.api_version}
            item["metadata"] = item.get("metadata", {}) | meta
            resource.prepare(item, None)
            resource.admit(item, None)
            self.store.put(Key(resource.storage, "", name), item)

    # ---- listening

    def _socket_port(self) -> None:
        """Settles the port before the issuer is named after it."""
        if not self._port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self._port = probe.getsockname()[1]

    async def _start(self) -> None:
        app = web.Application(client_max_size=requests.LARGEST_BODY + 1)
        app.router.add_route("*", "/{path:.*}", self._routes.handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        context = self._certificates.context(self._folder) if self._secure else None
        await web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=context, reuse_address=True).start()

    async def _stop(self) -> None:
        self.faults.end_watches()
        await self._runner.cleanup()

    @asynccontextmanager
    async def refusing_connections(self) -> AsyncIterator[None]:
        """Nothing listens while the block runs, and open connections are cut; the objects stay."""
        await self._stop()
        try:
            yield
        finally:
            await self._start()

    async def refuse_connections(self, seconds: float) -> None:
        """Nothing listens for that long."""
        async with self.refusing_connections():
            await asyncio.sleep(seconds)

    # ---- for clients

    def kubeconfig_for(self, token: str) -> Json:
        """A kubeconfig for the bearer of a token."""
        return tls.kubeconfig(self.url, self.ca_pem if self._secure else "", token)

    def _write_kubeconfig(self) -> Path:
        path = self._folder / "kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(self.kubeconfig_for(self.admin_token), indent=1))  # JSON is YAML
        return path
