import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import pytest

from fetcher.provider import ProviderRequest, Secret
from fetcher.providers.aws.fetch import Aws as Provider
from keyferry.errors import AccessDenied, ProviderUnavailable, RateLimited, SecretNotFound
from keyferry.testing.aws import Aws
from keyferry.testing.proxy import CountingProxy

DESCRIBE = "DescribeSecret"
GET = ".GetSecretValue"


def secret(name: str, **fields: object) -> dict[str, object]:
    return {"objectName": name, "objectType": "secretsmanager", **fields}


async def held(provider: Provider, request: ProviderRequest) -> ProviderRequest:
    """The same request again, as a refresh of what it yields now."""
    found: dict[str, tuple[Secret, ...]] = {}
    for each in await provider.fetch(request):
        found[each.object_id] = (*found.get(each.object_id, ()), each)
    return replace(request, held=found)


async def test_a_secret_that_is_unchanged_moves_no_value(
    provider: Provider, account: Any, strict_aws: Aws, proxy: CountingProxy
) -> None:
    """All files of the object are handed back as they were held, for one call that decrypts nothing."""
    await strict_aws.create_secret(account.name("db"), '{"user": "ann"}')
    parts = [{"path": "user", "objectAlias": "user"}]
    request = await held(provider, account.request(secret(account.name("db"), objectAlias="db", jmesPath=parts)))

    answer = await provider.fetch(request)

    assert {each.path: each.contents for each in answer} == {"db": b'{"user": "ann"}', "user": b"ann"}
    assert answer.secrets == request.held["db"]
    assert (proxy.count(DESCRIBE), proxy.count(GET)) == (1, 1)


async def test_a_secret_that_has_changed_is_read(provider: Provider, account: Any, strict_aws: Aws) -> None:
    """Another version is current: its value is read."""
    await strict_aws.create_secret(account.name("db"), "one")
    request = await held(provider, account.request(secret(account.name("db"))))
    version = await strict_aws.put_secret(account.name("db"), "two")

    (found,) = await provider.fetch(request)

    assert (found.contents, found.version) == (b"two", version)


async def test_a_label_is_followed_by_its_version(
    provider: Provider, account: Any, strict_aws: Aws, proxy: CountingProxy
) -> None:
    """What counts is the version that has the wanted label now, whatever other labels the held one has."""
    name = account.name("db")
    await strict_aws.create_secret(name, "one")
    await strict_aws.put_secret(name, "two")
    entry = secret(name, objectVersionLabel="AWSPREVIOUS")
    request = await held(provider, account.request(entry))

    (same,) = await provider.fetch(request)
    await strict_aws.put_secret(name, "three")
    (moved,) = await provider.fetch(request)

    assert (same.contents, moved.contents) == (b"one", b"two")
    assert (proxy.count(DESCRIBE), proxy.count(GET)) == (2, 2)


@pytest.mark.parametrize("label", [{}, {"objectVersionLabel": "AWSCURRENT"}])
async def test_a_pinned_version_is_still_asked_for(
    provider: Provider, account: Any, strict_aws: Aws, proxy: CountingProxy, label: dict[str, str]
) -> None:
    """A version never changes, but the right to it can end: each refresh makes one call."""
    name = account.name("db")
    await strict_aws.create_secret(name, "one")
    version = await strict_aws.put_secret(name, "two")
    request = await held(provider, account.request(secret(name, objectVersion=version, **label)))

    (found,) = await provider.fetch(request)
    proxy.fail(status=400, body='{"__type": "AccessDeniedException"}')
    with pytest.raises(AccessDenied):
        await provider.fetch(request)

    assert found.contents == b"two"
    assert proxy.count(GET) == 2


