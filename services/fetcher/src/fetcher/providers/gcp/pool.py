"""Finds the identity pool that the cluster's service accounts belong to: the operator's, a file's, or GKE's own."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fetcher.provider import ProviderRequest
from fetcher.providers.gcp.rest import Rest
from fetcher.providers.gcp.settings import GcpSettings
from keyferry.errors import AccessDenied, ProviderUnavailable

GKE_EXCHANGE = "https://securetoken.googleapis.com/v1/identitybindingtoken"
STS_EXCHANGE = "https://sts.googleapis.com/v1/token"

_NAMESPACE = "identitynamespace:"
_NO_AUTH = "unable to obtain auth for mount: unable to obtain workload identity auth"


@dataclass(frozen=True, slots=True)
class Pool:
    """Where pods' tokens are exchanged, and for what.

    Attributes:
        name: ``PROJECT.svc.id.goog``, or the full name of a Workload Identity Federation provider.
        audiences: Of pods' tokens that the pool takes, the usual one first.
        target: ``audience`` of the exchange.
        endpoint: URL of the exchange.
        is_gke: Whether it is a pool of GKE's or of a fleet; such take JSON, where Federation takes a form.
    """

    name: str
    audiences: tuple[str, ...]
    target: str
    endpoint: str
    is_gke: bool

    def token(self, request: ProviderRequest) -> str:
        """The pod's token for this pool.

        Raises:
            InvalidSecretProviderClass: the CSIDriver object requests no such token.
        """
        has = [audience for audience in self.audiences if audience in request.tokens]
        return request.token(has[0] if has else self.audiences[0])


class Pools:
    """The cluster's pool; what the metadata server said is kept.

    Args:
        settings: The operator's.
    """

    def __init__(self, settings: GcpSettings) -> None:
        self._settings = settings
        self._metadata = Rest(None, timeout=min(5.0, settings.timeout), proxied=False)
        self._pool: Pool | None = None
        self._lock = asyncio.Lock()

    async def get(self) -> Pool:
        """The cluster's pool.

        Raises:
            AccessDenied: neither settings nor the metadata server know of one.
            ProviderUnavailable: the metadata server does not answer as it should.
        """
        if self._pool is None:
            async with self._lock:
                self._pool = self._pool or await self._find()
        return self._pool

    async def close(self) -> None:
        """Close connections."""
        await self._metadata.close()

    async def _find(self) -> Pool:
        settings = self._settings
        if settings.workload_identity_provider:
            return self._federated(settings.workload_identity_provider)
        if not (settings.project and settings.cluster_name and settings.cluster_location):
            target = await asyncio.to_thread(_file_audience, settings.credentials_file)
            if target.startswith(_NAMESPACE) and target.count(":") > 1:
                _, name, provider = target.split(":", 2)
                return self._gke(name, provider)
            if target:
                return self._federated(target)
        return await self._of_cluster()

    async def _of_cluster(self) -> Pool:
        settings = self._settings
        project = settings.project or await self._ask("project/project-id")
        location = settings.cluster_location or await self._ask("instance/attributes/cluster-location")
        name = settings.cluster_name or await self._ask("instance/attributes/cluster-name")
        cluster = f"projects/{project}/locations/{location}/clusters/{name}"
        return self._gke(f"{project}.svc.id.goog", f"{settings.gke_endpoint.rstrip('/')}/{cluster}")

    def _gke(self, name: str, provider: str) -> Pool:
        endpoint = self._settings.exchange_endpoint or GKE_EXCHANGE
        return Pool(name, (name,), f"{_NAMESPACE}{name}:{provider}", endpoint, is_gke=True)

    def _federated(self, provider: str) -> Pool:
        # A provider without allowed audiences of its own takes its name, with or without the scheme.
        endpoint = self._settings.exchange_endpoint or STS_EXCHANGE
        return Pool(provider, (provider, f"https:{provider}"), provider, endpoint, is_gke=False)

    async def _ask(self, what: str) -> str:
        url = f"http://{self._settings.metadata_host}/computeMetadata/v1/{what}"
        try:
            answer = await self._metadata.call("GET", url, headers={"Metadata-Flavor": "Google"})
        except ProviderUnavailable as error:
            why = error.message
        else:
            if answer.status == HTTPStatus.OK and (value := answer.body.decode(errors="replace").strip()):
                return value
            if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise ProviderUnavailable(f"{_NO_AUTH}: the metadata server failed ({answer.status})")
            why = f"the metadata server does not know {what}"
        raise AccessDenied(
            f"{_NO_AUTH}: the cluster's identity pool is not known: {why}: set PROJECT, CLUSTER_LOCATION and "
            "CLUSTER_NAME, or outside GKE KEYFERRY_GCP_WORKLOAD_IDENTITY_PROVIDER, on the fetcher"
        )


def _file_audience(path: str) -> str:
    """The audience in a credentials file of type external_account; empty for other files or none."""
    try:
        found: Any = json.loads(Path(path).read_bytes()) if path else {}
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise AccessDenied(f"{_NO_AUTH}: GOOGLE_APPLICATION_CREDENTIALS names no JSON file that the fetcher can read")
    audience = found.get("audience")
    return audience if found.get("type") == "external_account" and isinstance(audience, str) else ""
