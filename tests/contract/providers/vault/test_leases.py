"""Leased credentials on real servers: OpenBao makes users of a Valkey, keeps them while asked to, and removes them."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
import redis.asyncio
from cryptography.x509 import load_pem_x509_certificate

from fetcher.provider import Answer, Lease, Secret
from fetcher.providers.vault import Vault, open_provider
from keyferry.errors import AccessDenied, SecretNotFound
from keyferry.testing.valkey import PASSWORD, Valkey

if TYPE_CHECKING:
    from tests.contract.providers.vault.conftest import Tenant

_LOOKS = 200


def user(path: str, name: str = "user") -> dict[str, Any]:
    return {"objectName": name, "secretPath": path, "secretKey": "username"}


def password(path: str) -> dict[str, Any]:
    return {"objectName": "password", "secretPath": path, "secretKey": "password"}


def leased(answer: Answer) -> Lease:
    assert answer.lease is not None
    return answer.lease


def deadline() -> float:
    return time.time() + 30


async def whoami(valkey: Valkey, answer: Answer) -> str:
    """Log in to the Valkey with the first two files, a user and a password."""
    name, secret = answer[0].contents.decode(), answer[1].contents.decode()
    async with redis.asyncio.Redis(port=valkey.port, username=name, password=secret) as client:
        return str(await client.acl_whoami())


async def removed(valkey: Valkey, answer: Answer) -> bool:
    """Whether the Valkey soon no longer knows the user in the first file."""
    name = answer[0].contents.decode()
    async with redis.asyncio.Redis(port=valkey.port, password=PASSWORD) as client:
        return await soon(client.acl_users, lambda users: name not in users)


async def nothing_left(tenant: Tenant, path: str) -> bool:
    """Whether soon no lease below the path is alive."""
    return await soon(lambda: tenant.bao.leases(path), lambda leases: not leases)


async def soon(look: Callable[[], Awaitable[Any]], is_right: Callable[[Any], bool]) -> bool:
    """Look until it is right, but not for ever: OpenBao revokes leases in the background."""
    for _ in range(_LOOKS):
        if is_right(await look()):
            return True
        await asyncio.sleep(0.05)
    return False


def due(answer: Answer) -> Lease:
    """The lease, with its renewal due."""
    return dataclasses.replace(leased(answer), renew_at=time.time())


async def seconds_left(tenant: Tenant, lease_id: str) -> int:
    found = await tenant.bao.write("sys/leases/lookup", {"lease_id": lease_id})
    return int(found["data"]["ttl"])


async def test_an_answer_says_how_long_its_credentials_last(vault: Vault, tenant: Tenant, valkey: Valkey) -> None:
    """The shortest life counts; renewal is due before two thirds of it, and never at the same moment for all."""
    path = await tenant.database(valkey, default_ttl="100s", max_ttl="1h")
    began = time.time()

    leases = [leased(await vault.fetch(tenant.asks(user(path)))) for _ in range(5)]

    ended = time.time()
    assert all(began + 100 <= lease.expires_at <= ended + 100 for lease in leases)
    assert all(began + 54 <= lease.renew_at <= ended + 66 for lease in leases)
    assert len({lease.renew_at - lease.expires_at for lease in leases}) == 5


async def test_the_tokens_end_is_the_credentials_end(vault: Vault, tenants: Callable[..., Any], valkey: Valkey) -> None:
    """Vault takes them away together."""
    tenant: Tenant = await tenants(token_ttl="60s")
    path = await tenant.database(valkey)
    began = time.time()

    lease = leased(await vault.fetch(tenant.asks(user(path))))

    assert began + 60 - 1 <= lease.expires_at <= time.time() + 60


async def test_static_secrets_have_no_lease_and_share_their_token(vault: Vault, tenant: Tenant) -> None:
    """Nothing is to be renewed, and nothing is logged in for."""
    await tenant.put("app", password="horse")

    answers = [await vault.fetch(tenant.asks(password(tenant.path("app")))) for _ in range(3)]

    assert [answer.lease for answer in answers] == [None, None, None]
    assert tenant.logins() == 1


async def test_static_and_leased_objects_of_a_class_come_together(vault: Vault, tenant: Tenant, valkey: Valkey) -> None:
    """One lease, the files in order, one call for both parts of the credentials."""
    path = await tenant.database(valkey)
    await tenant.put("app", password="horse")

    answer = await vault.fetch(
        tenant.asks(user(path), password(path), {**password(tenant.path("app")), "objectName": "static"})
    )

    assert leased(answer)
    assert await whoami(valkey, answer) == answer[0].contents.decode()
    assert answer[2].contents == b"horse"
    assert tenant.bao.count_requests(path) == 1
    assert tenant.logins() == 1


async def test_static_objects_are_read_beside_a_lease_that_lives(vault: Vault, tenant: Tenant, valkey: Valkey) -> None:
    """What the lease made is handed back as it was; the rest is read with the token that fetches share."""
    path = await tenant.database(valkey)
    await tenant.put("app", password="horse")
    asks = tenant.asks(user(path), {**password(tenant.path("app")), "objectName": "static"}, password(path))
    first = await vault.fetch(asks)
    await tenant.put("app", password="donkey")

    second = await vault.fetch(dataclasses.replace(asks, held=held(first)))

    assert [file.is_leased for file in first] == [True, False, True] == [file.is_leased for file in second]
    assert second.lease is None
    assert [second[0], second[2]] == [first[0], first[2]]
    assert second[1].contents == b"donkey"
    assert (tenant.bao.count_requests(path), len(await tenant.bao.leases(path))) == (1, 1)
    assert tenant.logins() == 2
    await vault.fetch(dataclasses.replace(asks, held=held(second)))
    assert tenant.logins() == 2
    assert await whoami(valkey, Answer((first[0], first[2]))) == first[0].contents.decode()


async def test_a_path_that_begins_to_give_leases_has_all_made_anew(
    vault: Vault, tenant: Tenant, valkey: Valkey
) -> None:
    """A content has one lease: nothing of the other's is handed out beside it."""
    path = await tenant.database(valkey)
    asks = tenant.asks(user(path), {**password(path), "objectName": "static"})
    first = await vault.fetch(asks)
    half = {"user": held(first)["user"]}

    second = await vault.fetch(dataclasses.replace(asks, held=half))

    assert leased(second)
    assert second[0].contents != first[0].contents
    assert await whoami(valkey, second) == second[0].contents.decode()
    for answer in (first, second):
        await vault.revoke(leased(answer), deadline())
    assert await nothing_left(tenant, path)


