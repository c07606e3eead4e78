"""The emulator's listing as Google's own SDK sees it: filters, pages, places and permissions."""

from collections.abc import AsyncIterator

import grpc
import pytest
from google.api_core import exceptions as google
from google.cloud.secretmanager_v1 import SecretManagerServiceAsyncClient
from google.cloud.secretmanager_v1.services.secret_manager_service.transports import (
    SecretManagerServiceGrpcAsyncIOTransport,
)

from keyferry.testing.gcp import GcpEmulator

PARENT = "projects/demo"


@pytest.fixture
async def sdk(gcp: GcpEmulator) -> AsyncIterator[SecretManagerServiceAsyncClient]:
    """The SDK's client, of somebody who may do everything in the project."""
    gcp.administer("demo")
    metadata = ("authorization", f"Bearer {gcp.admin_token}")

    class Authorized(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]  # has no types
        async def intercept_unary_unary(self, continuation, details, request):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - grpc.aio has no types
            headers = grpc.aio.Metadata(*(details.metadata or ()), metadata)
            return await continuation(details._replace(metadata=headers), request)

    target = gcp.endpoint.partition("://")[2]
    async with grpc.aio.insecure_channel(target, interceptors=[Authorized()]) as channel:
        yield SecretManagerServiceAsyncClient(transport=SecretManagerServiceGrpcAsyncIOTransport(channel=channel))


async def listed(sdk: SecretManagerServiceAsyncClient, text: str = "", **more: object) -> list[str]:
    """The ids of all pages."""
    pages = await sdk.list_secrets(request={"parent": PARENT, "filter": text, **more})
    return [secret.name.rpartition("/")[2] async for secret in pages]


async def create(sdk: SecretManagerServiceAsyncClient, secret: str, **labels: str) -> None:
    """Make a secret."""
    made = {"replication": {"automatic": {}}, "labels": labels}
    await sdk.create_secret(request={"parent": PARENT, "secret_id": secret, "secret": made})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["web-db", "app-key", "app-db"]),
        ("name:app", ["app-key", "app-db"]),
        ("name:DB", ["web-db", "app-db"]),
        ("labels.env=prod", ["web-db", "app-db"]),
        ('labels.env="prod" AND name:app', ["app-db"]),
        ("labels.team:*", ["app-key"]),
        ("name:key OR name:web", ["web-db", "app-key"]),
        ("NOT labels.env=prod", ["app-key"]),
    ],
)
async def test_a_filter_chooses(sdk: SecretManagerServiceAsyncClient, text: str, found: list[str]) -> None:
    """As Google documents it: a name by a part of it, a label by its value; newest first."""
    await create(sdk, "app-db", env="prod")
    await create(sdk, "app-key", team="one")
    await create(sdk, "web-db", env="prod")

    assert await listed(sdk, text) == found


async def test_pages_make_up_the_whole(gcp: GcpEmulator, sdk: SecretManagerServiceAsyncClient) -> None:
    """However small the server makes them; only a listing without a filter says how many there are."""
    for number in range(7):
        await create(sdk, f"s{number}")
    gcp.secrets.largest_page = 3

    assert await listed(sdk, page_size=100) == [f"s{number}" for number in reversed(range(7))]
    assert gcp.faults.count("ListSecrets") == 3
    assert (await sdk.list_secrets(request={"parent": PARENT})).total_size == 7
    assert (await sdk.list_secrets(request={"parent": PARENT, "filter": "name:s"})).total_size == 0


async def test_a_page_belongs_to_its_question(sdk: SecretManagerServiceAsyncClient) -> None:
    """A token with another filter, or of nobody's, is refused; so is a filter that makes no sense."""
    await create(sdk, "a")
    await create(sdk, "b")
    first = await sdk.list_secrets(request={"parent": PARENT, "page_size": 1})
    token = first.next_page_token

    for request in ({"filter": "name:a", "page_token": token}, {"page_token": "x"}, {"filter": "colour=red"}):
        with pytest.raises(google.InvalidArgument):
            await sdk.list_secrets(request={"parent": PARENT, **request})


async def test_labels_can_be_changed(sdk: SecretManagerServiceAsyncClient) -> None:
    """By which selections change."""
    await create(sdk, "a", env="prod")
    secret = {"name": f"{PARENT}/secrets/a", "labels": {"env": "test"}}
    await sdk.update_secret(request={"secret": secret, "update_mask": {"paths": ["labels"]}})

    assert (await listed(sdk, "labels.env=prod"), await listed(sdk, "labels.env=test")) == ([], ["a"])
