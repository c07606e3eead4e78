"""Backends that refuse, fail, throttle or dawdle: the code that kubelet acts on, the text that a person acts on."""

from __future__ import annotations

import asyncio
import base64

import pytest

from keyferry.testing.ports import free_port
from keyferry.testing.proxy import counting_proxy
from keyferry.testing.world import World

pytestmark = pytest.mark.root

READ = "GET /v1/secret/data"


async def attempt(world: World, class_name: str = "bad", *, seconds: float = 120.0) -> tuple[str, str]:
    """Mount a class that cannot be mounted now."""
    pod = await world.pod(class_name)
    return await world.refused(world.kubelet.publish(pod, class_name, seconds=seconds), pod)


async def mounts_again(world: World, class_name: str = "bad") -> None:
    target = await world.kubelet.publish(await world.pod(class_name), class_name)
    assert (target / "password").read_text() == "tiger"


async def test_no_such_secret(world: World) -> None:
    """A secret that does not exist is NOT_FOUND, by its path; once it exists, the mount works."""
    await world.vault_class("bad", "password=later:password")
    code, said = await attempt(world)

    assert code == "NOT_FOUND"
    assert f"GET {world.path('later')} from Vault" in said
    assert "there is no such secret" in said
    await world.secret("later", password="tiger")
    await mounts_again(world)


async def test_no_such_key(world: World) -> None:
    """A key that the secret lacks is NOT_FOUND, by the key's name and never by the values of others."""
    await world.vault_class("bad", "password=db:pasword")
    code, said = await attempt(world)

    assert code == "NOT_FOUND"
    assert "pasword" in said
    assert "tiger" not in said


async def test_one_of_many_missing(world: World) -> None:
    """One missing object fails the mount as a whole: no volume holds a part of its class."""
    await world.vault_class("bad", "password=db:password", "user=absent:user")
    code, said = await attempt(world)

    assert code == "NOT_FOUND"
    assert world.path("absent") in said


async def test_access_denied(world: World) -> None:
    """A path that the pod's role may not read is PERMISSION_DENIED, and says which policy to give."""
    entry = {"objectName": "password", "secretPath": "secret/data/somebody/else", "secretKey": "password"}
    await world.vault_class("bad", entry)
    code, said = await attempt(world)

    assert code == "PERMISSION_DENIED"
    assert "give a policy of this role read on secret/data/somebody/else" in said


async def test_login_refused(world: World) -> None:
    """A role that does not bind the pod's service account is PERMISSION_DENIED, by role and account."""
    await world.servers.openbao.kubernetes_role(
        f"{world.namespace}-theirs", accounts=["other"], namespaces=[world.namespace], policies=[], audience="vault"
    )
    await world.vault_class("bad", roleName=f"{world.namespace}-theirs")
    code, said = await attempt(world)

    assert code == "PERMISSION_DENIED"
    assert f'role "{world.namespace}-theirs" (service account {world.namespace}/app)' in said


async def test_unknown_role(world: World) -> None:
    """A role that Vault does not know is named."""
    await world.vault_class("bad", roleName="nobody")
    code, said = await attempt(world)

    assert code in {"PERMISSION_DENIED", "INVALID_ARGUMENT"}
    assert 'role "nobody"' in said


async def test_unknown_auth_mount(world: World) -> None:
    """A login path that is not there is named."""
    await world.vault_class("bad", vaultAuthMountPath="elsewhere")
    code, said = await attempt(world)

    assert code in {"PERMISSION_DENIED", "INVALID_ARGUMENT"}
    assert "auth/elsewhere/login" in said


async def test_nothing_listens(world: World) -> None:
    """A backend that is not there is UNAVAILABLE, by address; kubelet asks again."""
    address = f"http://127.0.0.1:{free_port()}"
    await world.vault_class("bad", vaultAddress=address)
    code, said = await attempt(world, seconds=3.5)

    assert code == "UNAVAILABLE"
    assert address in said


async def test_backend_goes_and_comes(world: World) -> None:
    """A backend that drops connections is UNAVAILABLE; once it is back, the same volume mounts."""
    async with counting_proxy(world.servers.openbao.address) as proxy:
        await world.vault_class("bad", vaultAddress=proxy.url)
        pod = await world.pod("bad")
        proxy.drop()
        code, said = await world.refused(world.kubelet.publish(pod, "bad", seconds=3.5), pod)

        assert code == "UNAVAILABLE"
        assert proxy.url in said
        proxy.restore()
        target = await world.kubelet.publish(pod, "bad")
        assert (target / "password").read_text() == "tiger"


async def test_short_outage(world: World) -> None:
    """An outage of one call is made up for before kubelet hears of it."""
    async with counting_proxy(world.servers.openbao.address) as proxy:
        await world.vault_class("bad", vaultAddress=proxy.url)
        proxy.fail(status=500, match=READ, times=1)

        await mounts_again(world)


async def test_slow_backend(world: World) -> None:
    """A backend that outlasts the deadline is UNAVAILABLE, by name, before kubelet stops listening."""
    async with counting_proxy(world.servers.openbao.address) as proxy:
        await world.vault_class("bad", vaultAddress=proxy.url)
        with proxy.held():
            code, said = await attempt(world, seconds=3.0)

        assert code == "UNAVAILABLE"
        assert "vault has not answered in time" in said


async def test_silent_backend(world: World) -> None:
    """A backend that takes calls and never answers is given up call by call."""
    async with counting_proxy(world.servers.openbao.address) as proxy:
        await world.vault_class("bad", vaultAddress=proxy.url)
        with proxy.held():
            code, said = await attempt(world, seconds=5.5)

        assert code == "UNAVAILABLE"
        assert proxy.url in said


