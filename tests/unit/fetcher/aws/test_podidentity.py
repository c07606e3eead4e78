from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from aiohttp import web

from fetcher.providers.aws.podidentity import AGENTS, Agent
from keyferry.errors import ProviderUnavailable
from keyferry.testing.ports import free_port
from keyferry.testing.serving import serving


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Wait for the agent."""
    with ThreadPoolExecutor(1) as running:
        yield running


async def test_the_second_address_is_tried_where_the_first_does_not_answer(threads: ThreadPoolExecutor) -> None:
    """On an IPv6 cluster nothing listens at the IPv4 address; upstream never gets to the other one."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(
            {"AccessKeyId": "a", "SecretAccessKey": "s", "Token": "t", "Expiration": "2026-01-01T00:00:00Z"}
        )

    app = web.Application()
    app.router.add_get("/v1/credentials", answer)
    async with serving(app) as url:
        dead = f"http://127.0.0.1:{free_port()}/v1/credentials"
        found = await Agent(threads, [dead, f"{url}/v1/credentials"], 1.0).credentials("token", "me", 0.0)

    assert (found.access_key, found.expires_at) == ("a", 1767225600.0)


async def test_all_addresses_are_named_when_none_answers(threads: ThreadPoolExecutor) -> None:
    """Whoever reads it must see where an agent was looked for."""
    urls = [f"http://127.0.0.1:{free_port()}/v1/credentials" for _ in range(2)]
    with pytest.raises(ProviderUnavailable) as refused:
        await Agent(threads, urls, 1.0).credentials("token", "me", 0.0)
    assert all(url in refused.value.message for url in urls)


def test_the_agent_is_where_eks_puts_it() -> None:
    """AWS documents both link-local addresses."""
    assert AGENTS == {
        "ipv4": "http://169.254.170.23/v1/credentials",
        "ipv6": "http://[fd00:ec2::23]/v1/credentials",
    }
