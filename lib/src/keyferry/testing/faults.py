"""Has calls of an emulator misbehave: the next ones, or all until it is mended."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


class Slow(Protocol):
    """What a call does instead of its work."""

    @property
    def seconds(self) -> float:
        """How long it takes before anything else."""


F = TypeVar("F", bound=Slow)
C = TypeVar("C")


@dataclass
class Switches(Generic[F, C]):
    """Which calls meet which faults, by the names that the emulator gives to what it can do.

    Attributes:
        sound: What meets a call that no fault is for.
        calls: The latest ones.
        peak: The most that were waiting for their faults' time at once.
    """

    sound: F
    calls: deque[C] = field(default_factory=lambda: deque(maxlen=10_000))
    peak: int = 0
    _under_way: int = 0
    _planned: dict[str, deque[F]] = field(default_factory=dict)
    _standing: dict[str, F] = field(default_factory=dict)

    def once(self, name: str, *faults: F) -> None:
        """The next calls of a name, one fault each; then all is as before."""
        self._planned.setdefault(name, deque()).extend(faults)

    def always(self, name: str, fault: F) -> None:
        """Every call of a name until `mend`."""
        self._standing[name] = fault

    def mend(self) -> None:
        """Everything works again."""
        self._planned.clear()
        self._standing.clear()

    async def spend(self, name: str) -> F:
        """Take the time that the fault of a call takes, and say which it is."""
        planned = self._planned.get(name)
        fault = planned.popleft() if planned else self._standing.get(name, self.sound)
        self._under_way += 1
        self.peak = max(self.peak, self._under_way)
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            self._under_way -= 1
        return fault
