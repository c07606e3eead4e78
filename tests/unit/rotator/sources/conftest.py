"""What the tests of sources tell to."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from keyferry.changes import BackendChanged
from keyferry.errors import BusUnavailable


@dataclass
class Bus:
    """Keeps what is emitted, and can be away."""

    told: list[BackendChanged] = field(default_factory=list)
    refused: list[BackendChanged] = field(default_factory=list)
    away: bool = False

    async def emit(self, change: BackendChanged) -> None:
        if self.away:
            self.refused.append(change)
            raise BusUnavailable("NATS is away")
        self.told.append(change)

    def sources(self) -> list[tuple[str, ...]]:
        return [change.sources for change in self.told]


@pytest.fixture
def bus() -> Bus:
    return Bus()


@dataclass
class Ticking:
    """A clock that stands until a test turns it."""

    at: float = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Callable[[], float]:
    return Ticking()
