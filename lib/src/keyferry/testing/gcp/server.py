"""Google Cloud as a server in this process: where everything is wired together."""

import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import grpc
from aiohttp import web

from keyferry.testing.gcp import parametermanager, secretmanager
from keyferry.testing.gcp.exchange import ExchangeApi
from keyferry.testing.gcp.faults import Faults
from keyferry.testing.gcp.identities import Identities
from keyferry.testing.gcp.policies import Policies
from keyferry.testing.gcp.remote import Remote
from keyferry.testing.gcp.rpc import Cloud, Service
from keyferry.testing.kube import tls
from keyferry.testing.ports import free_port
from keyferry.testing.serving import serving

ADMIN = "user:admin@example.com"


class GcpEmulator:
    """Google Cloud on loopback with everything in memory. Use as ``async with GcpEmulator() as gcp``.

    Args:
        secure: TLS with certificates of an authority of its own; False goes without.
        metadata: What its metadata server says, by path below ``/computeMetadata/v1/``; only without TLS.
        now: Unix seconds, by which access tokens end.

    Attributes:
        url: Of the HTTP services.
        endpoint: URL of the global gRPC endpoint, for both services.
        regional_endpoint: URL of the gRPC endpoint of every location.
        ca_pem: The authority's certificate; empty without TLS.
        ca_file: The same as a file.
        admin_token: Access token of somebody who may do everything in every project that was named to `administer`.
        secrets: What Secret Manager keeps.
        parameters: What Parameter Manager keeps.
        identities: Who is who.
        policies: Who may what.
        faults: Switches, and what was called.
        token_seconds: How long new access tokens hold.
    """

    def __init__(
        self, *, secure: bool = False, metadata: dict[str, str] | None = None, now: Callable[[], float] = time.time
    ) -> None:
        self.token_seconds = 3600.0
        self.policies = Policies()
        self.identities = Identities(self.policies, now)
        self.secrets = secretmanager.SecretManager(self.policies)
        self.parameters = parametermanager.ParameterManager(self.policies, self.secrets)
        self.faults = Faults()
        self.metadata = dict(metadata or {})
        self.ca_pem, self.ca_file = "", ""
        self._now, self._secure = now, secure
        self._ports = free_port(), free_port()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        folder = Path(tempfile.mkdtemp(prefix="gcp-"))
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        self._certificates = tls.issue() if self._secure else None
        if self._certificates:
            self._publish(self._certificates.ca_pem, folder / "ca.crt")
        self.admin_token = self.identities.issue(frozenset({ADMIN}), 10**9)
        app = web.Application()
        app.add_routes(self._exchange().routes())
        app.add_routes(Remote(self.identities, self.policies, self.faults, ADMIN).routes())
        context = self._certificates.context(folder) if self._certificates else None
        self.url = await self._stack.enter_async_context(serving(app, tls=context))
        scheme = "https" if self._secure else "http"
        self.endpoint, self.regional_endpoint = (f"{scheme}://localhost:{port}" for port in self._ports)
        await self.start()
        self._stack.push_async_callback(self.stop)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def start(self) -> None:
        """Have the gRPC endpoints listen, again after `stop`; what they keep is still there."""
        self._servers = [await self._listen(port, regional=number > 0) for number, port in enumerate(self._ports)]

    async def stop(self) -> None:
        """Have nothing listen at the gRPC endpoints; connections are cut."""
        for server in self._servers:
            await server.stop(None)
        self._servers = []

    def administer(self, project: str) -> None:
        """Let the bearer of `admin_token` do everything in a project."""
        self.policies.allow(ADMIN, f"projects/{project}", "roles/owner")

    def environ(self) -> dict[str, str]:
        """What makes the gcp provider ask here."""
        return {
            "GAIA_TOKEN_EXCHANGE_ENDPOINT": f"{self.url}/v1/identitybindingtoken",
            "KEYFERRY_GCP_IAM_ENDPOINT": self.url,
            "KEYFERRY_GCP_OAUTH_ENDPOINT": f"{self.url}/token",
            "GCE_METADATA_HOST": self.url.partition("://")[2],
            "KEYFERRY_GCP_SECRETMANAGER_ENDPOINT": self.endpoint,
            "KEYFERRY_GCP_SECRETMANAGER_REGIONAL_ENDPOINT": self.regional_endpoint,
            "KEYFERRY_GCP_PARAMETERMANAGER_ENDPOINT": self.endpoint,
            "KEYFERRY_GCP_PARAMETERMANAGER_REGIONAL_ENDPOINT": self.regional_endpoint,
            "KEYFERRY_GCP_CA_FILE": self.ca_file,
        }

    def _publish(self, ca_pem: str, file: Path) -> None:
        self.ca_pem, self.ca_file = ca_pem, str(file)
        file.write_text(ca_pem)

    def _exchange(self) -> ExchangeApi:
        return ExchangeApi(
            self.identities,
            self.policies,
            self.faults,
            metadata=self.metadata,
            token_seconds=lambda: self.token_seconds,
            now=self._now,
        )

    async def _listen(self, port: int, *, regional: bool) -> Any:
        server = grpc.aio.server()
        cloud = Cloud(self.identities, self.policies, self.faults)
        server.add_generic_rpc_handlers(
            (
                Service(secretmanager.NAME, self.secrets.methods(), cloud, regional=regional),
                Service(parametermanager.NAME, self.parameters.methods(), cloud, regional=regional),
            )
        )
        if self._certificates:
            pair = (self._certificates.key.encode(), self._certificates.certificate.encode())
            server.add_secure_port(f"127.0.0.1:{port}", grpc.ssl_server_credentials([pair]))
        else:
            server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        return server