def held(answer: Answer) -> dict[str, tuple[Secret, ...]]:
    """As the coalescer has it: here, each object is one file."""
    return {file.object_id: (file,) for file in answer}


async def test_renewal_gives_the_first_duration_again(vault: Vault, tenant: Tenant, valkey: Valkey) -> None:
    """The same credentials live on, and so does the token."""
    path = await tenant.database(valkey, default_ttl="1h", max_ttl="3h")
    answer = await vault.fetch(tenant.asks(user(path), password(path)))
    (lease_id,) = await tenant.bao.leases(path)
    await tenant.bao.write("sys/leases/renew", {"lease_id": lease_id, "increment": 100})
    before = await seconds_left(tenant, lease_id)

    renewed = await vault.renew(leased(answer), deadline())

    assert renewed is not None
    assert before <= 100
    assert await seconds_left(tenant, lease_id) > 3500
    assert renewed.expires_at >= leased(answer).expires_at
    assert await whoami(valkey, answer) == answer[0].contents.decode()
    assert await tenant.bao.leases(path) == [lease_id]
    assert tenant.logins() == 1


async def test_credentials_outlive_their_first_duration_when_renewed(
    vault: Vault, tenant: Tenant, valkey: Valkey
) -> None:
    """In real time: renewed whenever it is due, they work after twice the first duration."""
    path = await tenant.database(valkey, default_ttl="3s", max_ttl="1h")
    answer = await vault.fetch(tenant.asks(user(path), password(path)))
    lease: Lease | None = leased(answer)
    ends = leased(answer).expires_at + 3

    while lease and time.time() < ends:
        await asyncio.sleep(max(0.0, lease.renew_at - time.time()))
        lease = await vault.renew(lease, deadline())

    assert lease is not None
    assert await whoami(valkey, answer) == answer[0].contents.decode()


async def test_renewal_ends_where_the_maximum_is_reached(vault: Vault, tenant: Tenant, valkey: Valkey) -> None:
    """No time is gained: new credentials are due, while the old ones still work."""
    path = await tenant.database(valkey, default_ttl="6s", max_ttl="6s")
    answer = await vault.fetch(tenant.asks(user(path), password(path)))
    await asyncio.sleep(leased(answer).renew_at - time.time())

    assert await vault.renew(leased(answer), deadline()) is None
    assert await whoami(valkey, answer) == answer[0].contents.decode()


async def test_revoking_removes_the_user(vault: Vault, tenant: Tenant, valkey: Valkey) -> None:
    """Its being gone already is success; there is nothing to renew then."""
    path = await tenant.database(valkey)
    answer = await vault.fetch(tenant.asks(user(path), password(path)))

    await vault.revoke(leased(answer), deadline())

    assert await removed(valkey, answer)
    assert await tenant.bao.leases(path) == []
    assert await vault.renew(leased(answer), deadline()) is None
    await vault.revoke(leased(answer), deadline())


