"""Has operations of the emulator misbehave, and notes who called what."""

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Fault:
    """What one operation does instead of its work.

    Attributes:
        status: Of the answer.
        code: Of the error in it.
        inner: Code of the inner error.
        retry_after: Seconds that it asks to wait (Retry-After).
        seconds: How long it takes before anything else.
        malformed: Whether the answer is bytes that nobody can read.
        body: A JSON answer instead of the right one.
        headers: More headers of the answer, such as a redirection's.
        compressed: Whether `body` is sent in gzip, whatever the caller takes.
        cut: Whether the connection breaks off within the answer.
    """

    status: int = 0
    code: str = ""
    inner: str = ""
    retry_after: int = 0
    seconds: float = 0.0
    malformed: bool = False
    body: Any = None
    headers: tuple[tuple[str, str], ...] = ()
    compressed: bool = False
    cut: bool = False


SOUND = Fault()


@dataclass(frozen=True)
class Call:
    """One call as it came in: which operation, on what, with a token or not, and from which of the caller's ports."""

    operation: str
    resource: str = ""
    authorized: bool = False
    port: int = 0


@dataclass
class Faults:
    """The switches. Operations are ``token``, ``imds``, and such as ``get secrets`` or ``list keys``.

    Attributes:
        calls: The latest ones.
        peak: The most that were waiting for their faults' time at once.
    """

    calls: deque[Call] = field(default_factory=lambda: deque(maxlen=10_000))
    peak: int = 0
    _under_way: int = 0
    _planned: dict[str, deque[Fault]] = field(default_factory=dict)
    _standing: dict[str, Fault] = field(default_factory=dict)

    def count(self, operation: str) -> int:
        """How often an operation was called; calls of Key Vault without a token only ask for its challenge."""
        vault = " " in operation
        return Counter(call.operation for call in self.calls if call.authorized or not vault)[operation]

    def once(self, operation: str, *faults: Fault) -> None:
        """The next calls of an operation, one fault each; then all is as before."""
        self._planned.setdefault(operation, deque()).extend(faults)

    def always(self, operation: str, fault: Fault) -> None:
        """Every call of an operation until `mend`."""
        self._standing[operation] = fault

    def mend(self) -> None:
        """Everything works again."""
        self._planned.clear()
        self._standing.clear()

    async def meet(self, call: Call) -> Fault:
        """Note a call, take the time that its fault takes, and say what to do."""
        self.calls.append(call)
        if not call.authorized and " " in call.operation:
            return SOUND
        planned = self._planned.get(call.operation)
        fault = planned.popleft() if planned else self._standing.get(call.operation, SOUND)
        self._under_way += 1
        self.peak = max(self.peak, self._under_way)
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            self._under_way -= 1
        return fault
