"""Has methods of the emulator misbehave, and notes who called what."""

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field

import grpc


@dataclass(frozen=True)
class Fault:
    """What one method does instead of its work.

    Attributes:
        code: Of a gRPC method's failure.
        status: Of an HTTP method's.
        retry_after: Seconds that the failure asks to wait (RetryInfo, Retry-After).
        seconds: How long it takes before anything else.
        malformed: Whether the answer is bytes that nobody can read.
        wrong_checksum: Whether the checksum of a secret's payload is another's.
    """

    code: grpc.StatusCode | None = None
    status: int = 0
    retry_after: float = 0.0
    seconds: float = 0.0
    malformed: bool = False
    wrong_checksum: bool = False


SOUND = Fault()


@dataclass(frozen=True)
class Call:
    """One call as it came in: of which method, for which resource, and how long the caller would wait."""

    method: str
    resource: str = ""
    seconds_left: float | None = None


@dataclass
class Faults:
    """The switches. Methods go by their names: AccessSecretVersion, token, generateAccessToken, and so on.

    Attributes:
        calls: The latest ones.
        peak: The most that were waiting for their faults' time at once.
    """

    calls: deque[Call] = field(default_factory=lambda: deque(maxlen=10_000))
    peak: int = 0
    _under_way: int = 0
    _planned: dict[str, deque[Fault]] = field(default_factory=dict)
    _standing: dict[str, Fault] = field(default_factory=dict)

    def count(self, method: str) -> int:
        """How often a method was called."""
        return Counter(call.method for call in self.calls)[method]

    def once(self, method: str, *faults: Fault) -> None:
        """The next calls of a method, one fault each; then all is as before."""
        self._planned.setdefault(method, deque()).extend(faults)

    def always(self, method: str, fault: Fault) -> None:
        """Every call of a method until `mend`."""
        self._standing[method] = fault

    def mend(self) -> None:
        """Everything works again."""
        self._planned.clear()
        self._standing.clear()

    async def meet(self, call: Call) -> Fault:
        """Note a call, take the time that its fault takes, and say what to do."""
        self.calls.append(call)
        planned = self._planned.get(call.method)
        fault = planned.popleft() if planned else self._standing.get(call.method, SOUND)
        self._under_way += 1
        self.peak = max(self.peak, self._under_way)
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            self._under_way -= 1
        return fault
