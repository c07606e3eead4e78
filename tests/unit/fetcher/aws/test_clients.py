import asyncio
import hashlib
import hmac
import re
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from fetcher.providers.aws.clients import Clients, Credentials
from fetcher.providers.aws.faults import Fault
from fetcher.providers.aws.settings import AwsSettings
from keyferry.errors import InvalidSecretProviderClass, ProviderUnavailable
from keyferry.settings import load
from keyferry.testing.serving import serving

FOREVER = float("inf")


def keys(name: str) -> Credentials:
    return Credentials(f"ASIA{name}", f"secret key of {name}", f"token of {name}", FOREVER, 0.0)


def hmac_of(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signature(request: web.Request, body: bytes, secret_key: str) -> str:
    """As AWS computes it (Signature Version 4, "Create a signed request"), from the request that arrived."""
    authorization = request.headers["Authorization"]
    names = re.findall(r"SignedHeaders=([^,]*)", authorization)[0]
    scope = re.findall(r"Credential=[^/]*/([^,]*)", authorization)[0]
    headers = "".join(f"{name}:{request.headers[name].strip()}\n" for name in names.split(";"))
    canonical = f"{request.method}\n{request.path}\n\n{headers}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{request.headers['X-Amz-Date']}\n{scope}\n{digest}"
    key = f"AWS4{secret_key}".encode()
    for part in scope.split("/"):
        key = hmac_of(key, part)
    return hmac_of(key, to_sign).hex()


class Checking:
    """A Secrets Manager that accepts a call only if it is signed by whom it says."""

    def __init__(self) -> None:
        self.callers: list[str] = []
        self.scopes: set[str] = set()

    async def answer(self, request: web.Request) -> web.Response:
        """POST /."""
        body = await request.read()
        found = request.headers["Authorization"]
        name = re.findall(r"Credential=ASIA(\w+)/", found)[0]
        self.scopes.add(re.findall(r"Credential=\w+/\d+/([^,]*)", found)[0])
        assert request.headers["X-Amz-Security-Token"] == f"token of {name}"
        assert found.endswith(f"Signature={signature(request, body, f'secret key of {name}')}")
        self.callers.append(name)
        return web.json_response({"ARN": "a", "Name": "n", "VersionId": "v", "SecretString": name})


@pytest.fixture
def aws() -> Checking:
    """A Secrets Manager that checks signatures."""
    return Checking()


@pytest.fixture
async def clients(aws: Checking) -> AsyncIterator[Clients]:
    """Clients that call it."""
    app = web.Application()
    app.router.add_post("/", aws.answer)
    async with serving(app) as url:
        running = Clients(AwsSettings(endpoint_url=url, threads=4, attempts=1))
        yield running
        running.close()


async def read(clients: Clients, name: str, region: str = "eu-west-1") -> str:
    answer = await clients.call(
        "secretsmanager", region, "get_secret_value", keys(name), FOREVER, SecretId=f"secret of {name}"
    )
    return str(answer["SecretString"])


async def test_every_call_is_signed_with_the_credentials_it_was_given(clients: Clients, aws: Checking) -> None:
    """Many identities through one client at the same time must never sign for each other."""
    names = [f"pod{i % 20}" for i in range(200)]

    answers = await asyncio.gather(*(read(clients, name) for name in names))

    assert answers == names
    assert sorted(aws.callers) == sorted(names)


async def test_a_call_is_signed_for_its_region_and_service(clients: Clients, aws: Checking) -> None:
    """A signature holds for one region and one service."""
    await read(clients, "pod", "eu-west-1")
    await read(clients, "pod", "ap-south-2")

    assert aws.scopes == {"eu-west-1/secretsmanager/aws4_request", "ap-south-2/secretsmanager/aws4_request"}


async def test_nothing_is_sent_without_credentials(clients: Clients, aws: Checking) -> None:
    """A call that nobody is there to sign must not leave, least of all with somebody else's signature."""
    with pytest.raises(Fault, match="NoCredentialsError"):
        await clients.call("secretsmanager", "eu-west-1", "get_secret_value", None, FOREVER, SecretId="x")

    assert aws.callers == []


async def test_nothing_is_sent_after_the_deadline(clients: Clients, aws: Checking) -> None:
    """Nobody waits for the answer any more."""
    with pytest.raises(Fault, match="no answer in time"):
        await clients.call("secretsmanager", "eu-west-1", "get_secret_value", keys("pod"), 1.0, SecretId="x")

    assert aws.callers == []


async def test_no_attempt_follows_the_deadline() -> None:
    """A thread whose caller's time is over must become free, though botocore would have tries to spend."""
    arrived: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        arrived.append((await request.json())["SecretId"])
        return web.Response(status=500) if arrived[-1] == "first" else web.json_response({"SecretString": "x"})

    app = web.Application()
    app.router.add_post("/", answer)
    async with serving(app) as url:
        # The time is over as soon as the first attempt has arrived, however long a loaded machine took to make it.
        clients = Clients(AwsSettings(endpoint_url=url, threads=1, attempts=4), lambda: 100.0 * len(arrived))

        async def ask(name: str, deadline: float) -> None:
            await clients.call("secretsmanager", "r", "get_secret_value", keys("p"), deadline, SecretId=name)

        with pytest.raises(Fault, match="no answer in time"):
            await ask("first", 99.0)
        await ask("second", FOREVER)
        clients.close()

    assert arrived == ["first", "second"]


async def test_clients_of_many_regions_are_bounded(clients: Clients) -> None:
    """Classes may name any number of regions; connections must not pile up."""
    for i in range(70):
        await read(clients, "pod", f"eu-test-{i}")

    assert len(clients._clients) == 64


async def test_nothing_secret_shows_in_repr(clients: Clients) -> None:
    """Credentials may end up in a log record by mistake; then they must say nothing."""
    assert "pod" not in repr(keys("pod"))
    assert "pod" not in repr(clients)


@pytest.mark.parametrize(
    ("environ", "host"),
    [
        ({}, "secretsmanager.eu-west-1.amazonaws.com"),
        ({"AWS_USE_FIPS_ENDPOINT": "true"}, "secretsmanager-fips.us-east-1.amazonaws.com"),
        ({"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "ssm.eu-west-1.api.aws"),
        ({"AWS_ENDPOINT_URL_SSM": "http://two"}, "secretsmanager.eu-west-1.amazonaws.com"),
        ({"AWS_ENDPOINT_URL": "http://one", "AWS_USE_FIPS_ENDPOINT": "true"}, "http://one"),
        ({"AWS_ENDPOINT_URL": "http://one", "AWS_ENDPOINT_URL_SECRETS_MANAGER": "http://two"}, "http://two"),
    ],
)
def test_endpoints_are_chosen_as_aws_variables_say(
    environ: dict[str, str], host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIPS, dual-stack and private endpoints work by the variables that every AWS tool knows."""
    asked: list[str] = []

    def resolve(name: str, *_: object, **__: object) -> list[object]:
        asked.append(name)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    clients = Clients(load(AwsSettings, {"KEYFERRY_AWS_ATTEMPTS": "1", **environ}))
    region = "us-east-1" if "fips" in host else "eu-west-1"
    service, operation = ("ssm", "get_parameters") if "ssm" in host else ("secretsmanager", "get_secret_value")
    with pytest.raises(Fault):
        asyncio.run(clients.call(service, region, operation, keys("p"), FOREVER))
    clients.close()

    assert asked == [host.removeprefix("http://")]


async def test_a_region_that_makes_no_host_name_is_the_classs_mistake() -> None:
    """Whatever botocore refuses to build a host name from must not look like an outage."""
    clients = Clients(AwsSettings())
    with pytest.raises(Fault) as refused:
        await read(clients, "pod", "not a region")
    clients.close()

    assert refused.value.kind is InvalidSecretProviderClass


async def test_a_name_that_does_not_resolve_is_an_outage() -> None:
    """An endpoint that cannot be reached may be reachable later."""
    clients = Clients(AwsSettings(endpoint_url="http://127.0.0.1:1", attempts=1))
    with pytest.raises(Fault) as refused:
        await read(clients, "pod")
    clients.close()

    assert (refused.value.code, refused.value.kind) == ("EndpointConnectionError", ProviderUnavailable)
