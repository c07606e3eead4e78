from pathlib import Path

import pytest
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError

from keyferry.testing.processes import ServerError
from keyferry.testing.valkey import PASSWORD, Valkey, valkey_server


async def test_it_answers_a_client_that_knows_the_password(valkey: Valkey) -> None:
    """The URL alone is enough to connect."""
    async with redis.from_url(valkey.url) as client:
        assert await client.set("servers:greeting", "hello")
        assert await client.get("servers:greeting") == b"hello"


async def test_it_refuses_a_client_without_the_password(valkey: Valkey) -> None:
    """A service that forgets its password is noticed in tests."""
    async with redis.Redis(port=valkey.port, retry=Retry(NoBackoff(), 0)) as client:
        with pytest.raises(AuthenticationError):
            await client.get("servers:greeting")


async def test_a_restart_empties_it(tmp_path: Path) -> None:
    """Nothing is on disk, as in a cache that lost its node."""
    with valkey_server(tmp_path) as running:
        async with redis.from_url(running.url) as client:
            await client.set("key", "value")
        running.process.restart()

        async with redis.from_url(running.url) as client:
            assert await client.dbsize() == 0


async def test_with_an_append_only_file_it_survives_a_crash(tmp_path: Path) -> None:
    """Every acknowledged write is there after SIGKILL."""
    with valkey_server(tmp_path, appendonly=True) as running:
        async with redis.from_url(running.url) as client:
            await client.set("key", "value")
        running.process.kill()
        running.process.start()

        async with redis.from_url(running.url) as client:
            assert await client.get("key") == b"value"


def test_a_taken_port_is_reported(tmp_path: Path, valkey: Valkey) -> None:
    """The reason stands in the error, from the server's own log."""
    with pytest.raises(ServerError, match="Address already in use"), valkey_server(tmp_path, port=valkey.port):
        pass


def test_the_password_is_not_printed(valkey: Valkey) -> None:
    """Test reports print fixtures; a habit of hiding passwords starts here."""
    assert PASSWORD in valkey.url
    assert PASSWORD not in repr(valkey)
