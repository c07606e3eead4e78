"""Has operations of the emulator misbehave, and notes who called what."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from keyferry.testing.faults import Switches


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


class Faults(Switches[Fault, Call]):
    """The switches. Operations are ``token``, ``imds``, and such as ``get secrets`` or ``list keys``."""

    def __init__(self) -> None:
        super().__init__(SOUND)

    def count(self, operation: str) -> int:
        """How often an operation was called; calls of Key Vault without a token only ask for its challenge."""
        vault = " " in operation
        return Counter(call.operation for call in self.calls if call.authorized or not vault)[operation]

    async def meet(self, call: Call) -> Fault:
        """Note a call, take the time that its fault takes, and say what to do."""
        self.calls.append(call)
        if not call.authorized and " " in call.operation:
            return SOUND
        return await self.spend(call.operation)
