"""Whom Key Vault sees: a workload identity, a service principal that the pod brings along, or the fetcher's node."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from fetcher.provider import ProviderRequest
from fetcher.providers.azure.settings import AzureSettings
from fetcher.providers.azure.wanted import Parameters
from keyferry.errors import AccessDenied, InvalidSecretProviderClass

AUDIENCE = "api://AzureADTokenExchange"
CLIENT_ANNOTATION = "azure.workload.identity/client-id"
TENANT_ANNOTATION = "azure.workload.identity/tenant-id"

# They become part of a URL and of a form.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,253}", re.ASCII)


@dataclass(frozen=True, slots=True)
class WorkloadIdentity:
    """A Kubernetes service account that stands for an application or managed identity of Azure's.

    Entra ID looks at issuer, subject and audience of a token alone, so all pods of a service account may share one.
    """

    authority: str
    scope: str
    tenant: str
    client_id: str
    namespace: str
    service_account: str

    def __str__(self) -> str:
        return (
            f"client {self.client_id} of tenant {self.tenant} (service account {self.namespace}/{self.service_account})"
        )


@dataclass(frozen=True, slots=True)
class ServicePrincipal:
    """An application whose secret the pod brings along; `digest` tells secrets apart where none is kept."""

    authority: str
    scope: str
    tenant: str
    client_id: str
    digest: bytes = field(repr=False)

    def __str__(self) -> str:
        return f"client {self.client_id} of tenant {self.tenant} (nodePublishSecretRef)"


@dataclass(frozen=True, slots=True)
class ManagedIdentity:
    """An identity of the fetcher's node; an empty client id is the node's own."""

    scope: str
    client_id: str

    def __str__(self) -> str:
        return f"managed identity {self.client_id or '(system-assigned)'} of the fetcher's node"


Identity = WorkloadIdentity | ServicePrincipal | ManagedIdentity


def identify(request: ProviderRequest, parameters: Parameters, settings: AzureSettings) -> tuple[Identity, str]:
    """Who reads, and what proves it: the pod's token, a client secret, or nothing.

    Raises:
        AccessDenied: the operator does not allow it, or an annotation of the service account cannot be understood.
        InvalidSecretProviderClass: nothing says who reads, or the pod has no token for it.
    """
    scope = parameters.cloud.scope
    if parameters.managed:
        if not settings.allow_managed_identity:
            raise AccessDenied(
                "useVMManagedIdentity: the operator does not allow classes to use the fetcher's managed identities "
                "(KEYFERRY_AZURE_ALLOW_MANAGED_IDENTITY): use workload identity"
            )
        return ManagedIdentity(scope, parameters.managed_id), ""
    tenant = parameters.tenant or _annotated(request, TENANT_ANNOTATION)
    principal = _principal(request.node_publish_secret)
    if principal and not (parameters.client_id and request.tokens.get(AUDIENCE)):
        client_id, secret = principal
        digest = hashlib.sha256(secret.encode(errors="replace")).digest()
        return ServicePrincipal(parameters.cloud.authority, scope, tenant, client_id, digest), secret
    client_id = parameters.client_id or _annotated(request, CLIENT_ANNOTATION) or _no_client(request)
    pod = request.pod
    identity = WorkloadIdentity(
        parameters.cloud.authority, scope, tenant, client_id, pod.namespace, pod.service_account
    )
    return identity, request.token(AUDIENCE)


def _principal(given: Mapping[str, str]) -> tuple[str, str] | None:
    """Client id and secret out of the pod's nodePublishSecretRef, whose keys may have any case; None without one."""
    if not given:
        return None
    by_name = {name.lower(): value.strip() for name, value in given.items()}
    missing = [name for name in ("clientid", "clientsecret") if not by_name.get(name)]
    if missing:
        raise InvalidSecretProviderClass(
            f"could not find {' and '.join(missing)} in secrets: the pod's nodePublishSecretRef must hold both"
        )
    if not _ID.fullmatch(by_name["clientid"]):
        raise InvalidSecretProviderClass("nodePublishSecretRef: clientid has characters that it cannot have")
    return by_name["clientid"], by_name["clientsecret"]


def _annotated(request: ProviderRequest, name: str) -> str:
    value = request.service_account_annotations.get(name, "").strip()
    if value and not _ID.fullmatch(value):
        pod = request.pod
        raise AccessDenied(
            f"annotation {name} of service account {pod.namespace}/{pod.service_account} has characters that it cannot "
            "have"
        )
    return value


def _no_client(request: ProviderRequest) -> str:
    pod = request.pod
    raise InvalidSecretProviderClass(
        "clientID is not set, and failed to get credentials, nodePublishSecretRef secret is not set: set clientID, or "
        f"annotate service account {pod.namespace}/{pod.service_account} with {CLIENT_ANNOTATION}"
    )
