import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from fetcher.provider import Provider, Secret
from keyferry.errors import AccessDenied, InvalidSecretProviderClass, SecretNotFound
from keyferry.testing.aws import Aws
from keyferry.testing.proxy import CountingProxy


def secret(name: str, **fields: object) -> dict[str, object]:
    return {"objectName": name, "objectType": "secretsmanager", **fields}


def contents(secrets: Sequence[Secret]) -> dict[str, bytes]:
    return {each.path: each.contents for each in secrets}


async def test_a_secret_is_read_by_name(provider: Provider, account: Any, strict_aws: Aws) -> None:
    """The file carries the current value, the name with its slash translated, and AWS's version id."""
    await strict_aws.create_secret(account.name("db"), "old")
    version = await strict_aws.put_secret(account.name("db"), "new")

    (found,) = await provider.fetch(account.request(secret(account.name("db"))))

    file = f"{account.pod.namespace}_db"
    source = f"secretsmanager/{account.name('db')}"
    assert found == Secret(path=file, contents=b"new", object_id=file, version=version, source=source)
    assert b"new" not in repr(found).encode()


async def test_a_secret_is_read_by_arn_with_and_without_type(provider: Provider, account: Any, strict_aws: Aws) -> None:
    """A full ARN, or one without the suffix that AWS appends, names the same secret."""
    arn = await strict_aws.create_secret(account.name("db"), "value")

    found = await provider.fetch(
        account.request(
            {"objectName": arn, "objectAlias": "full"},
            secret(arn[:-7], objectAlias="partial"),
            secret(account.name("db"), objectAlias="name"),
        )
    )

    assert contents(found) == {"full": b"value", "partial": b"value", "name": b"value"}


async def test_a_secret_is_read_at_a_version_and_at_a_label(provider: Provider, account: Any, strict_aws: Aws) -> None:
    """Each of a secret's versions can stand beside the others under an alias of its own."""
    name = account.name("db")
    await strict_aws.create_secret(name, "one")
    second = await strict_aws.put_secret(name, "two")
    third = await strict_aws.put_secret(name, "three")

    found = await provider.fetch(
        account.request(
            secret(name, objectAlias="current"),
            secret(name, objectAlias="label", objectVersionLabel="AWSPREVIOUS"),
            secret(name, objectAlias="version", objectVersion=second),
            secret(name, objectAlias="both", objectVersion=third, objectVersionLabel="AWSCURRENT"),
        )
    )

    assert contents(found) == {"current": b"three", "label": b"two", "version": b"two", "both": b"three"}
    assert [each.version for each in found] == [third, second, second, third]


async def test_a_binary_secret_is_written_byte_for_byte(provider: Provider, account: Any, strict_aws: Aws) -> None:
    """SecretBinary is no text and must not become one."""
    await strict_aws.create_secret(account.name("key"), bytes(range(256)))

    (found,) = await provider.fetch(account.request(secret(account.name("key"), objectAlias="key")))

    assert found.contents == bytes(range(256))


async def test_parts_of_a_json_secret_become_files(provider: Provider, account: Any, strict_aws: Aws) -> None:
    """The whole secret and each part are written, with their permissions."""
    value = json.dumps({"username": "ann", "pass-word": "s3cret"})
    arn = await strict_aws.create_secret(account.name("db"), value)
    parts = [
        {"path": "username", "objectAlias": "user"},
        {"path": '"pass-word"', "objectAlias": "password", "filePermission": "0400"},
    ]

    found = await provider.fetch(account.request(secret(arn, filePermission="0440", jmesPath=parts, objectAlias="db")))

    assert [(each.path, each.contents, each.mode) for each in found] == [
        ("db", value.encode(), 0o440),
        ("user", b"ann", 0o440),
        ("password", b"s3cret", 0o400),
    ]
    assert {each.object_id for each in found} == {"db"}


@pytest.mark.parametrize(
    ("translation", "prefix"), [("False", "{}/nested/db"), ("-", "{}-nested-db"), ("", "{}_nested_db")]
)
async def test_slashes_become_what_the_class_says(
    provider: Provider, account: Any, strict_aws: Aws, translation: str, prefix: str
) -> None:
    """A path can be kept or flattened."""
    await strict_aws.create_secret(account.name("nested/db"), "value")

    (found,) = await provider.fetch(account.request(secret(account.name("nested/db")), pathTranslation=translation))

    assert found.path == prefix.format(account.pod.namespace)


async def test_twenty_five_secrets_cost_two_calls(
    provider: Provider, account: Any, strict_aws: Aws, proxy: CountingProxy
) -> None:
    """Plain secrets are read twenty at a time, each with its own value."""
    names = [account.name(f"s{i}") for i in range(25)]
    for name in names:
        await strict_aws.create_secret(name, f"value of {name}")

    found = await provider.fetch(account.request(*map(secret, names)))

    assert [each.contents.decode() for each in found] == [f"value of {name}" for name in names]
    assert (proxy.count("BatchGetSecretValue"), proxy.count(".GetSecretValue")) == (2, 0)


async def test_one_secret_is_read_by_itself(
    provider: Provider, account: Any, strict_aws: Aws, proxy: CountingProxy
) -> None:
    """A batch of one would save nothing and need one more permission."""
    await strict_aws.create_secret(account.name("db"), "value")

    await provider.fetch(account.request(secret(account.name("db")), secret(account.name("db"), objectAlias="again")))

    assert (proxy.count("BatchGetSecretValue"), proxy.count(".GetSecretValue")) == (0, 1)