async def test_another_version_than_the_pinned_one_is_not_taken_for_it(
    provider: Provider, account: Any, strict_aws: Aws
) -> None:
    """Whatever is held, the class's own word decides."""
    name = account.name("db")
    await strict_aws.create_secret(name, "one")
    second = await strict_aws.put_secret(name, "two")
    current = await held(provider, account.request(secret(name, objectAlias="db")))
    pinned = account.request(secret(name, objectAlias="db", objectVersionLabel="AWSPREVIOUS"))
    first = (await provider.fetch(pinned))[0].version

    (found,) = await provider.fetch(
        replace(account.request(secret(name, objectAlias="db", objectVersion=first)), held=current.held)
    )

    assert (found.contents, current.held["db"][0].version) == (b"one", second)


async def test_a_batch_stays_a_batch(provider: Provider, account: Any, strict_aws: Aws, proxy: CountingProxy) -> None:
    """Asking twenty secrets for their versions one by one would cost more than reading them at once."""
    for name in ("a", "b"):
        await strict_aws.create_secret(account.name(name), name)
    request = await held(provider, account.request(secret(account.name("a")), secret(account.name("b"))))

    await provider.fetch(request)

    assert (proxy.count("BatchGetSecretValue"), proxy.count(DESCRIBE), proxy.count(GET)) == (2, 0, 0)


async def test_what_a_batch_did_not_yield_is_read_at_once(
    provider: Provider, account: Any, strict_aws: Aws, proxy: CountingProxy
) -> None:
    """AWS has just said that something is wrong with it: its version is of no interest."""
    for name in ("a", "b"):
        await strict_aws.create_secret(account.name(name), name)
    request = await held(provider, account.request(secret(account.name("a")), secret(account.name("b"))))
    await strict_aws.call("secretsmanager", lambda client: client.delete_secret(SecretId=account.name("b")))

    with pytest.raises(SecretNotFound, match=account.name("b")):
        await provider.fetch(request)

    assert (proxy.count(DESCRIBE), proxy.count(GET)) == (0, 1)


async def test_where_batching_is_denied_versions_are_asked_for(
    provider: Provider, make_account: Callable[..., Awaitable[Any]], strict_aws: Aws, proxy: CountingProxy
) -> None:
    """Then secrets are read one by one, and a question for a version costs no more than a value."""
    account = await make_account(actions=["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"])
    for name in ("a", "b"):
        await strict_aws.create_secret(account.name(name), name)
    request = await held(provider, account.request(secret(account.name("a")), secret(account.name("b"))))

    answer = await provider.fetch(request)

    assert [each.contents for each in answer] == [b"a", b"b"]
    assert (proxy.count(DESCRIBE), proxy.count(GET)) == (2, 2)


async def test_a_role_that_may_not_describe_reads_and_is_not_asked_again(
    provider: Provider, make_account: Callable[..., Awaitable[Any]], strict_aws: Aws, proxy: CountingProxy
) -> None:
    """Policies written for the existing provider may allow GetSecretValue alone; they must do."""
    account = await make_account(actions=["secretsmanager:GetSecretValue"])
    await strict_aws.create_secret(account.name("db"), "value")
    request = await held(provider, account.request(secret(account.name("db"))))

    for _ in range(2):
        assert [each.contents for each in await provider.fetch(request)] == [b"value"]

    assert (proxy.count(DESCRIBE), proxy.count(GET)) == (1, 3)


async def test_a_secret_marked_for_deletion_is_not_taken_for_unchanged(
    provider: Provider, account: Any, strict_aws: Aws
) -> None:
    """It can still be described, but not read: the owner must hear of it while it can be restored."""
    name = account.name("db")
    await strict_aws.create_secret(name, "value")
    request = await held(provider, account.request(secret(name)))
    await strict_aws.call("secretsmanager", lambda client: client.delete_secret(SecretId=name))

    with pytest.raises(SecretNotFound, match="marked for deletion"):
        await provider.fetch(request)


