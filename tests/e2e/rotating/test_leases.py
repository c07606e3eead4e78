"""Credentials that OpenBao makes for a content: one set for all its pods, alive while they are, gone after them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import redis.asyncio
from redis.exceptions import AuthenticationError

from keyferry import keymaking
from keyferry.testing.valkey import PASSWORD, Valkey

if TYPE_CHECKING:
    from tests.e2e.rotating.conftest import Mounted, Scene

pytestmark = pytest.mark.root

TTL = 6
"""Seconds that credentials live unless they are renewed."""
LONG = 20
"""The same where services start meanwhile, which may take seconds on a machine that others use as well."""


@dataclass(frozen=True)
class Database:
    """A Valkey whose users OpenBao makes, and a class `secrets` that mounts one.

    Attributes:
        scene: Whose namespace may read them.
        valkey: Another one than the services'.
        path: Where they come from.
        ttl: Seconds that credentials live unless they are renewed.
    """

    scene: Scene
    valkey: Valkey
    path: str
    ttl: int = TTL

    async def leases(self) -> list[str]:
        """Those that are alive."""
        return await self.scene.world.servers.openbao.leases(self.path)

    @property
    def made(self) -> int:
        """How many users were made."""
        return self.scene.world.servers.openbao.count_requests(self.path, operation="read")

    @property
    def revoked(self) -> int:
        """How often a token was given back, with all that it has made."""
        world = self.scene.world
        return world.servers.openbao.count_requests("auth/token/revoke-self", policy=world.namespace)

    @property
    def renewals(self) -> int:
        """How often OpenBao was asked to renew a lease."""
        world = self.scene.world
        return world.servers.openbao.count_requests("sys/leases/renew", policy=world.namespace)

    async def works(self, volume: Mounted) -> bool:
        """Whether the credentials that a pod reads let it in; both files are of one moment."""
        folder = (volume.target / "..data").resolve()
        try:
            user, password = ((folder / name).read_text() for name in ("user", "password"))
        except FileNotFoundError:
            return await self.works(volume)  # switched away while it was read
        return await self.opens(user, password)

    async def opens(self, user: str, password: str) -> bool:
        """Whether the database lets somebody in."""
        async with redis.asyncio.Redis(port=self.valkey.port, username=user, password=password) as client:
            try:
                return str(await client.acl_whoami()) == user
            except AuthenticationError:
                return False

    async def gone(self, *, within: float = 60.0) -> None:
        """Wait until no lease is alive, and the database knows nobody that was made for it."""
        await self.until_leases(0, within=within)

    async def until_leases(self, number: int, *, within: float = 60.0) -> None:
        """Wait until so many leases are alive."""
        async with asyncio.timeout(within):
            while len(await self.leases()) != number:  # noqa: ASYNC110 - OpenBao has no event for it
                await asyncio.sleep(0.1)

    async def users(self) -> set[str]:
        """Whom the database knows."""
        async with redis.asyncio.Redis(port=self.valkey.port, password=PASSWORD, decode_responses=True) as client:
            return {str(user) for user in await client.acl_users()}


async def furnished(scene: Scene, *, ttl: int = TTL, max_ttl: str = "10m") -> Database:
    """A database engine of the scene's own."""
    valkey, name = scene.world.servers.valkey, scene.world.namespace
    mount = f"{name}-db"
    bao = scene.world.servers.openbao
    await bao.enable_database(port=valkey.port, password=PASSWORD, mount=mount, default_ttl=f"{ttl}s", max_ttl=max_ttl)
    await bao.policy(name, f'path "{mount}/creds/web" {{ capabilities = ["read"] }}')
    path = f"{mount}/creds/web"
    entries = [{"objectName": file, "secretPath": path, "secretKey": key} for file, key in FILES.items()]
    await scene.make_class("secrets", *entries, every="0")
    return Database(scene, valkey, path, ttl)


FILES = {"user": "username", "password": "password"}


