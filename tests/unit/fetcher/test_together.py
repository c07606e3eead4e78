"""Jobs at the same time, to the end of the last, with one error for all that failed."""

import asyncio
from collections.abc import Awaitable

import pytest

from fetcher.together import all_of
from keyferry.errors import (
    AccessDenied,
    KeyferryError,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    SecretNotFound,
)


class Gate:
    """Jobs that wait here, and how many did so at once."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.inside = 0
        self.peak = 0

    async def job(self, result: int) -> int:
        """Wait until the gate is open."""
        self.inside += 1
        self.peak = max(self.peak, self.inside)
        await self.open.wait()
        self.inside -= 1
        return result


async def failing(error: BaseException) -> int:
    """A job that fails in its second step, as one that asks a backend does."""
    await asyncio.sleep(0)
    raise error


async def failure(*errors: BaseException) -> KeyferryError:
    """What comes of jobs that fail so."""
    with pytest.raises(KeyferryError) as raised:
        await all_of(failing(error) for error in errors)
    return raised.value


async def test_results_come_in_order() -> None:
    """Whoever is done first."""

    async def after(steps: int) -> int:
        for _ in range(steps):
            await asyncio.sleep(0)
        return steps

    assert await all_of(after(steps) for steps in (5, 1, 3, 0)) == [5, 1, 3, 0]


async def test_nothing_to_do_is_done() -> None:
    """An empty list is no error."""
    empty: list[Awaitable[int]] = []

    assert await all_of(empty) == []


@pytest.mark.parametrize(("at_once", "peak"), [(1, 1), (3, 3), (64, 10)])
async def test_jobs_at_the_same_time_are_bounded(at_once: int, peak: int) -> None:
    """As many as are allowed, and all of them in the end."""
    gate = Gate()
    running = asyncio.create_task(all_of((gate.job(number) for number in range(10)), at_once=at_once))
    for _ in range(5):  # rounds of the loop: enough for all that may begin
        await asyncio.sleep(0)
    gate.open.set()

    assert await running == list(range(10))
    assert gate.peak == peak


async def test_a_failure_does_not_stop_the_others() -> None:
    """An author learns of every missing secret at once; each is told once."""
    done: list[int] = []

    async def late() -> int:
        for _ in range(5):
            await asyncio.sleep(0)
        done.append(1)
        return 1

    with pytest.raises(SecretNotFound) as raised:
        await all_of(
            [failing(SecretNotFound("a")), late(), failing(SecretNotFound("b")), failing(SecretNotFound("a")), late()]
        )

    assert raised.value.message == "a; b"
    assert done == [1, 1]


@pytest.mark.parametrize("passing_first", [True, False])
async def test_what_only_a_person_can_mend_goes_first(passing_first: bool) -> None:
    """Another try would not help, so none is promised, and nothing is said of what may pass."""
    errors: list[KeyferryError] = [ProviderUnavailable("slow"), AccessDenied("denied")]

    told = await failure(*(errors if passing_first else reversed(errors)))

    assert (type(told), told.message, told.retry_after) == (AccessDenied, "denied", None)


async def test_the_longest_pause_of_several_is_kept() -> None:
    """A backend that asks for a minute is not asked earlier because another call may be."""
    told = await failure(RateLimited("a", retry_after=7), RateLimited("b", retry_after=60), RateLimited("c"))

    assert (type(told), told.message, told.retry_after) == (RateLimited, "a; b; c", 60)


async def test_a_providers_own_code_and_reason_are_kept() -> None:
    """They are not the class's."""
    told = await failure(ProviderError("odd", code="FAILED_PRECONDITION", reason="Odd"))

    assert (type(told), told.message, told.code, told.reason) == (ProviderError, "odd", "FAILED_PRECONDITION", "Odd")


async def test_a_kind_of_a_known_error_stays_that_kind() -> None:
    """Providers tell refusals apart by classes of their own."""

    class Stranger(AccessDenied):
        pass

    assert type(await failure(Stranger("a"))) is Stranger


async def test_a_defect_is_not_wrapped() -> None:
    """Whoever finds it in the log shall read where it was."""
    with pytest.raises(ZeroDivisionError):
        await all_of([failing(ZeroDivisionError()), failing(SecretNotFound("a"))])


async def test_jobs_that_never_had_their_turn_are_let_go() -> None:
    """A deadline ends them without Python's warning of what nobody awaited, which is an error here."""
    gate = Gate()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await all_of((gate.job(number) for number in range(10)), at_once=2)

    assert gate.peak == 2


async def test_awaitables_that_are_no_coroutines_are_awaited_too() -> None:
    """Such as tasks, which several may wait for."""
    gate = Gate()
    gate.open.set()
    shared = asyncio.create_task(gate.job(1))

    assert await all_of([shared, shared]) == [1, 1]