async def test_throttled(world: World) -> None:
    """A 429 is RESOURCE_EXHAUSTED at once, and while Retry-After runs the backend is left alone."""
    async with counting_proxy(world.servers.openbao.address) as proxy:
        await world.vault_class("bad", vaultAddress=proxy.url)
        proxy.fail(status=429, headers={"Retry-After": "5"}, body='{"errors": []}', match=READ)
        first, second = await attempt(world), await attempt(world)

        assert (first[0], second[0]) == ("RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED")
        assert "Vault asks for fewer calls" in first[1]
        assert "vault is left alone" in second[1]
        assert proxy.count(READ) == 1
        proxy.restore()
        await asyncio.sleep(5)
        await mounts_again(world)


async def test_storm_on_a_failing_backend(world: World) -> None:
    """Twenty pods at once make no more calls on a failing backend than one."""
    async with counting_proxy(world.servers.openbao.address) as proxy:
        await world.vault_class("bad", vaultAddress=proxy.url)
        proxy.fail(status=429, headers={"Retry-After": "30"}, body='{"errors": []}', match=READ)
        proxy.delay(0.5, match=READ)
        outcomes = await asyncio.gather(*(attempt(world) for _ in range(20)))

        assert {code for code, _ in outcomes} == {"RESOURCE_EXHAUSTED"}
        assert proxy.count(READ) <= 4


async def test_too_much(world: World) -> None:
    """A class that adds up to more than 4 MiB is refused by its size and its largest object."""
    blob = base64.b64encode(b"\x01" * 700_000).decode()
    for number in range(5):
        await world.secret(f"blob{number}", blob=blob)
    await world.vault_class("bad", *(f"blob{number}=blob{number}:blob" for number in range(5)))
    code, said = await attempt(world)

    assert code == "FAILED_PRECONDITION"
    assert f"add up to {5 * len(blob)} bytes, 4194304 are the limit" in said
    assert "split the class" in said


async def test_almost_too_much(world: World) -> None:
    """Just under 4 MiB is mounted, byte for byte."""
    blob = base64.b64encode(bytes(range(256)) * 2700).decode()
    for number in range(4):
        await world.secret(f"blob{number}", blob=blob)
    await world.vault_class("large", *(f"blob{number}=blob{number}:blob" for number in range(4)))
    target = await world.kubelet.publish(await world.pod("large"), "large")

    assert [(target / f"blob{number}").read_text() for number in range(4)] == [blob] * 4


async def test_foreign_server(world: World) -> None:
    """An address where something else than Vault answers is UNAVAILABLE and asks whether it is Vault's."""
    async with counting_proxy(world.servers.openbao.address) as proxy:
        await world.vault_class("bad", vaultAddress=proxy.url)
        proxy.fail(status=200, body="<html>welcome</html>")
        code, said = await attempt(world, seconds=3.5)

    assert code == "UNAVAILABLE"
    assert "is this Vault's address" in said


@pytest.mark.parametrize("step", ["auth/kubernetes/login", "secret/data"])
async def test_five_failures_then_success(world: World, step: str) -> None:
    """However often a step of a mount fails, no try is OK before the content is in place (cert-manager csi #636)."""
    async with counting_proxy(world.servers.openbao.address) as proxy:
        await world.vault_class("flaky", vaultAddress=proxy.url)
        pod = await world.pod("flaky")
        for _ in range(5):
            proxy.fail(status=403, body='{"errors": []}', match=step)
            code, _ = await world.refused(world.kubelet.publish(pod, "flaky"), pod)
            assert code == "PERMISSION_DENIED"
            proxy.restore()
        target = await world.kubelet.publish(pod, "flaky")

        assert (target / "password").read_text() == "tiger"


async def test_retry_joins(world: World) -> None:
    """Kubelet's retry while the first try is in the air joins it: one backend call, both OK."""
    async with counting_proxy(world.servers.openbao.address) as proxy:
        await world.vault_class("slow", vaultAddress=proxy.url)
        pod = await world.pod("slow")
        with proxy.held(READ):
            first = asyncio.create_task(world.kubelet.publish(pod, "slow"))
            await proxy.arrived(1, READ)
            second = asyncio.create_task(world.kubelet.publish(pod, "slow"))
            await asyncio.wait({second}, timeout=0.3)
        targets = [await first, await second]

        assert [(target / "password").read_text() for target in targets] == ["tiger", "tiger"]
        assert proxy.count(READ) == 1


async def test_retry_with_other_arguments(world: World) -> None:
    """A call for the same volume with other arguments is ABORTED while the first one is in the air."""
    async with counting_proxy(world.servers.openbao.address) as proxy:
        await world.vault_class("slow", vaultAddress=proxy.url)
        pod = await world.pod("slow")
        with proxy.held(READ):
            first = asyncio.create_task(world.kubelet.publish(pod, "slow"))
            await proxy.arrived(1, READ)
            code, said = await world.refused(world.kubelet.publish(pod, "secrets"), pod)
        await first

        assert code == "ABORTED"
        assert "being published with other arguments" in said


async def test_unpublish_during_a_publish(world: World) -> None:
    """Unpublishing a volume that is on its way ends the publish as ABORTED and leaves nothing, also later."""
    async with counting_proxy(world.servers.openbao.address) as proxy:
        await world.vault_class("slow", vaultAddress=proxy.url)
        pod = await world.pod("slow")
        with proxy.held(READ):
            publish = asyncio.create_task(world.kubelet.publish(pod, "slow"))
            await proxy.arrived(1, READ)
            await world.kubelet.unpublish(pod)
            code, said = await world.refused(publish, pod)
        await mounts_again(world, "slow")  # the reply has come and gone meanwhile

        assert code == "ABORTED"
        assert "was unpublished while it was being published" in said
        assert world.left(pod) == []