async def test_a_lease_that_somebody_revoked_is_not_renewed(vault: Vault, tenant: Tenant, valkey: Valkey) -> None:
    """The operator's hand on the credentials: they are made anew."""
    path = await tenant.database(valkey)
    answer = await vault.fetch(tenant.asks(user(path)))
    (lease_id,) = await tenant.bao.leases(path)
    await tenant.bao.write("sys/leases/revoke", {"lease_id": lease_id, "sync": True})

    assert await vault.renew(leased(answer), deadline()) is None


async def test_another_fetcher_renews_and_revokes(vault: Vault, tenant: Tenant, valkey: Valkey) -> None:
    """All that is needed is in the lease."""
    path = await tenant.database(valkey)
    answer = await vault.fetch(tenant.asks(user(path)))
    other = await open_provider({})

    renewed = await other.renew(leased(answer), deadline())
    assert renewed is not None
    await other.revoke(renewed, deadline())

    await other.close()
    assert await removed(valkey, answer)
    assert tenant.logins() == 1


async def test_contents_do_not_end_each_others_credentials(vault: Vault, tenant: Tenant, valkey: Valkey) -> None:
    """Two classes of one service account: the end of one leaves the other's user, and static secrets, alone."""
    path = await tenant.database(valkey)
    await tenant.put("app", password="horse")
    await vault.fetch(tenant.asks(password(tenant.path("app"))))
    one = await vault.fetch(tenant.asks(user(path)))
    other = await vault.fetch(tenant.asks(user(path), password(path)))

    await vault.revoke(leased(one), deadline())

    assert await removed(valkey, one)
    assert await whoami(valkey, other) == other[0].contents.decode()
    assert await vault.renew(leased(other), deadline()) is not None
    assert (await vault.fetch(tenant.asks(password(tenant.path("app")))))[0].contents == b"horse"


async def test_first_leases_at_the_same_moment_are_kept_apart(vault: Vault, tenant: Tenant, valkey: Valkey) -> None:
    """Nobody knew that the path gives leases, and the token was shared: it becomes one content's, not both's."""
    path = await tenant.database(valkey)
    await tenant.put("app", password="horse")
    await vault.fetch(tenant.asks(password(tenant.path("app"))))
    asked = [tenant.asks(user(path, f"user{n}"), password(path)) for n in range(4)]
    answers = await asyncio.gather(*map(vault.fetch, asked))

    await vault.revoke(leased(answers[0]), deadline())

    assert await removed(valkey, answers[0])
    assert [await whoami(valkey, answer) for answer in answers[1:]] == [
        answer[0].contents.decode() for answer in answers[1:]
    ]
    assert len({leased(answer).handle for answer in answers}) == 4


@pytest.mark.parametrize("times", [1, 2])
async def test_a_fetch_that_fails_leaves_no_credentials(
    vault: Vault, tenant: Tenant, valkey: Valkey, times: int
) -> None:
    """Another object is missing: what was made for nobody is taken back, the first time as later."""
    path = await tenant.database(valkey)
    for _ in range(times):
        with pytest.raises(SecretNotFound):
            await vault.fetch(tenant.asks(user(path), password(tenant.path("gone"))))

    assert await nothing_left(tenant, path)
    assert tenant.bao.count_requests(path) == times


async def test_a_path_that_gives_leases_no_more_is_shared_again(vault: Vault, tenant: Tenant, valkey: Valkey) -> None:
    """Another engine took its place: the token that was logged in for is given back."""
    path = await tenant.database(valkey)
    mount = path.partition("/")[0]
    await vault.fetch(tenant.asks(user(path)))
    await tenant.bao.call(lambda client: client.sys.disable_secrets_engine(mount))
    await tenant.bao.enable_kv(mount, version=1)
    await tenant.bao.put_v1("creds/web", {"username": "static"}, mount=mount)

    answers = [await vault.fetch(tenant.asks(user(path))) for _ in range(3)]

    await vault.close()
    assert [(answer.lease, answer[0].contents) for answer in answers] == [(None, b"static")] * 3
    assert tenant.logins() == 3
    assert tenant.bao.count_requests("auth/token/revoke-self") >= 1


