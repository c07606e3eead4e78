"""Whose call goes to a backend next, where more want to than it shall have at once.

Mounts go before refreshes, and within each the namespaces take turns: one with a thousand classes delays no other's
pod by more than one call.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_Lane = OrderedDict[str, deque[asyncio.Future[None]]]


@dataclass(slots=True)
class _Desk:
    """The calls of one backend: how many are under way, and who waits, mounts and refreshes apart."""

    busy: int = 0
    lanes: tuple[_Lane, _Lane] = field(default_factory=lambda: (OrderedDict(), OrderedDict()))

    def next(self) -> asyncio.Future[None] | None:
        """Take out whose turn it is; their namespace goes to the end of its lane."""
        for lane in self.lanes:
            while lane:
                namespace, waiting = next(iter(lane.items()))
                turn = waiting.popleft()
                lane.move_to_end(namespace)
                if not waiting:
                    del lane[namespace]
                if not turn.done():  # who has given up is passed over
                    return turn
        return None


class Turns:
    """Gives out turns, per backend.

    Args:
        at_once: Calls to one backend under way at the same time.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._desks: dict[str, _Desk] = {}

    @asynccontextmanager
    async def take(self, backend: str, *, namespace: str, mount: bool) -> AsyncIterator[None]:
        """A turn for as long as the block lasts; waits for it."""
        desk = self._desks.setdefault(backend, _Desk())
        if desk.busy < self._at_once:
            desk.busy += 1
        else:
            await self._wait(backend, desk, namespace, mount)
        try:
            yield
        finally:
            self._leave(backend, desk)

    async def _wait(self, backend: str, desk: _Desk, namespace: str, mount: bool) -> None:
        turn = asyncio.get_running_loop().create_future()
        desk.lanes[0 if mount else 1].setdefault(namespace, deque()).append(turn)
        try:
            await turn  # whoever leaves hands their place over: nobody can slip in between
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was handed to us a moment ago
                self._leave(backend, desk)
            raise

    def _leave(self, backend: str, desk: _Desk) -> None:
        following = desk.next()
        if following is not None:
            following.set_result(None)
            return
        desk.busy -= 1
        if desk.busy == 0:
            self._desks.pop(backend, None)
