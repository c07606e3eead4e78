"""The backends of the provider table, each on the server that stands for it here, behind one set of switches."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import grpc
import yaml
from botocore.exceptions import ClientError

from fetcher.provider import Provider, ProviderRequest
from fetcher.providers import open_providers
from keyferry.resources import Pod
from keyferry.testing.aws import Aws, aws_server
from keyferry.testing.azure import TENANT, AzureEmulator
from keyferry.testing.azure import Fault as AzureFault
from keyferry.testing.gcp import Fault as GcpFault
from keyferry.testing.gcp import GcpEmulator
from keyferry.testing.openbao import OpenBao, openbao_server
from keyferry.testing.proxy import CountingProxy, counting_proxy
from tests.contract.providers.clusters import KEYS, PEM, signed

ISSUER = "https://cluster.example"
POD = Pod("shop", "web-1", "1", "web")
RETRY_AFTER = 17

_CLIENT = "aaaaaaaa-1111-2222-3333-444444444444"
_POOL = "//iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/clusters/providers/one"

_numbers = count()


def subject(pod: Pod) -> str:
    """The service account of a pod, as tokens name it."""
    return f"system:serviceaccount:{pod.namespace}:{pod.service_account}"


def token(pod: Pod, audience: str | list[str]) -> str:
    """A token as kubelet hands it out."""
    return signed(pod, issuer=ISSUER, audience=audience)


class Backend(Protocol):
    """What the suite asks of each backend.

    Attributes:
        name: In the table.
        audience: Of the token that the provider sends.
    """

    name: str
    audience: str

    @property
    def environ(self) -> Mapping[str, str]:
        """Lets the provider find the server."""

    @property
    def annotations(self) -> Mapping[str, str]:
        """Of the service account."""

    def parameters(self, *secrets: str, **fields: Any) -> Mapping[str, str]:
        """Of a class with these secrets, each as a file of its own name, and more fields for all of them."""

    async def put(self, secret: str, value: str) -> None:
        """Write a secret that the service account shop/web may read."""

    async def hide(self, secret: str) -> None:
        """Write a secret that nobody may read."""

    def throttle(self) -> None:
        """From now on ask for patience, `RETRY_AFTER` seconds of it."""

    def fail(self) -> None:
        """From now on be down."""

    def mend(self) -> None:
        """Be well again."""


def asks(
    backend: Backend,
    *secrets: str,
    pod: Pod = POD,
    audience: str = "",
    fields: Mapping[str, Any] | None = None,
    **more: Any,
) -> ProviderRequest:
    """A request of a pod for these secrets; its token may be for another audience than it should."""
    wanted = audience or backend.audience
    claimed: str | list[str] = wanted if isinstance(backend, AwsBackend) else [wanted]
    request = ProviderRequest(
        parameters=backend.parameters(*secrets, **(fields or {})),
        pod=pod,
        tokens={backend.audience: token(pod, claimed)},
        service_account_annotations=backend.annotations,
        deadline=time.time() + 30,
    )
    return replace(request, **more)


@asynccontextmanager
async def opened(backend: Backend) -> AsyncIterator[Provider]:
    """The provider, from the table."""
    async with open_providers([backend.name], backend.environ) as providers:
        yield providers[backend.name]


@dataclass
class AwsBackend:
    """Secrets Manager of an emulator that checks trust and policies, though not the audience."""

    aws: Aws
    proxy: CountingProxy
    role: str
    name: str = "aws"
    audience: str = "sts.amazonaws.com"

    @property
    def environ(self) -> Mapping[str, str]:
        """See `Backend`."""
        return {"AWS_ENDPOINT_URL": self.proxy.url, "AWS_REGION": self.aws.region, "KEYFERRY_AWS_ATTEMPTS": "1"}

    @property
    def annotations(self) -> Mapping[str, str]:
        """See `Backend`."""
        return {"eks.amazonaws.com/role-arn": self.role}

    def parameters(self, *secrets: str, **fields: Any) -> Mapping[str, str]:
        """See `Backend`."""
        objects = [
            {"objectName": f"shop/{each}", "objectType": "secretsmanager", "objectAlias": each, **fields}
            for each in secrets
        ]
        return {"objects": yaml.safe_dump(objects)}

    async def put(self, secret: str, value: str) -> None:
        """See `Backend`."""
        with suppress(ClientError):
            await self.aws.create_secret(f"shop/{secret}", value)
        await self.aws.put_secret(f"shop/{secret}", value)

    async def hide(self, secret: str) -> None:
        """See `Backend`."""
        await self.aws.create_secret(f"shop/{secret}", "hidden")

    def throttle(self) -> None:
        """See `Backend`."""
        body = '{"__type": "ThrottlingException", "message": "slow down"}'
        self.proxy.fail(status=429, body=body, headers={"Retry-After": str(RETRY_AFTER)}, match="secretsmanager")

    def fail(self) -> None:
        """See `Backend`."""
        self.proxy.drop()

    def mend(self) -> None:
        """See `Backend`."""
        self.proxy.restore()


@dataclass
class AzureBackend:
    """A vault of the emulator; hidden secrets are in another one."""

    azure: AzureEmulator
    name: str = "azure"
    audience: str = "api://AzureADTokenExchange"
    vault: str = "shop-vault"

    @property
    def environ(self) -> Mapping[str, str]:
        """See `Backend`."""
        return {**self.azure.environ(), "KEYFERRY_AZURE_ATTEMPTS": "1"}

    @property
    def annotations(self) -> Mapping[str, str]:
        """See `Backend`."""
        return {}

    def parameters(self, *secrets: str, **fields: Any) -> Mapping[str, str]:
        """See `Backend`."""
        texts = [yaml.safe_dump({"objectType": "secret", "objectName": each, **fields}) for each in secrets]
        return {
            "keyvaultName": self.vault,
            "tenantID": TENANT,
            "clientID": _CLIENT,
            "objects": yaml.safe_dump({"array": texts}),
        }

    async def put(self, secret: str, value: str) -> None:
        """See `Backend`."""
        self.azure.vault("shop-vault").set_secret(secret, value)

    async def hide(self, secret: str) -> None:
        """See `Backend`."""
        self.vault = "closed-vault"
        self.azure.vault("closed-vault").set_secret(secret, "hidden")

    def throttle(self) -> None:
        """See `Backend`."""
        self.azure.faults.always("get secrets", AzureFault(status=429, retry_after=RETRY_AFTER))

    def fail(self) -> None:
        """See `Backend`."""
        self.azure.faults.always("get secrets", AzureFault(cut=True))

    def mend(self) -> None:
        """See `Backend`."""
        self.azure.faults.mend()


@dataclass
class GcpBackend:
    """Secret Manager of the emulator, with the cluster in a workload identity pool."""

    gcp: GcpEmulator
    name: str = "gcp"
    audience: str = _POOL

    @property
    def environ(self) -> Mapping[str, str]:
        """See `Backend`."""
        return {
            **self.gcp.environ(),
            "KEYFERRY_GCP_ATTEMPTS": "1",
            "KEYFERRY_GCP_WORKLOAD_IDENTITY_PROVIDER": _POOL,
            "GAIA_TOKEN_EXCHANGE_ENDPOINT": f"{self.gcp.url}/v1/token",
        }

    @property
    def annotations(self) -> Mapping[str, str]:
        """See `Backend`."""
        return {}

    def parameters(self, *secrets: str, **fields: Any) -> Mapping[str, str]:
        """See `Backend`."""
        entries = [
            {"resourceName": f"projects/demo/secrets/{each}/versions/latest", "path": each, **fields}
            for each in secrets
        ]
        return {"secrets": yaml.safe_dump(entries)}

    async def put(self, secret: str, value: str) -> None:
        """See `Backend`."""
        self.gcp.secrets.add(f"projects/demo/secrets/{secret}", value.encode())

    async def hide(self, secret: str) -> None:
        """See `Backend`."""
        self.gcp.secrets.add(f"projects/demo/secrets/{secret}", b"hidden")

    def throttle(self) -> None:
        """See `Backend`."""
        fault = GcpFault(code=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after=RETRY_AFTER)
        self.gcp.faults.always("AccessSecretVersion", fault)

    def fail(self) -> None:
        """See `Backend`."""
        self.gcp.faults.always("AccessSecretVersion", GcpFault(code=grpc.StatusCode.UNAVAILABLE))

    def mend(self) -> None:
        """See `Backend`."""
        self.gcp.faults.mend()


@dataclass
class VaultBackend:
    """A real OpenBao; the role reads one folder."""

    bao: OpenBao
    proxy: CountingProxy
    folder: str
    name: str = "vault"
    audience: str = "vault"
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def annotations(self) -> Mapping[str, str]:
        """See `Backend`."""
        return {}

    def parameters(self, *secrets: str, **fields: Any) -> Mapping[str, str]:
        """See `Backend`."""
        objects = [
            {"objectName": each, "secretPath": f"secret/data/{self.folder}/{each}", "secretKey": "value", **fields}
            for each in secrets
        ]
        return {
            "roleName": self.folder,
            "vaultAddress": self.proxy.url,
            "vaultAuthMountPath": self.folder,
            "objects": yaml.safe_dump(objects),
        }

    async def put(self, secret: str, value: str) -> None:
        """See `Backend`."""
        await self.bao.put(f"{self.folder}/{secret}", {"value": value})

    async def hide(self, secret: str) -> None:
        """See `Backend`."""
        await self.bao.policy(self.folder, f'path "secret/data/{self.folder}/{secret}" {{ capabilities = ["deny"] }}')

    def throttle(self) -> None:
        """See `Backend`."""
        self.proxy.fail(status=429, match="/secret/", headers={"Retry-After": str(RETRY_AFTER)})

    def fail(self) -> None:
        """See `Backend`."""
        self.proxy.drop()

    def mend(self) -> None:
        """See `Backend`."""
        self.proxy.restore()


@asynccontextmanager
async def aws(directory: Path) -> AsyncIterator[Backend]:
    """An account whose role reads two secrets below shop/ and no other."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(aws_server(directory, auth=True))
        role = await server.create_role(
            f"web-{next(_numbers)}",
            issuer=ISSUER,
            subject=subject(POD),
            actions=["secretsmanager:GetSecretValue"],
            resources=["arn:aws:secretsmanager:*:*:secret:shop/db*", "arn:aws:secretsmanager:*:*:secret:shop/gone*"],
        )
        yield AwsBackend(server, await stack.enter_async_context(counting_proxy(server.endpoint_url)), role)