@pytest.fixture
async def database(scene: Scene) -> Database:
    """Credentials that can be renewed for longer than a test lasts."""
    return await furnished(scene)


async def lifetimes(database: Database, number: float, *volumes: Mounted) -> None:
    """Let so many lifetimes of unrenewed credentials pass, in which every pod can log in at any time."""
    end = time.monotonic() + number * database.ttl
    while time.monotonic() < end:
        assert all([await database.works(each) for each in volumes])
        await asyncio.sleep(0.2)


def users(volumes: list[Mounted]) -> set[str]:
    """Who the pods are for the database."""
    return {(each.target / "user").read_text() for each in volumes}


async def test_shared_renewed_and_revoked(database: Database) -> None:
    """Pods on both nodes share one set, which is renewed before it ends, and revoked when the last pod has gone."""
    scene = database.scene
    mounted = await scene.mount_all()
    before, renewals, revoked = users(mounted), database.renewals, database.revoked
    await lifetimes(database, 1.6, *mounted)

    assert (len(before), users(mounted), database.made) == (1, before, 1)
    assert database.renewals >= renewals + 2
    assert len(await database.leases()) == 1
    assert await database.users() >= before
    await scene.unmount(*mounted[1:])
    await lifetimes(database, 0.5, mounted[0])
    assert database.revoked == revoked
    await scene.unmount(mounted[0])
    await database.gone()
    assert database.revoked == revoked + 1
    assert await database.users() & before == set()


async def test_replaced_at_the_end_of_their_life(scene: Scene) -> None:
    """What cannot be renewed any longer is replaced in every pod before it ends, and none is left over."""
    database = await furnished(scene, max_ttl=f"{TTL * 3 // 2}s")
    mounted = await scene.mount_all(each=1)
    before = users(mounted)
    async with asyncio.timeout(60):
        while users(mounted) & before:
            await lifetimes(database, 0.05, *mounted)
    await lifetimes(database, 0.3, *mounted)

    assert database.made == 2
    await scene.unmount(*mounted)
    await database.gone()


async def test_a_secret_beside_them_rotates(database: Database) -> None:
    """A class with both: each new value of the secret arrives, and nobody is made for it."""
    scene = database.scene
    world = scene.world
    entries = [{"objectName": file, "secretPath": database.path, "secretKey": key} for file, key in FILES.items()]
    entries.append({"objectName": "beside", "secretPath": world.path("db"), "secretKey": "password"})
    await world.servers.openbao.allow_read(world.namespace, database.path, world.path("db"))
    await scene.make_class("both", *entries, every="0")
    mounted = await scene.mount_all(each=1, class_name="both")
    before = users(mounted)
    for number in (1, 2):
        await scene.rotate(number)
        await scene.change("db")
        await shown_beside(scene, f"v00000{number}", mounted)
    await lifetimes(database, 1.2, *mounted)

    assert (users(mounted), database.made) == (before, 1)
    await scene.unmount(*mounted)
    await database.gone()


async def shown_beside(scene: Scene, value: str, volumes: list[Mounted]) -> None:
    """Wait until all pods read this of the secret that is not leased."""
    await scene.until(lambda: {(each.target / "beside").read_text() for each in volumes} == {value})


async def test_all_services_restarted(scene: Scene) -> None:
    """Who renews and who revokes may all be new: the credentials stay, and end with the last pod."""
    database, fleet = await furnished(scene, ttl=LONG), scene.fleet
    mounted = await scene.mount_all(each=1)
    before, revoked = users(mounted), database.revoked
    async with scene.kubelet():
        for kind in (fleet.fetchers, fleet.rotators, fleet.nodes):
            await asyncio.gather(*(asyncio.to_thread(service.process.restart) for service in kind))
            await lifetimes(database, 0.05, *mounted)
        await lifetimes(database, 1.0, *mounted)

    assert users(mounted) == before
    await scene.unmount(*mounted)
    await database.gone()
    assert database.revoked == revoked + 1


