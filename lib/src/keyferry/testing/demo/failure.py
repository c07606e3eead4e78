"""What went wrong in the demo: in which part, why, and the end of the logs that may tell more."""

from __future__ import annotations

from collections.abc import Sequence

import grpc.aio

from keyferry.testing.processes import Server, ServerError

_LINES = 12


class Failure(Exception):
    """The demo cannot go on.

    Attributes:
        part: What failed, in the words of its progress line.
        reason: Why.
        excerpts: Ends of logs, each with its headline.
    """

    def __init__(self, part: str, reason: str, excerpts: Sequence[str] = ()) -> None:
        super().__init__(f"{part}: {reason}")
        self.part = part
        self.reason = reason
        self.excerpts = tuple(excerpts)


def blame(part: str, error: Exception, servers: Sequence[Server] = ()) -> Failure:
    """The failure of a part, with what the servers that it needs have logged."""
    # The message of a server that does not start ends with its log already.
    return Failure(part, _reason(error), () if isinstance(error, ServerError) else [_excerpt(each) for each in servers])


def _reason(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return f"{type(error).__name__}: {error}" if not isinstance(error, ServerError) else str(error)


def _excerpt(server: Server) -> str:
    state = "" if server.is_running else ", which has ended"
    tail = "\n".join(server.output().splitlines()[-_LINES:])
    return f"the end of {server.log.name} of {server.name}{state}:\n{tail}"
