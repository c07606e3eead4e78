"""A bus for sources to tell to, and how a source is run by a test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import uvloop

from keyferry.changes import BackendChanged
from keyferry.errors import BusUnavailable
from keyferry.testing.aws_events import AwsEventsServer, aws_events_server
from rotator.sources.source import Source


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What the services run on: its transports fail in other ways than asyncio's."""
    return {"uvloop": uvloop.new_event_loop}


_PATIENCE_SECONDS = 20.0
_TURN_SECONDS = 0.01


@dataclass
class Bus:
    """Keeps what is emitted; can be away, and can take its time."""

    told: list[BackendChanged] = field(default_factory=list)
    refused: list[BackendChanged] = field(default_factory=list)
    away: bool = False
    slow: asyncio.Event | None = None
    waiting: int = 0

    async def emit(self, change: BackendChanged) -> None:
        """What a source is given."""
        if self.away:
            self.refused.append(change)
            raise BusUnavailable("NATS is away")
        if self.slow:
            self.waiting += 1
            await self.slow.wait()
        self.told.append(change)

    def sources(self) -> set[str]:
        """All objects that were told of."""
        return {source for change in self.told for source in change.sources}

    def gaps(self) -> int:
        """How often everything was told to be read again."""
        return sum(not change.sources for change in self.told)


@pytest.fixture
def bus() -> Bus:
    return Bus()


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds; fail after a long while."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not holds():  # noqa: ASYNC110 - what is waited for knows no event
            await asyncio.sleep(_TURN_SECONDS)


@asynccontextmanager
async def running(source: Source, bus: Bus) -> AsyncIterator[asyncio.Task[None]]:
    """Run a source for the length of the block, and stop it as a service does."""
    task: asyncio.Task[None] = asyncio.create_task(source.run(bus.emit))
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture(scope="session")
def aws_events(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsEventsServer]:
    """An AWS emulator with EventBridge and SQS."""
    with aws_events_server(tmp_path_factory.mktemp("aws-events")) as server:
        yield server
