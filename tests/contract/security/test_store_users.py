"""The users of Valkey: each tries the other's keys and what only an administrator does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from keyferry.errors import StoreUnavailable
from keyferry.store import Store, connect_store, script
from keyferry.store_users import STORE_USERS, acl_file
from keyferry.testing.valkey import Valkey, valkey_server

PASSWORDS = {user: f"{user}-password" for user in STORE_USERS}
WRITERS = ("fetcher", "rotator")
OWN = {"fetcher": "keyferry:content:k", "rotator": "keyferry:rotation:due"}
OTHERS = {
    "fetcher": ("keyferry:rotation:due", "other"),
    "rotator": ("keyferry:content:k", "keyferry:backend:x:pause", ""),
    "cli": ("keyferry:content:k", "other", ""),
}
REFUSED = "NOPERM|NoPermission"
ADMINISTRATION = (
    *(("CONFIG", "GET", "*"), ("CONFIG", "SET", "maxmemory", "1"), ("FLUSHALL",), ("FLUSHDB",), ("KEYS", "*")),
    *(("RANDOMKEY",), ("DBSIZE",), ("MONITOR",), ("SAVE",), ("SHUTDOWN",)),
    *(("ACL", "LIST"), ("ACL", "SETUSER", "x"), ("CLIENT", "LIST"), ("CLIENT", "KILL", "ID", "1"), ("INFO",)),
    *(
        ("REPLICAOF", "127.0.0.1", "1"),
        ("MODULE", "LIST"),
        ("SCRIPT", "FLUSH"),
        ("FUNCTION", "LIST"),
        ("SLOWLOG", "GET"),
    ),
    *(("SUBSCRIBE", "c"), ("PUBLISH", "c", "m"), ("MIGRATE", "h", "1", "k", "0", "1"), ("SORT", "k"), ("DUMP", "k")),
)
WRITES = (
    *(("SET", "v"), ("DEL",), ("UNLINK",), ("EXPIRE", "1"), ("PEXPIRE", "1"), ("PERSIST",), ("RENAME", "other")),
    *(("HSET", "f", "v"), ("HDEL", "f"), ("ZADD", "1", "m"), ("ZREM", "m"), ("SADD", "m"), ("SREM", "m")),
    *(("APPEND", "v"), ("INCR",), ("LPUSH", "v"), ("GETDEL",), ("GETEX",), ("RESTORE", "0", "x")),
)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A Valkey with Keyferry's users, and nobody else."""
    folder = tmp_path_factory.mktemp("users")
    (folder / "users.acl").write_text(acl_file(PASSWORDS))
    with valkey_server(folder, users=folder / "users.acl") as running:
        yield running


@pytest.fixture
async def stores(guarded: Valkey) -> AsyncIterator[dict[str, Store]]:
    """A connection of each user."""
    async with AsyncExitStack() as stack:
        yield {
            user: await stack.enter_async_context(
                connect_store(f"redis://{user}:{password}@127.0.0.1:{guarded.port}/0", name=user)
            )
            for user, password in PASSWORDS.items()
        }


@pytest.mark.parametrize("user", WRITERS)
async def test_own_keys(stores: dict[str, Store], user: str) -> None:
    """A user reads and writes its own keys, by commands and by scripts."""
    assert await stores[user].call("SET", OWN[user], "v") == b"OK"
    assert await stores[user].run(script("return redis.call('GET', KEYS[1])"), [OWN[user]]) == b"v"


@pytest.mark.parametrize(("user", "key"), [(user, key) for user, keys in OTHERS.items() for key in keys])
async def test_keys_of_others(stores: dict[str, Store], user: str, key: str) -> None:
    """It reads and writes no others, and no script does it for it, whether it declares the key or not."""
    for command in (("GET", key), ("SET", key, "v"), ("DEL", key), ("EXISTS", key)):
        with pytest.raises(StoreUnavailable, match=REFUSED):
            await stores[user].call(*command)
    with pytest.raises(StoreUnavailable):
        await stores[user].run(script("return redis.call('GET', KEYS[1])"), [key])
    with pytest.raises(StoreUnavailable):
        await stores[user].run(script("return redis.call('SET', ARGV[1], 'v')"), [OWN.get(user, "x")], [key])


@pytest.mark.parametrize("user", WRITERS)
async def test_no_list_of_keys(stores: dict[str, Store], user: str) -> None:
    """No service sees which keys there are; who looks may, for the pauses of backends."""
    with pytest.raises(StoreUnavailable, match=REFUSED):
        await stores[user].call("SCAN", "0")
    assert await stores["cli"].call("SCAN", "0")


@pytest.mark.parametrize("key", ["keyferry:rotation:due", "keyferry:backend:x:pause"])
async def test_who_looks_writes_nothing(stores: dict[str, Store], key: str) -> None:
    """Not where it may read, by no command and no script."""
    looker = stores["cli"]
    assert await looker.call("GET", key) in (None, b"v")
    for command in WRITES:
        with pytest.raises(StoreUnavailable, match=REFUSED):
            await looker.call(command[0], key, *command[1:])
        called = ", ".join(f"'{each}'" for each in (command[0], key, *command[1:]))
        with pytest.raises(StoreUnavailable):
            await looker.run(script(f"return redis.call({called})"), [key])


@pytest.mark.parametrize("command", ADMINISTRATION, ids=" ".join)
@pytest.mark.parametrize("user", STORE_USERS)
async def test_administration(stores: dict[str, Store], user: str, command: tuple[str, ...]) -> None:
    """No user may administer the server, look around in it, or empty it."""
    with pytest.raises(StoreUnavailable, match=REFUSED):
        await stores[user].call(*command)


@pytest.mark.parametrize("who", ["", ":x@", "default:x@", "fetcher:wrong@", "rotator:fetcher-password@"])
async def test_strangers(guarded: Valkey, who: str) -> None:
    """Nobody else gets in, and no user with another's password."""
    async with connect_store(f"redis://{who}127.0.0.1:{guarded.port}/0", name="x") as store:
        with pytest.raises(StoreUnavailable):
            await store.call("PING")


def test_file_holds_no_password() -> None:
    """The server's own file holds digests only."""
    assert not any(password in acl_file(PASSWORDS) for password in PASSWORDS.values())
