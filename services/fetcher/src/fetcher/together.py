"""Runs jobs at the same time, to the end of the last: an author shall learn of every missing secret at once."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Iterable, Sequence
from typing import TypeVar

from keyferry.errors import KeyferryError, ProviderError

T = TypeVar("T")

AT_ONCE = 64


async def all_of(jobs: Iterable[Awaitable[T]], *, at_once: int = AT_ONCE) -> list[T]:
    """Every job's result, in order.

    Args:
        jobs: What to run.
        at_once: How many of them at the same time: one class must not take a backend, or all our threads, for itself.

    Raises:
        KeyferryError: one for all that failed, once all have ended.
    """
    slots = asyncio.Semaphore(at_once)
    waiting = list(jobs)

    async def run(job: Awaitable[T]) -> T | KeyferryError:
        async with slots:
            try:
                return await job
            except KeyferryError as error:
                return error

    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(run(job)) for job in waiting]
    except ExceptionGroup as defects:
        raise defects.exceptions[0] from None
    finally:
        for job in waiting:
            if inspect.iscoroutine(job):
                job.close()  # one that never had its turn; Python warns of those that nobody awaits
    results = [task.result() for task in running]
    failures = [result for result in results if isinstance(result, KeyferryError)]
    if failures:
        raise _one(failures)
    return [result for result in results if not isinstance(result, KeyferryError)]


def _one(failures: Sequence[KeyferryError]) -> KeyferryError:
    """One error for all of a class; what only a person can mend goes first."""
    worst = min(failures, key=lambda failure: failure.retry_after is not None)
    alike = [failure for failure in failures if type(failure) is type(worst)]
    message = "; ".join(dict.fromkeys(failure.message for failure in alike))
    if isinstance(worst, ProviderError):
        return ProviderError(message, code=worst.code, reason=worst.reason)
    return type(worst)(message, retry_after=max((failure.retry_after or 0.0 for failure in alike), default=0.0) or None)
