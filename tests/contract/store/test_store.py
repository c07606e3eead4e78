"""A real Valkey, well and unwell: nothing that it does may hold a caller for long or be held against it later."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from keyferry.errors import StoreUnavailable
from keyferry.store import CONNECTED, FAILURES, Store, connect_store, script, store_url
from keyferry.testing.ports import free_port
from keyferry.testing.valkey import Valkey, valkey_server

APPEND = script("redis.call('append', KEYS[1], ARGV[1]) return redis.call('get', KEYS[1])")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Valkey]:
    """A server of the test's own, to be broken."""
    with valkey_server(tmp_path) as running:
        yield running


@pytest.fixture
async def store(own: Valkey) -> AsyncIterator[Store]:
    async with connect_store(own.url, name="test") as connected:
        yield connected


async def again(store: Store) -> None:
    """Returns once calls are tried."""
    async with asyncio.timeout(10):
        while not store.is_connected:  # noqa: ASYNC110 - the store tells nobody; its callers just try
            await asyncio.sleep(0.05)


async def test_commands_give_bytes(store: Store) -> None:
    """Values are secrets' ciphertexts: no text decoding may touch them."""
    await store.call("SET", "key", b"\xff\x00")

    assert await store.call("GET", "key") == b"\xff\x00"
    assert CONNECTED._value.get() == 1


async def test_a_script_runs_where_it_was_never_loaded(store: Store) -> None:
    """Nothing has to prepare a server."""
    assert await store.run(APPEND, ["k"], ["a"]) == b"a"
    assert await store.run(APPEND, ["k"], ["b"]) == b"ab"


async def test_a_script_runs_after_the_server_forgot_it(store: Store) -> None:
    """A flush of scripts and a restart are nobody's business."""
    await store.run(APPEND, ["k"], ["a"])
    await store.call("SCRIPT", "FLUSH")

    assert await store.run(APPEND, ["k"], ["b"]) == b"ab"


async def test_a_killed_server_is_noticed_and_found_again(store: Store, own: Valkey) -> None:
    """From the first failure on calls are refused at once, and go through soon after it is back."""
    await asyncio.to_thread(own.process.kill)
    with pytest.raises(StoreUnavailable):
        await store.call("PING")
    assert (store.is_connected, CONNECTED._value.get()) == (False, 0)

    await asyncio.to_thread(own.process.start)
    await again(store)

    assert await store.run(APPEND, ["k"], ["a"]) == b"a"


async def test_a_restart_between_two_calls_is_not_noticed(store: Store, own: Valkey) -> None:
    """Idle connections that the old server closed are not used."""
    await asyncio.gather(*(store.call("PING") for _ in range(10)))
    await asyncio.to_thread(own.process.restart)

    assert await asyncio.gather(*(store.call("PING") for _ in range(10))) == [b"PONG"] * 10


async def test_a_hanging_server_costs_all_callers_one_wait(store: Store, own: Valkey) -> None:
    """However many wait, also for a connection, none waits for others' timeouts after its own."""
    own.process.pause()
    try:
        async with asyncio.timeout(4):  # one wait is a second; ten callers of each connection would be ten
            results = await asyncio.gather(*(store.call("GET", "k") for _ in range(320)), return_exceptions=True)
    finally:
        own.process.resume()

    assert {type(result) for result in results} == {StoreUnavailable}
    await again(store)
    assert await store.call("PING") == b"PONG"


async def test_a_server_that_is_not_there_is_found_when_it_comes(tmp_path: Path) -> None:
    """A fetcher starts without its store."""
    port = free_port()
    async with connect_store(f"redis://:test-only-password@127.0.0.1:{port}/0", name="test") as store:
        with pytest.raises(StoreUnavailable):
            await store.call("PING")
        with valkey_server(tmp_path, port=port):
            await again(store)
            assert await store.call("PING") == b"PONG"


async def test_a_wrong_password_is_told_once_and_without_it(own: Valkey, caplog: pytest.LogCaptureFixture) -> None:
    """The log says what Redis said; neither URL nor password nor arguments."""
    url = own.url.replace("test-only-password", "mistaken-password")
    async with connect_store(url, name="test") as store:
        for _ in range(3):
            await store.probe()
        with pytest.raises(StoreUnavailable):
            await store.call("SET", "key", "canary")

    assert [r.getMessage() for r in caplog.records] == [
        "Redis does not answer (AuthenticationError); going on without it"
    ]


async def test_a_refusal_is_told_by_its_code(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Such as a full memory or a missing right; the server is there, and later calls are tried."""
    before = FAILURES.labels("OutOfMemoryError")._value.get()
    await store.call("CONFIG", "SET", "maxmemory", "1")
    caplog.set_level(logging.DEBUG)
    with pytest.raises(StoreUnavailable, match="OutOfMemoryError"):
        await store.call("SET", "canary-key", "canary-value")

    assert store.is_connected
    assert FAILURES.labels("OutOfMemoryError")._value.get() == before + 1
    assert "canary" not in caplog.text


async def test_a_script_that_fails_does_not_quote_its_arguments(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """A defect in a script may have Lua quote a value."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(StoreUnavailable) as caught:
        await store.run(script("error(ARGV[1])"), [], ["canary"])

    assert "canary" not in caplog.text + str(caught.value)


async def test_a_caller_that_gives_up_spoils_no_connection(store: Store, own: Valkey) -> None:
    """Its answer must not become the next caller's."""
    await store.call("SET", "k", "mine")
    own.process.pause()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await store.call("GET", "k")
    own.process.resume()

    assert await store.call("PING") == b"PONG"


async def test_without_a_url_there_is_no_store() -> None:
    """Every caller goes its way without Redis, and nothing is tried."""
    async with connect_store("", name="test") as store:
        assert not store.is_connected
        with pytest.raises(StoreUnavailable):
            await store.run(APPEND, ["k"], ["a"])


@pytest.mark.parametrize("text", ["localhost:6379", "http://host", "redis://", "redis://host:port", "redis://h?db=x"])
def test_a_malformed_url_is_refused_at_start(text: str) -> None:
    """Before the service runs, not at its first mount."""
    with pytest.raises(ValueError):  # noqa: PT011 - what `keyferry.settings` takes, whatever the text
        store_url(text)


def test_a_url_with_tls_and_a_user_is_taken() -> None:
    """As managed Redis services have them."""
    url = "rediss://user:password@redis.example:6380/3"

    assert store_url(url) == url


async def test_answers_are_their_callers_own(store: Store) -> None:
    """However many commands share a connection, each gets its own answer, an error of another's included."""
    mixed = [("SET", f"k{n}", n) if n % 3 else ("LPUSH", "k1", "x") for n in range(300)]
    await store.call("SET", "k1", "a string")
    answers = await asyncio.gather(*(store.call(*command) for command in mixed), return_exceptions=True)
    values = await asyncio.gather(*(store.call("GET", f"k{n}") for n in range(300)))

    assert [isinstance(answer, StoreUnavailable) for answer in answers] == [n % 3 == 0 for n in range(300)]
    assert values == [str(n).encode() if n % 3 else None for n in range(300)]
    assert store.is_connected


async def test_large_values_pass_beside_small_ones(store: Store) -> None:
    """Contents of 4 MiB, many at once, are no outage."""
    large = [b"%d" % n * 2_000_000 for n in range(10)]
    await asyncio.gather(*(store.call("SET", f"k{n}", value) for n, value in enumerate(large)))

    assert await asyncio.gather(*(store.call("GET", f"k{n % 10}") for n in range(40))) == large * 4
    assert store.is_connected
