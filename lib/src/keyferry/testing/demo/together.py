"""Things that take time, done at the same time: servers that start in threads, and work that fails as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


async def together(*work: Coroutine[Any, Any, T]) -> list[T]:
    """The results of all; the first failure ends the others and is raised as it is, not as a group."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


@asynccontextmanager
async def in_thread(blocking: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave a blocking context in threads; one that is cancelled while it enters is left again."""
    entering = asyncio.ensure_future(asyncio.to_thread(blocking.__enter__))
    try:
        entered = await asyncio.shield(entering)
    except asyncio.CancelledError:
        await asyncio.wait({entering})
        if entering.exception() is None:
            await asyncio.to_thread(blocking.__exit__, None, None, None)
        raise
    try:
        yield entered
    finally:
        await asyncio.to_thread(blocking.__exit__, None, None, None)