async def test_a_role_that_may_not_batch_reads_one_by_one_and_is_not_asked_again(
    provider: Provider, make_account: Callable[..., Awaitable[Any]], strict_aws: Aws, proxy: CountingProxy
) -> None:
    """Policies written for the existing provider allow GetSecretValue alone; they must do."""
    account = await make_account(actions=["secretsmanager:GetSecretValue"])
    for name in ("a", "b"):
        await strict_aws.create_secret(account.name(name), name)
    request = account.request(secret(account.name("a")), secret(account.name("b")))

    assert [each.contents for each in await provider.fetch(request)] == [b"a", b"b"]
    assert [each.contents for each in await provider.fetch(request)] == [b"a", b"b"]

    assert (proxy.count("BatchGetSecretValue"), proxy.count(".GetSecretValue")) == (1, 4)


async def test_all_missing_secrets_are_named_at_once(provider: Provider, account: Any, strict_aws: Aws) -> None:
    """One message names every secret, version and label that is not there."""
    await strict_aws.create_secret(account.name("there"), "value")

    with pytest.raises(SecretNotFound) as refused:
        await provider.fetch(
            account.request(
                secret(account.name("there")),
                secret(account.name("gone-1")),
                secret(account.name("gone-2")),
                secret(account.name("there"), objectAlias="label", objectVersionLabel="NOPE"),
            )
        )

    for part in (account.name("gone-1"), account.name("gone-2"), "label NOPE", strict_aws.region, account.role):
        assert part in refused.value.message


async def test_a_secret_marked_for_deletion_is_not_found_and_says_why(
    provider: Provider, account: Any, strict_aws: Aws
) -> None:
    """Deletion has a recovery window, in which the owner can still help."""
    name = account.name("db")
    await strict_aws.create_secret(name, "value")
    await strict_aws.call("secretsmanager", lambda client: client.delete_secret(SecretId=name))

    with pytest.raises(SecretNotFound, match=f"{name} .*marked for deletion"):
        await provider.fetch(account.request(secret(name)))


async def test_a_secret_that_the_role_may_not_read_is_denied(
    provider: Provider, make_account: Callable[..., Awaitable[Any]], strict_aws: Aws
) -> None:
    """Beside secrets that it may read, the denied one is named, with the role."""
    arns = [await strict_aws.create_secret(f"deny-test/{name}", name) for name in ("mine", "theirs")]
    account = await make_account(resources=[arns[0]])

    with pytest.raises(AccessDenied) as refused:
        await provider.fetch(account.request(secret("deny-test/mine"), secret("deny-test/theirs")))

    assert "deny-test/theirs" in refused.value.message
    assert "deny-test/mine" not in refused.value.message
    assert account.role in refused.value.message


async def test_a_part_that_is_not_there_is_named(provider: Provider, account: Any, strict_aws: Aws) -> None:
    """The message names secret, path and alias, and nothing of the value."""
    await strict_aws.create_secret(account.name("db"), '{"username": "canary-value"}')
    parts = [{"path": "password", "objectAlias": "pw"}]

    with pytest.raises(SecretNotFound, match="password for object alias - pw") as refused:
        await provider.fetch(account.request(secret(account.name("db"), jmesPath=parts)))

    assert "canary-value" not in refused.value.message


async def test_a_broken_class_costs_no_call(provider: Provider, account: Any, proxy: CountingProxy) -> None:
    """All problems of a class are told before AWS is asked for anything."""
    with pytest.raises(InvalidSecretProviderClass, match=r"objects\[0\].objectType .*; objects\[1\].objectName"):
        await provider.fetch(account.request({"objectName": "a"}, {"objectType": "secretsmanager"}))

    assert proxy.calls == []


async def test_where_two_objects_make_one_file_the_later_wins(
    provider: Provider, account: Any, strict_aws: Aws
) -> None:
    """Upstream accepts one name under two labels without aliases, and leaves the last one on disk."""
    name = account.name("db")
    await strict_aws.create_secret(name, "one")
    await strict_aws.put_secret(name, "two")

    (found,) = await provider.fetch(
        account.request(secret(name, objectVersionLabel="AWSCURRENT"), secret(name, objectVersionLabel="AWSPREVIOUS"))
    )

    assert found.contents == b"one"


async def test_what_aws_read_last_is_what_the_next_fetch_reads(
    opened: Callable[..., AbstractAsyncContextManager[Provider]], account: Any, strict_aws: Aws
) -> None:
    """Nothing of a value is kept: after a rotation the next fetch has the new one and another version."""
    name = account.name("db")
    await strict_aws.create_secret(name, "before")
    async with opened() as provider:
        (before,) = await provider.fetch(account.request(secret(name)))
        (again,) = await provider.fetch(account.request(secret(name)))
        await strict_aws.put_secret(name, "after")
        (after,) = await provider.fetch(account.request(secret(name)))

    assert again == before
    assert (after.contents, after.version != before.version) == (b"after", True)


async def test_a_label_that_moves_takes_the_file_along(provider: Provider, account: Any, strict_aws: Aws) -> None:
    """Rolling back by moving AWSCURRENT must reach the pod."""
    name = account.name("db")
    await strict_aws.create_secret(name, "one")
    second = await strict_aws.put_secret(name, "two")
    first = (await provider.fetch(account.request(secret(name, objectVersionLabel="AWSPREVIOUS"))))[0].version
    await strict_aws.call(
        "secretsmanager",
        lambda client: client.update_secret_version_stage(
            SecretId=name, VersionStage="AWSCURRENT", MoveToVersionId=first, RemoveFromVersionId=second
        ),
    )

    (found,) = await provider.fetch(account.request(secret(name)))

    assert (found.contents, found.version) == (b"one", first)
