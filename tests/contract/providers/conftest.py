"""What every cloud's suite has: a provider, opened by the suite's own fixture `opened`."""

from collections.abc import AsyncIterator

import pytest

from fetcher.provider import Provider
from tests.contract.providers.opening import Opened


@pytest.fixture
async def provider(opened: Opened) -> AsyncIterator[Provider]:
    """A provider without further settings."""
    async with opened() as running:
        yield running
