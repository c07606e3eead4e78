"""Has methods of the emulator misbehave, and notes who called what."""

from collections import Counter
from dataclasses import dataclass

import grpc

from keyferry.testing.faults import Switches


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


class Faults(Switches[Fault, Call]):
    """The switches. Methods go by their names: AccessSecretVersion, token, generateAccessToken, and so on."""

    def __init__(self) -> None:
        super().__init__(SOUND)

    def count(self, method: str) -> int:
        """How often a method was called."""
        return Counter(call.method for call in self.calls)[method]

    async def meet(self, call: Call) -> Fault:
        """Note a call, take the time that its fault takes, and say what to do."""
        self.calls.append(call)
        return await self.spend(call.method)
