"""Tenants of a real OpenBao, who log in with tokens that the test signs as a cluster would."""

import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jwt
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fetcher.provider import ProviderRequest
from fetcher.providers.vault import Vault, open_provider
from keyferry.resources import Pod
from keyferry.testing.openbao import OpenBao
from keyferry.testing.valkey import PASSWORD, Valkey

_KEY = ec.generate_private_key(ec.SECP256R1())
_PEM = _KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def service_account_token(pod: Pod, audience: str) -> str:
    """A token as kubelet hands it out."""
    now = int(time.time())
    subject = f"system:serviceaccount:{pod.namespace}:{pod.service_account}"
    claims = {"sub": subject, "aud": [audience], "iat": now, "nbf": now, "exp": now + 600}
    return jwt.encode(claims, _KEY, algorithm="ES256")


@dataclass(frozen=True)
class Tenant:
    """A jwt mount, a role and a policy of one test, all by the same name, and a pod that may log in."""

    bao: OpenBao
    name: str
    pod: Pod
    parameters: Mapping[str, str]
    token: Callable[[Pod, str], str] = field(default=service_account_token)

    def path(self, secret: str) -> str:
        """API path of a KV version 2 secret that the pod may read."""
        return f"secret/data/{self.name}/{secret}"

    async def put(self, secret: str, **values: Any) -> int:
        """Write such a secret and return its version."""
        return await self.bao.put(f"{self.name}/{secret}", values)

    async def allow(self, rules: str) -> None:
        """Give the role's policy more HCL rules."""
        own = f'path "secret/data/{self.name}/*" {{ capabilities = ["read"] }}'
        await self.bao.policy(self.name, f"{own}\n{rules}")

    async def database(self, valkey: Valkey, rules: str = "", **ttls: str) -> str:
        """Mount an engine that makes Valkey users, let the role read there, and give the path."""
        mount = f"{self.name}-db"
        await self.bao.enable_database(port=valkey.port, password=PASSWORD, mount=mount, **ttls)
        await self.allow(f'path "{mount}/creds/web" {{ capabilities = ["read"] }}\n{rules}')
        return f"{mount}/creds/web"

    def asks(self, *objects: Mapping[str, Any], seconds: float = 30.0, **parameters: Any) -> ProviderRequest:
        """A request for a class with these objects, and parameters besides or instead of the usual ones."""
        audience = parameters.get("audience", "vault")
        return ProviderRequest(
            parameters={**self.parameters, "objects": yaml.safe_dump(list(objects)), **parameters},
            pod=self.pod,
            tokens={audience: self.token(self.pod, audience)},
            deadline=time.time() + seconds,
        )

    def logins(self) -> int:
        """How often OpenBao was asked to log somebody in at the tenant's mount."""
        return self.bao.count_requests(f"auth/{self.name}/login")

    def at(self, address: str) -> "Tenant":
        """The same tenant, asking elsewhere."""
        return replace(self, parameters={**self.parameters, "vaultAddress": address})

    def of(self, service_account: str) -> "Tenant":
        """The same class, used by a pod with another service account."""
        return replace(self, pod=replace(self.pod, service_account=service_account))


async def move_in(bao: OpenBao, **role: Any) -> Tenant:
    """Make a tenant; `role` are more fields of its jwt role."""
    name = f"t{uuid.uuid4().hex[:8]}"
    pod = Pod("shop", "web-1", str(uuid.uuid4()), "web")
    tenant = Tenant(bao, name, pod, {"roleName": name, "vaultAddress": bao.address, "vaultAuthMountPath": name})
    await bao.enable_jwt(mount=name, public_keys=[_PEM])
    await tenant.allow("")
    await bao.write(
        f"auth/{name}/role/{name}",
        {
            "role_type": "jwt",
            "user_claim": "sub",
            "bound_audiences": ["vault"],
            "bound_subject": "system:serviceaccount:shop:web",
            "token_policies": [name],
            **role,
        },
    )
    return tenant


@pytest.fixture
async def tenant(openbao: OpenBao) -> Tenant:
    """A tenant of the session's OpenBao."""
    return await move_in(openbao)


@pytest.fixture
def tenants(openbao: OpenBao) -> Callable[..., Any]:
    """Has more tenants move in, with other fields of the role or into another server (`bao`)."""

    async def make(*, bao: OpenBao = openbao, **role: Any) -> Tenant:
        return await move_in(bao, **role)

    return make


@pytest.fixture
async def vault() -> AsyncIterator[Vault]:
    """A provider with default settings."""
    provider = await open_provider({})
    yield provider
    await provider.close()