async def test_the_mac_key_is_rotated(database: Database) -> None:
    """Stolen keys are replaced: each content has another name, so pods get new credentials, and the old are revoked."""
    scene = database.scene
    mounted = await scene.mount_all(each=1)
    before = users(mounted)
    await asyncio.to_thread(keymaking.rotate, scene.fleet.stack.keys_dir, delay=0.0, mac=True)
    async with asyncio.timeout(60):
        while users(mounted) & before:
            await lifetimes(database, 0.05, *mounted)
    await database.until_leases(1)

    assert await database.works(mounted[0])
    assert len(users(mounted)) == 1
    await scene.unmount(*mounted)
    await database.gone()


async def test_valkey_flushed(database: Database) -> None:
    """What was known of the lease is lost: the pods get new credentials before the old ones end by themselves."""
    scene = database.scene
    mounted = await scene.mount_all(each=1)
    before = users(mounted)
    await asyncio.to_thread(scene.fleet.stack.valkey.process.restart)
    async with asyncio.timeout(60):
        while users(mounted) & before:
            await lifetimes(database, 0.05, *mounted)
    await lifetimes(database, 0.4, *mounted)

    assert len(users(mounted)) == 1
    await database.until_leases(1)  # how much of their life the old ones had left is chance
    await scene.unmount(*mounted)
    await database.gone()


async def test_gone_while_no_rotator_is_there(scene: Scene) -> None:
    """The last pod goes while rotators are down: whoever comes next ends what nobody holds."""
    database, rotators = await furnished(scene, ttl=3 * LONG), scene.fleet.rotators
    mounted, revoked = await scene.mount(), database.revoked
    await scene.until(lambda: scene.told(mounted))
    async with redis.asyncio.Redis.from_url(scene.fleet.stack.valkey.url) as client, asyncio.timeout(60):
        # A volume that no rotator has ever known of is none that one could end (ADR 0011).
        while not await client.exists(f"keyferry:rotation:members:{scene.key(mounted)}"):  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.05)
    for rotator in rotators:
        rotator.process.kill()
    await scene.unmount(mounted)
    await asyncio.gather(*(asyncio.to_thread(rotator.process.start) for rotator in rotators))

    await database.gone()
    assert database.revoked == revoked + 1
    await scene.until(lambda: scene.ended)


async def replaced(database: Database, password: str, *volumes: Mounted) -> None:
    """Wait until no pod reads this password."""
    await database.scene.until(lambda: password not in {each.password for each in volumes})


async def test_a_static_role_that_is_rotated_when_it_likes(scene: Scene) -> None:
    """OpenBao changes the password of one user, twice and unannounced: every pod has the new one at its next look."""
    valkey, name, bao = scene.world.servers.valkey, scene.world.namespace, scene.world.servers.openbao
    async with redis.asyncio.Redis(port=valkey.port, password=PASSWORD) as client:
        await client.acl_setuser(name, enabled=True, passwords="+first", keys=["*"], categories=["+@all"])
    mount = f"{name}-db"
    await bao.enable_database(port=valkey.port, password=PASSWORD, mount=mount)
    static = {"db_name": "valkey", "username": name, "rotation_period": "24h"}
    await bao.write(f"{mount}/static-roles/fixed", static)
    path = f"{mount}/static-creds/fixed"
    await bao.policy(name, f'path "{path}" {{ capabilities = ["read"] }}')
    entries = [{"objectName": file, "secretPath": path, "secretKey": key} for file, key in FILES.items()]
    await scene.make_class("secrets", *entries, every="1s")
    database, mounted = Database(scene, valkey, path), await scene.mount_all(each=1)
    for _ in range(2):
        before = mounted[0].password
        await bao.write(f"{mount}/rotate-role/fixed", {})
        await replaced(database, before, *mounted)
        assert all([await database.works(each) for each in mounted])
        assert len({each.password for each in mounted}) == 1