async def test_one_secret_for_two_objects_is_unchanged_for_both_or_read(
    provider: Provider, account: Any, strict_aws: Aws, proxy: CountingProxy
) -> None:
    """It is asked for once; where one of the objects is not held, its value is needed."""
    await strict_aws.create_secret(account.name("db"), "value")
    entries = [secret(account.name("db"), objectAlias=alias) for alias in ("a", "b")]
    request = await held(provider, account.request(*entries))

    both = await provider.fetch(request)
    calls = proxy.count(DESCRIBE), proxy.count(GET)
    one = await provider.fetch(replace(request, held={"a": request.held["a"]}))

    assert [each.path for each in both] == [each.path for each in one] == ["a", "b"]
    assert calls == (1, 1)
    assert (proxy.count(DESCRIBE), proxy.count(GET)) == (1, 2)


async def test_objects_that_share_an_id_are_read(
    provider: Provider, account: Any, strict_aws: Aws, proxy: CountingProxy
) -> None:
    """Two labels of one name without aliases make one file; what is held of it may be either."""
    name = account.name("db")
    await strict_aws.create_secret(name, "one")
    await strict_aws.put_secret(name, "two")
    entries = [secret(name, objectVersionLabel=label) for label in ("AWSPREVIOUS", "AWSCURRENT")]
    request = await held(provider, account.request(*entries))

    (found,) = await provider.fetch(request)

    assert (found.contents, proxy.count(DESCRIBE)) == (b"two", 0)


async def test_an_optional_secret_that_appears_is_read(provider: Provider, account: Any, strict_aws: Aws) -> None:
    """Of what was left out nothing is held, and what vanishes is left out although it is held."""
    name = account.name("db")
    entry = secret(name, objectAlias="db", optional=True)
    empty = await held(provider, account.request(entry))
    await strict_aws.create_secret(name, "value")

    appeared = await held(provider, empty)
    await strict_aws.call(
        "secretsmanager", lambda client: client.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
    )
    vanished = await provider.fetch(appeared)

    assert [each.contents for each in appeared.held["db"]] == [b"value"]
    assert (len(vanished), vanished.left_out) == (0, ("db",))


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"VersionIdsToStages": None},
        {"VersionIdsToStages": {"other": ["AWSCURRENT"]}},
        {"VersionIdsToStages": {"": ["AWSCURRENT"]}},
    ],
)
async def test_a_description_that_does_not_confirm_leads_to_a_read(
    provider: Provider, account: Any, strict_aws: Aws, proxy: CountingProxy, answer: dict[str, object]
) -> None:
    """Only the held version beside the wanted label counts."""
    await strict_aws.create_secret(account.name("db"), "value")
    request = await held(provider, account.request(secret(account.name("db"))))
    proxy.fail(status=200, body=json.dumps(answer), match=DESCRIBE)

    await provider.fetch(request)

    assert proxy.count(GET) == 2


async def test_a_throttled_description_is_no_reason_to_ask_for_more(
    opened: Callable[..., AbstractAsyncContextManager[Provider]], account: Any, strict_aws: Aws, proxy: CountingProxy
) -> None:
    """AWS's word on when to come back is passed on, and no value is asked for instead."""
    await strict_aws.create_secret(account.name("db"), "value")
    async with opened(KEYFERRY_AWS_ATTEMPTS="1") as provider:
        request = await held(provider, account.request(secret(account.name("db"))))
        proxy.fail(status=400, body='{"__type": "ThrottlingException"}', headers={"Retry-After": "17"}, match=DESCRIBE)
        with pytest.raises(RateLimited, match="describing secret") as refused:
            await provider.fetch(request)

    assert (refused.value.retry_after, proxy.count(GET)) == (17, 1)


async def test_a_description_is_not_awaited_beyond_the_deadline(
    provider: Provider, account: Any, strict_aws: Aws, proxy: CountingProxy
) -> None:
    """It shares the time of the fetch."""
    await strict_aws.create_secret(account.name("db"), "value")
    request = account.request(secret(account.name("db")), seconds=3.0)
    with proxy.held(DESCRIBE), pytest.raises(ProviderUnavailable, match="no answer in time"):
        await provider.fetch(await held(provider, request))
