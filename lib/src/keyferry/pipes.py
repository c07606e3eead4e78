"""Sends the commands of many callers to Redis over few connections, as many at once as have gathered.

Under load this costs a third of a connection a command: one write and one wait for the commands of a moment, and a
caller that gives up leaves its connection in order, for its answer is read all the same.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

Command = tuple[bytes | str | int, ...]
_Sent = tuple[Command, asyncio.Future[Any]]

_AT_ONCE = 32  # commands; more would have the first wait for the last


class Pipes:
    """A few connections, each with one batch of commands on its way.

    Args:
        pool: Makes connections.
        count: How many are used at once.
        seconds: How long the server may take for each answer.
    """

    def __init__(self, pool: ConnectionPool, *, count: int, seconds: float) -> None:
        self._pool = pool
        self._count = count
        self._seconds = seconds
        self._waiting: deque[_Sent] = deque()
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, command: Command) -> Any:
        """The answer to a command.

        Raises:
            redis.exceptions.RedisError, OSError, TimeoutError: there is none, or it is an error.
        """
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append((command, answer))
        if len(self._running) < self._count:
            pipe = asyncio.create_task(self._drain())
            self._running.add(pipe)
            pipe.add_done_callback(self._running.discard)
        return await answer

    async def close(self) -> None:
        """End what is on its way."""
        for pipe in tuple(self._running):
            pipe.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        for _, answer in self._waiting:
            answer.cancel()

    async def _drain(self) -> None:
        while self._waiting:
            await self._send([self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))])

    async def _send(self, batch: Sequence[_Sent]) -> None:
        try:
            async with asyncio.timeout(self._seconds) as limit:
                connection = await self._pool.get_connection()  # type: ignore[no-untyped-call] # redis-py has none
                try:
                    await connection.send_packed_command(connection.pack_commands([sent for sent, _ in batch]))
                    for _, answer in batch:
                        await _receive(connection, answer)
                        limit.reschedule(asyncio.get_running_loop().time() + self._seconds)
                except BaseException:
                    await connection.disconnect(nowait=True)  # what it has still to say is nobody's answer
                    raise
                finally:
                    await self._pool.release(connection)
        except BaseException as error:
            # Whoever waits behind them would only find the same, a batch at a time.
            waiting, self._waiting = self._waiting, deque()
            known = isinstance(error, RedisError | OSError | TimeoutError)
            _fail((*batch, *waiting), error if isinstance(error, Exception) and known else TimeoutError())
            # Connections that are idle are as dead; each would fail once more when the server is back.
            await self._pool.disconnect(inuse_connections=False)
            if not known:
                raise


async def _receive(connection: AbstractConnection, answer: asyncio.Future[Any]) -> None:
    try:
        told = await connection.read_response(disable_decoding=True)
    except ResponseError as error:  # it is about this command alone
        if not answer.done():
            answer.set_exception(error)
        return
    if not answer.done():
        answer.set_result(told)


def _fail(batch: Sequence[_Sent], error: Exception) -> None:
    for _, answer in batch:
        if not answer.done():
            answer.set_exception(error)
