"""The emulated vault's lists as Azure's own SDK and plain HTTP see them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from azure.core.credentials import AccessToken
from azure.keyvault.secrets.aio import SecretClient

from keyferry.testing.azure import AzureEmulator


class Given:
    """A credential whose token is there already."""

    def __init__(self, token: str) -> None:
        self.token = token

    async def get_token(self, *_: str, **__: Any) -> AccessToken:
        """What the SDK asks for."""
        return AccessToken(self.token, 10**10)

    async def close(self) -> None:
        """Nothing to close."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


@pytest.fixture
async def secrets(azure: AzureEmulator) -> AsyncIterator[SecretClient]:
    """The SDK's client, as somebody who may do everything."""
    url, token = azure.vault_url.replace("{name}", "shop-vault"), Given(azure.admin_token)
    about: dict[str, Any] = {"connection_verify": azure.ca_file, "verify_challenge_resource": False, "retry_total": 0}
    async with SecretClient(url, token, **about) as client:
        yield client
    await asyncio.sleep(0)  # aiohttp closes TLS transports in the loop's next round


async def ask(azure: AzureEmulator, query: str) -> tuple[int, Any]:
    """One page, over plain HTTP."""
    url = f"{azure.vault_url.replace('{name}', 'shop-vault')}/secrets?api-version=7.5{query}"
    tls = ssl.create_default_context(cafile=azure.ca_file)
    headers = {"Authorization": f"Bearer {azure.admin_token}"}
    async with aiohttp.ClientSession() as session, session.get(url, ssl=tls, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_pages_have_the_size_that_is_asked_for(azure: AzureEmulator, secrets: SecretClient) -> None:
    """The SDK follows the links, which keep it."""
    for number in range(7):
        azure.vault("shop-vault").set_secret(f"s{number}", "x")

    pages = [
        [each.name async for each in page]
        async for page in secrets.list_properties_of_secrets(max_page_size=3).by_page()
    ]

    assert pages == [["s0", "s1", "s2"], ["s3", "s4", "s5"], ["s6"]]


async def test_tags_and_types_are_listed_and_values_are_not(azure: AzureEmulator, secrets: SecretClient) -> None:
    """Those that the SDK wrote and changed itself, of the newest version."""
    await secrets.set_secret("db", "horse", tags={"team": "web"}, content_type="text/plain")
    await secrets.update_secret_properties("db", tags={"team": "shop"})

    (listed,) = [each async for each in secrets.list_properties_of_secrets()]

    assert (listed.name, listed.version, listed.tags, listed.content_type) == (
        "db",
        None,
        {"team": "shop"},
        "text/plain",
    )
    assert "horse" not in repr(await ask(azure, ""))


async def test_a_link_is_absolute_with_the_port_and_an_opaque_token(azure: AzureEmulator) -> None:
    """As the real one's: https://…:443/secrets?api-version=…&$skiptoken=…&maxresults=…."""
    for number in range(3):
        azure.vault("shop-vault").set_secret(f"s{number}", "x")

    _, body = await ask(azure, "&maxresults=2")

    link, query = urlsplit(body["nextLink"]), parse_qs(urlsplit(body["nextLink"]).query)
    assert (link.scheme, link.port) == ("https", urlsplit(azure.url).port)
    assert (query["api-version"], query["maxresults"]) == (["7.5"], ["2"])
    assert not query["$skiptoken"][0].isdecimal()


@pytest.mark.parametrize("query", ["&maxresults=0", "&maxresults=26", "&maxresults=x", "&$skiptoken=x"])
async def test_a_page_that_cannot_be_is_refused(azure: AzureEmulator, query: str) -> None:
    """By status and code of a bad parameter."""
    status, body = await ask(azure, query)

    assert (status, body["error"]["code"]) == (400, "BadParameter")