@asynccontextmanager
async def azure(_: Path) -> AsyncIterator[Backend]:
    """A tenant in which a client stands for the service account."""
    async with AzureEmulator() as running:
        running.directory.trust(ISSUER, KEYS)
        running.directory.federate(TENANT, _CLIENT, issuer=ISSUER, subject=subject(POD))
        running.vault("shop-vault").allow(_CLIENT)
        yield AzureBackend(running)


@asynccontextmanager
async def gcp(_: Path) -> AsyncIterator[Backend]:
    """A pool that trusts the cluster."""
    async with GcpEmulator() as running:
        running.identities.trust_federated(_POOL, issuer=ISSUER, keys=KEYS)
        pool = _POOL.removeprefix("//iam.googleapis.com/").rpartition("/providers/")[0]
        member = f"principal://iam.googleapis.com/{pool}/subject/{subject(POD)}"
        for secret in ("db", "gone"):  # to those who may not read it Google does not tell whether a secret exists
            running.policies.allow(member, f"projects/demo/secrets/{secret}", "roles/secretmanager.secretAccessor")
        yield GcpBackend(running)


@asynccontextmanager
async def vault(directory: Path) -> AsyncIterator[Backend]:
    """A mount and a role for the service account."""
    async with AsyncExitStack() as stack:
        bao = stack.enter_context(openbao_server(directory))
        await bao.enable_jwt(mount="shop", public_keys=[PEM])
        await bao.policy("shop", 'path "secret/data/shop/*" { capabilities = ["read"] }')
        role = {
            "role_type": "jwt",
            "user_claim": "sub",
            "bound_audiences": ["vault"],
            "bound_subject": subject(POD),
            "token_policies": ["shop"],
        }
        await bao.write("auth/shop/role/shop", role)
        yield VaultBackend(bao, await stack.enter_async_context(counting_proxy(bao.address)), "shop")


ALL = {"aws": aws, "azure": azure, "gcp": gcp, "vault": vault}
