"""What the tests of sources tell to."""

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
        """What a source is given."""
        if self.away:
            self.refused.append(change)
            raise BusUnavailable("NATS is away")
        self.told.append(change)

    def sources(self) -> list[tuple[str, ...]]:
        """The objects of each change."""
        return [change.sources for change in self.told]


@pytest.fixture
def bus() -> Bus:
    return Bus()
