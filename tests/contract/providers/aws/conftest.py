"""A strict AWS behind a counting proxy, and a pod of a fresh namespace whose service account has a role there."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

import boto3
import jwt
import pytest

from fetcher.provider import ProviderRequest
from fetcher.providers.aws import open_provider
from keyferry.resources import Pod
from keyferry.testing.aws import KEY, Aws, aws_server
from keyferry.testing.proxy import CountingProxy, counting_proxy
from tests.contract.providers.opening import Opened, opening

ISSUER = "https://oidc.example.org/id/1"

_numbers = count()


@pytest.fixture(scope="module")
def strict_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """An AWS emulator that checks keys, trust policies and IAM policies."""
    with aws_server(tmp_path_factory.mktemp("strict-aws"), auth=True) as running:
        yield running


@pytest.fixture
async def proxy(strict_aws: Aws) -> AsyncIterator[CountingProxy]:
    """What the provider takes for AWS."""
    async with counting_proxy(strict_aws.endpoint_url) as running:
        yield running


@pytest.fixture
def opened(strict_aws: Aws, proxy: CountingProxy) -> Opened:
    """Opens a provider that talks to the proxy, with further environment variables."""
    return opening(open_provider, {"AWS_ENDPOINT_URL": proxy.url, "AWS_REGION": strict_aws.region})


@dataclass(frozen=True)
class Account:
    """A service account of a namespace that no other test uses, and its role."""

    aws: Aws
    pod: Pod
    role: str

    def name(self, name: str) -> str:
        """A secret's name that no other test uses."""
        return f"{self.pod.namespace}/{name}"

    def in_region(self, region: str) -> Aws:
        """The same AWS account, elsewhere."""
        session = boto3.session.Session(aws_access_key_id=KEY, aws_secret_access_key=KEY, region_name=region)
        return replace(self.aws, region=region, _session=session)

    def token(self, audience: str, *, subject: str = "") -> str:
        """The pod's token; the emulator does not check who signed it, and takes no list of audiences."""
        subject = subject or f"system:serviceaccount:{self.pod.namespace}:{self.pod.service_account}"
        return jwt.encode({"iss": ISSUER, "sub": subject, "aud": audience}, "k" * 32, algorithm="HS256")

    def request(
        self,
        *objects: Mapping[str, object],
        tokens: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        seconds: float = 30.0,
        **parameters: str,
    ) -> ProviderRequest:
        """A request for these objects, as the pod would make it."""
        role = {"eks.amazonaws.com/role-arn": self.role}
        return ProviderRequest(
            parameters={"objects": json.dumps(objects), **parameters},
            pod=self.pod,
            tokens={"sts.amazonaws.com": self.token("sts.amazonaws.com")} if tokens is None else tokens,
            service_account_annotations=role if annotations is None else annotations,
            deadline=time.time() + seconds,
        )


@pytest.fixture
def make_account(strict_aws: Aws) -> Callable[..., Awaitable[Account]]:
    """Creates a service account with a role that may do `actions` to `resources`."""

    async def make(
        *, actions: Sequence[str] = ("secretsmanager:*", "ssm:*"), resources: Sequence[str] = ("*",)
    ) -> Account:
        namespace = f"ns{next(_numbers)}"
        subject = f"system:serviceaccount:{namespace}:web"
        role = await strict_aws.create_role(
            f"role-{namespace}", issuer=ISSUER, subject=subject, actions=actions, resources=resources
        )
        return Account(strict_aws, Pod(namespace, "web-0", f"uid-{namespace}", "web"), role)

    return make


@pytest.fixture
async def account(make_account: Callable[..., Awaitable[Account]]) -> Account:
    """A service account whose role may read everything."""
    return await make_account()