async def test_a_certificates_lease_is_revoked_but_not_renewed(vault: Vault, tenant: Tenant) -> None:
    """PKI with generate_lease: the token is kept for it as long as it lasts; revoking puts it on the list."""
    mount = f"{tenant.name}-pki"
    await tenant.bao.enable_pki(role="web", domain="example.com", mount=mount)
    await tenant.bao.write(f"{mount}/roles/web", {"allow_any_name": True, "generate_lease": True, "max_ttl": "72h"})
    await tenant.allow(f'path "{mount}/issue/web" {{ capabilities = ["create", "update"] }}')
    issue = {"secretPath": f"{mount}/issue/web", "method": "PUT", "secretArgs": {"common_name": "a.example.com"}}
    answer = await vault.fetch(tenant.asks({"objectName": "crt", "secretKey": "certificate", **issue}))
    serial = f"{load_pem_x509_certificate(answer[0].contents).serial_number:x}"
    serial = ":".join(serial.zfill(len(serial) + len(serial) % 2)[at : at + 2] for at in range(0, len(serial), 2))

    assert await vault.renew(due(answer), deadline()) is None
    await vault.revoke(leased(answer), deadline())

    assert await nothing_left(tenant, f"{mount}/issue/web")
    found = await tenant.bao.call(lambda client: client.read(f"{mount}/cert/{serial}"))
    assert found["data"]["revocation_time"] > 0


async def test_a_certificate_outlives_the_tokens_first_duration(vault: Vault, tenants: Callable[..., Any]) -> None:
    """Only the token has to be renewed for it."""
    tenant: Tenant = await tenants(token_ttl="60s", token_max_ttl="2h")
    mount = f"{tenant.name}-pki"
    await tenant.bao.enable_pki(role="web", domain="example.com", mount=mount)
    await tenant.bao.write(f"{mount}/roles/web", {"allow_any_name": True, "generate_lease": True, "ttl": "1h"})
    await tenant.allow(f'path "{mount}/issue/web" {{ capabilities = ["create", "update"] }}')
    issue = {"secretPath": f"{mount}/issue/web", "method": "PUT", "secretArgs": {"common_name": "a.example.com"}}
    answer = await vault.fetch(tenant.asks({"objectName": "crt", "secretKey": "certificate", **issue}))
    await asyncio.sleep(1.1)

    renewed = await vault.renew(due(answer), deadline())

    assert renewed is not None
    assert renewed.expires_at > leased(answer).expires_at + 1


async def test_a_token_ends_with_its_leases_when_renewing_has_ended(
    vault: Vault, tenant: Tenant, valkey: Valkey
) -> None:
    """Its pods have the time that is left, and no token of weeks stays behind for each pair of credentials."""
    path = await tenant.database(valkey, default_ttl="100s", max_ttl="100s")
    answer = await vault.fetch(tenant.asks(user(path), password(path)))
    token = json.loads(leased(answer).handle)["token"]

    assert await vault.renew(due(answer), deadline()) is None

    found = await tenant.bao.write("auth/token/lookup", {"token": token})
    assert 90 < found["data"]["ttl"] <= 100
    assert await whoami(valkey, answer) == answer[0].contents.decode()


async def test_a_role_without_the_default_policy_is_told_what_it_lacks(
    vault: Vault, tenants: Callable[..., Any], valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    """Its credentials are made anew instead of renewed, and end by themselves."""
    tenant: Tenant = await tenants(token_no_default_policy=True)
    path = await tenant.database(valkey)
    answer = await vault.fetch(tenant.asks(user(path)))

    assert await vault.renew(due(answer), deadline()) is None
    with pytest.raises(AccessDenied, match="grant update on auth/token/revoke-self"):
        await vault.revoke(leased(answer), deadline())

    assert "let its policies grant update on auth/token/renew-self" in caplog.text
    assert "let its policies grant update on sys/leases/renew" in caplog.text


async def test_batch_tokens_are_not_renewed_and_their_leases_are_revoked_one_by_one(
    vault: Vault, tenants: Callable[..., Any], valkey: Valkey
) -> None:
    """Their leases are, up to the token's end; and to revoke, the role needs a policy."""
    tenant: Tenant = await tenants(token_type="batch", token_ttl="10m")
    rules = 'path "sys/leases/revoke" { capabilities = ["update"] }'
    path = await tenant.database(valkey, rules, default_ttl="5m", max_ttl="1h")
    answer = await vault.fetch(tenant.asks(user(path)))

    renewed = await vault.renew(leased(answer), deadline())
    assert renewed is not None
    await vault.revoke(renewed, deadline())

    assert await removed(valkey, answer)
    await vault.revoke(renewed, deadline())


async def test_a_batch_token_that_may_not_revoke_says_so(
    vault: Vault, tenants: Callable[..., Any], valkey: Valkey
) -> None:
    """The credentials end with their lease."""
    tenant: Tenant = await tenants(token_type="batch", token_ttl="10m")
    path = await tenant.database(valkey)
    answer = await vault.fetch(tenant.asks(user(path)))

    with pytest.raises(AccessDenied, match="grant update on sys/leases/revoke"):
        await vault.revoke(leased(answer), deadline())
