"""An emulated AWS (Secrets Manager, SSM Parameter Store, STS and IAM), for tests, the demo and the benches."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import boto3
from botocore.config import Config

from keyferry.testing.ports import free_port
from keyferry.testing.processes import Server, installed, logged, server

REGION = "eu-central-1"
KEY = "test"
"""Access key id and secret key of the account's root; both are this word."""

_ACCOUNT = "000000000000"
_T = TypeVar("_T")


@dataclass(frozen=True)
class Aws:
    """A running AWS emulator (ministack); everything is in memory, so a restart of `process` is an empty account.

    The methods run in a thread, so that a proxy in the caller's event loop can stand between; they raise botocore's
    exceptions.
    """

    process: Server
    endpoint_url: str
    """Of every service; what a client's AWS_ENDPOINT_URL is set to."""
    region: str = REGION
    _session: boto3.session.Session = field(repr=False, kw_only=True)

    async def call(self, service: Literal["secretsmanager", "ssm", "sts", "iam"], do: Callable[[Any], _T]) -> _T:
        """Run `do` in a thread with a boto3 client of `service` that holds the root key, and return its result."""
        return await asyncio.to_thread(self._call, service, do)

    def _call(self, service: Literal["secretsmanager", "ssm", "sts", "iam"], do: Callable[[Any], _T]) -> _T:
        client: Any = self._session.client(
            service,
            endpoint_url=self.endpoint_url,
            config=Config(proxies={}),
        )
        with contextlib.closing(client):
            return do(client)

    def signing_with(self, credentials: Mapping[str, Any]) -> "Aws":
        """The same emulator called with temporary `Credentials` as STS returns them, instead of the root key."""
        session = _session(credentials["AccessKeyId"], credentials["SecretAccessKey"], credentials["SessionToken"])
        return replace(self, _session=session)

    async def create_secret(self, name: str, value: str | bytes, tags: Mapping[str, str] | None = None) -> str:
        """Create a secret in Secrets Manager, text or binary, and return its ARN."""
        tagged = [{"Key": key, "Value": text} for key, text in (tags or {}).items()]
        answer = await self.call(
            "secretsmanager", lambda client: client.create_secret(Name=name, Tags=tagged, **_content(value))
        )
        return str(answer["ARN"])

    async def put_secret(self, name: str, value: str | bytes) -> str:
        """Give a secret a new current value and return its version id."""
        answer = await self.call(
            "secretsmanager", lambda client: client.put_secret_value(SecretId=name, **_content(value))
        )
        return str(answer["VersionId"])

    async def put_parameter(self, name: str, value: str, *, secure: bool = True) -> int:
        """Create or overwrite an SSM parameter, encrypted if `secure`, and return its version number."""
        kind = "SecureString" if secure else "String"
        answer = await self.call(
            "ssm", lambda client: client.put_parameter(Name=name, Value=value, Type=kind, Overwrite=True)
        )
        return int(answer["Version"])

    async def create_role(
        self,
        name: str,
        *,
        issuer: str,
        subject: str,
        audience: str = "sts.amazonaws.com",
        actions: Sequence[str] = ("secretsmanager:*", "ssm:*"),
        resources: Sequence[str] = ("*",),
    ) -> str:
        """Create a role that a service account can assume by its token (IRSA), and return its ARN.

        The emulator enforces both policies only if started with `auth=True`, and never checks a token's signature.

        Args:
            name: Of the role.
            issuer: The tokens' `iss`.
            subject: The tokens' `sub`, `system:serviceaccount:NAMESPACE:NAME`.
            audience: The tokens' `aud`.
            actions: What the role may do.
            resources: ARNs, with wildcards, that it may do it to.
        """
        provider = issuer.removeprefix("https://").rstrip("/")
        trust = _statement(
            Principal={"Federated": f"arn:aws:iam::{_ACCOUNT}:oidc-provider/{provider}"},
            Action="sts:AssumeRoleWithWebIdentity",
            Condition={"StringEquals": {f"{provider}:sub": subject, f"{provider}:aud": audience}},
        )
        policy = _statement(Action=list(actions), Resource=list(resources))

        def create(client: Any) -> str:
            answer = client.create_role(RoleName=name, AssumeRolePolicyDocument=trust)
            client.put_role_policy(RoleName=name, PolicyName="allow", PolicyDocument=policy)
            return str(answer["Role"]["Arn"])

        return await self.call("iam", create)


def _session(key_id: str, secret_key: str, token: str | None = None) -> boto3.session.Session:
    return boto3.session.Session(key_id, secret_key, token, region_name=REGION)


def _content(value: str | bytes) -> dict[str, str | bytes]:
    return {"SecretBinary" if isinstance(value, bytes) else "SecretString": value}


def _statement(**what: object) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **what}]})


@contextmanager
def ministack(
    directory: Path, port: int, services: str, more: Mapping[str, str] | None = None
) -> Iterator[tuple[Server, str]]:
    """Run ministack, and yield its process and where it listens.

    Args:
        directory: Its home and temporary folder; holds the log.
        port: Where it listens on loopback.
        services: Which to offer, comma-separated.
        more: Environment variables.

    Raises:
        ServerError: If it does not come up.
    """
    directory.mkdir(parents=True, exist_ok=True)
    env = {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "SERVICES": services,
        "MINISTACK_REGION": REGION,
        "HOME": str(directory),
        "TMPDIR": str(directory),
        # It would otherwise open fixed ports for protocols that no one asked for.
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        **(more or {}),
    }
    url = f"http://127.0.0.1:{port}"
    # Its own log, not its health page: another emulator on the same port would answer that.
    ready = logged(f"Running on {url}")
    argv = [installed("ministack")]
    with server(argv, name="ministack", log=directory / "ministack.log", ready=ready, env=env) as process:
        yield process, url


@contextmanager
def aws_server(directory: Path, *, port: int | None = None, auth: bool = False) -> Iterator[Aws]:
    """Run ministack on loopback.

    Args:
        directory: Its home and temporary folder; holds the log.
        port: Where it listens; a free one by default.
        auth: Whether it checks keys, trust policies and IAM policies; without, everyone may do everything.

    Raises:
        ServerError: If it does not come up.
    """
    port = port or free_port()
    services = "secretsmanager,ssm,sts,iam,kms"
    with ministack(directory, port, services, {"AUTH": "true" if auth else "false"}) as (process, url):
        yield Aws(process, url, _session=_session(KEY, KEY))
