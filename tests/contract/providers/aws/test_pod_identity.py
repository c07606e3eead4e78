import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from fetcher.provider import Provider
from keyferry.errors import AccessDenied, InvalidSecretProviderClass, ProviderUnavailable, RateLimited
from keyferry.testing.aws import Aws
from keyferry.testing.ports import free_port
from keyferry.testing.proxy import CountingProxy
from keyferry.testing.serving import serving

Opened = Callable[..., AbstractAsyncContextManager[Provider]]

AUDIENCE = "pods.eks.amazonaws.com"


def secret(name: str) -> dict[str, object]:
    return {"objectName": name, "objectType": "secretsmanager"}


class Agent:
    """Answers as eks-pod-identity-agent does: the token itself in Authorization, credentials or an error in JSON."""

    def __init__(self, account: Any) -> None:
        self.account = account
        self.asked = 0
        self.answer: web.Response | None = None
        self.arrived = asyncio.Event()
        self.gate: asyncio.Event | None = None

    async def credentials(self, request: web.Request) -> web.Response:
        """GET /v1/credentials."""
        self.asked += 1
        self.arrived.set()
        if self.gate:
            await self.gate.wait()
        if self.answer:
            return self.answer
        if request.headers.get("Authorization") != self.account.token(AUDIENCE):
            return web.Response(status=400, text="Service account token cannot be parsed")
        answer = await self.account.aws.call(
            "sts",
            lambda client: client.assume_role_with_web_identity(
                RoleArn=self.account.role,
                RoleSessionName="eks-cluster-web-0",
                WebIdentityToken=self.account.token("sts.amazonaws.com"),
            ),
        )
        found = answer["Credentials"]
        return web.json_response(
            {
                "AccessKeyId": found["AccessKeyId"],
                "SecretAccessKey": found["SecretAccessKey"],
                "Token": found["SessionToken"],
                "AccountId": "000000000000",
                "Expiration": found["Expiration"].strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        )


@pytest.fixture
async def agent(account: Any) -> Agent:
    """An agent that knows one service account."""
    return Agent(account)


@pytest.fixture
async def with_agent(opened: Opened, agent: Agent) -> Opened:
    """Opens a provider that finds the agent."""

    @asynccontextmanager
    async def with_agent(**environ: str) -> AsyncIterator[Provider]:
        app = web.Application()
        app.router.add_get("/v1/credentials", agent.credentials)
        async with (
            serving(app) as url,
            opened(KEYFERRY_AWS_POD_IDENTITY_ENDPOINT=f"{url}/v1/credentials", **environ) as provider,
        ):
            yield provider

    return with_agent


def request(account: Any, name: str, **more: Any) -> Any:
    tokens = {AUDIENCE: account.token(AUDIENCE)}
    return account.request(secret(name), **{"tokens": tokens, "annotations": {}, "usePodIdentity": "true", **more})


async def test_a_pod_identity_reads_without_role_annotation(
    with_agent: Opened, agent: Agent, account: Any, strict_aws: Aws, proxy: CountingProxy
) -> None:
    """The agent's credentials sign the calls; STS is not asked, and the agent once for two fetches."""
    await strict_aws.create_secret(account.name("db"), "value")
    async with with_agent() as provider:
        fetches = [await provider.fetch(request(account, account.name("db"))) for _ in range(2)]

    assert [found[0].contents for found in fetches] == [b"value", b"value"]
    assert (agent.asked, proxy.count("AssumeRole")) == (1, 0)


async def test_a_token_that_the_agent_refuses_is_denied_and_not_told(with_agent: Opened, account: Any) -> None:
    """The message names the service account and what to create."""
    async with with_agent() as provider:
        with pytest.raises(AccessDenied, match="create-pod-identity-association") as refused:
            await provider.fetch(request(account, "any", tokens={AUDIENCE: "canary-token"}))

    assert f"EKS Pod Identity of service account {account.pod.namespace}/web" in refused.value.message
    assert "canary-token" not in refused.value.message


async def test_a_token_that_fits_no_header_is_denied_and_not_told(with_agent: Opened, account: Any) -> None:
    """The HTTP client's own error would quote it."""
    async with with_agent() as provider:
        with pytest.raises(AccessDenied, match="malformed") as refused:
            await provider.fetch(request(account, "any", tokens={AUDIENCE: "canary\r\nToken: x"}))

    assert "canary" not in refused.value.message


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((404, "canary"), AccessDenied),
        ((429, "canary"), RateLimited),
        ((500, "canary"), ProviderUnavailable),
        ((200, "canary"), ProviderUnavailable),
        ((200, "[]"), ProviderUnavailable),
        ((200, '{"AccessKeyId": "canary"}'), ProviderUnavailable),
        (
            (
                200,
                '{"AccessKeyId": 1, "SecretAccessKey": "canary", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"}',
            ),
            ProviderUnavailable,
        ),
    ],
)
async def test_each_answer_of_the_agent_has_its_meaning(
    with_agent: Opened, agent: Agent, account: Any, answer: tuple[int, str], kind: type[Exception]
) -> None:
    """Refusals are final, trouble is not, and nothing of the answer is quoted."""
    agent.answer = web.Response(status=answer[0], text=answer[1])
    async with with_agent() as provider:
        with pytest.raises(kind) as refused:
            await provider.fetch(request(account, "any"))

    assert "canary" not in str(refused.value)


async def test_no_agent_is_unavailable_and_says_where_it_must_run(opened: Opened, account: Any) -> None:
    """The agent runs on nodes; without it on the fetcher's node there are no credentials."""
    url = f"http://127.0.0.1:{free_port()}/v1/credentials"
    async with opened(KEYFERRY_AWS_POD_IDENTITY_ENDPOINT=url) as provider:
        with pytest.raises(ProviderUnavailable, match="must run on the node of the fetcher"):
            await provider.fetch(request(account, "any"))


async def test_the_audience_is_that_of_pod_identity(with_agent: Opened, account: Any) -> None:
    """A token for STS is none for the agent."""
    async with with_agent() as provider:
        with pytest.raises(InvalidSecretProviderClass, match=AUDIENCE):
            await provider.fetch(request(account, "any", tokens={"sts.amazonaws.com": "x"}))


async def test_exchanges_end_with_the_provider(with_agent: Opened, agent: Agent, account: Any) -> None:
    """Closing while an exchange is under way leaves no task behind."""
    agent.gate = asyncio.Event()
    async with with_agent(KEYFERRY_AWS_READ_TIMEOUT="500ms") as provider:
        fetching = asyncio.create_task(provider.fetch(request(account, "any")))
        await agent.arrived.wait()

    with pytest.raises(asyncio.CancelledError):
        await fetching
