import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fetcher.providers.aws.fetch import Aws as Provider
from keyferry.errors import AccessDenied, ContentTooLarge, InvalidSecretProviderClass, SecretNotFound
from keyferry.testing.aws import Aws
from keyferry.testing.proxy import CountingProxy

JSON = '{"user": "ann", "port": 5432, "nothing": null}'


def secret(name: str, **fields: object) -> dict[str, object]:
    return {"objectName": name, "objectType": "secretsmanager", **fields}


def parameter(name: str, **fields: object) -> dict[str, object]:
    return {"objectName": name, "objectType": "ssmparameter", **fields}


async def test_a_key_of_a_document_becomes_the_file(provider: Provider, account: Any, strict_aws: Aws) -> None:
    """Both services' values can be JSON or YAML of which the pod needs one key."""
    await strict_aws.create_secret(account.name("json"), JSON)
    await strict_aws.put_parameter(f"/{account.name('yaml')}", "user: bob\nport: 1\n")

    answer = await provider.fetch(
        account.request(
            secret(account.name("json"), objectAlias="j", extractJSONKey="user"),
            parameter(f"/{account.name('yaml')}", objectAlias="y", EXTRACTYAMLKEY="user"),
        )
    )

    assert {each.path: each.contents for each in answer} == {"j": b"ann", "y": b"bob"}


async def test_every_key_of_a_document_becomes_a_file(provider: Provider, account: Any, strict_aws: Aws) -> None:
    """`expand` makes a folder; parts by jmesPath are taken out of the same document."""
    await strict_aws.create_secret(account.name("json"), JSON)
    parts = [{"path": "user", "objectAlias": "me"}]

    answer = await provider.fetch(
        account.request(secret(account.name("json"), objectAlias="db", expand="json", jmesPath=parts))
    )

    assert {each.path: each.contents for each in answer} == {"db/port": b"5432", "db/user": b"ann", "me": b"ann"}
    assert {each.object_id for each in answer} == {"db"}


async def test_a_secret_larger_than_the_class_allows_is_refused(
    provider: Provider, account: Any, strict_aws: Aws
) -> None:
    """The message tells both sizes, not the value."""
    await strict_aws.create_secret(account.name("big"), "canary" * 300)

    with pytest.raises(ContentTooLarge, match="1800 bytes, where maxBytes allows 1024") as refused:
        await provider.fetch(account.request(secret(account.name("big"), maxBytes="1Ki")))

    assert "canary" not in refused.value.message


async def test_optional_objects_that_are_missing_are_left_out(
    provider: Provider, account: Any, strict_aws: Aws, proxy: CountingProxy
) -> None:
    """In batches of both services and by themselves; what was left out is told, and asked for once only."""
    for name in ("a", "b"):
        await strict_aws.create_secret(account.name(name), name)
    await strict_aws.put_parameter(f"/{account.name('p')}", "p")

    answer = await provider.fetch(
        account.request(
            secret(account.name("a"), objectAlias="a"),
            secret(account.name("b"), objectAlias="b"),
            secret(account.name("gone"), objectAlias="gone", optional=True),
            secret(account.name("a"), objectAlias="label", objectVersionLabel="NOPE", optional="true"),
            parameter(f"/{account.name('p')}", objectAlias="p"),
            parameter(f"/{account.name('gone')}", objectAlias="gone-p", optional=True),
            parameter(f"/{account.name('p')}", objectAlias="version", objectVersion="7", optional=True),
        )
    )

    assert {each.path: each.contents for each in answer} == {"a": b"a", "b": b"b", "p": b"p"}
    assert answer.left_out == ("gone", "label", "gone-p", "version")
    assert (proxy.count("BatchGetSecretValue"), proxy.count(".GetSecretValue")) == (1, 1)


@pytest.mark.parametrize("names", [["a"], ["a", "b"]])
async def test_a_secret_without_value_counts_as_missing(
    provider: Provider, account: Any, proxy: CountingProxy, names: list[str]
) -> None:
    """AWS can hold a secret and no value for it; by itself or in a batch, only optional ones may be so."""
    bare = [{"ARN": f"arn:{name}", "Name": name, "VersionId": "v"} for name in names]
    proxy.fail(status=200, body=json.dumps({"SecretValues": bare}), match="BatchGetSecretValue")
    proxy.fail(status=200, body=json.dumps(bare[0]), match=".GetSecretValue")

    answer = await provider.fetch(account.request(*(secret(name, optional=True) for name in names)))
    with pytest.raises(SecretNotFound, match="secret a has no value: put one"):
        await provider.fetch(account.request(*map(secret, names)))

    assert (len(answer), answer.left_out) == (0, tuple(names))


async def test_a_missing_object_that_another_entry_needs_is_an_error(provider: Provider, account: Any) -> None:
    """One secret may be optional here and required there: the stricter word holds."""
    name = account.name("gone")

    with pytest.raises(SecretNotFound, match=name):
        await provider.fetch(
            account.request(secret(name, objectAlias="a", optional=True), secret(name, objectAlias="b"))
        )


async def test_beside_optional_ones_missing_objects_are_still_named(
    provider: Provider, account: Any, strict_aws: Aws
) -> None:
    """Only those that are required are an error, in either service."""
    await strict_aws.put_parameter(f"/{account.name('p')}", "p")
    with pytest.raises(SecretNotFound) as refused:
        await provider.fetch(
            account.request(
                secret(account.name("s-optional"), optional=True),
                secret(account.name("s-required")),
                parameter(f"/{account.name('p')}"),
                parameter(f"/{account.name('p-optional')}", optional=True),
                parameter(f"/{account.name('p-required')}"),
            )
        )

    message = refused.value.message
    assert "s-required" in message
    assert "p-required" in message
    assert "optional" not in message


async def test_an_optional_secret_without_its_key_is_left_out(
    provider: Provider, account: Any, strict_aws: Aws
) -> None:
    """Whether taken by key or by path; a document that cannot be read is an error all the same."""
    await strict_aws.create_secret(account.name("json"), JSON)
    await strict_aws.create_secret(account.name("text"), "plain")
    parts = [{"path": "nope", "objectAlias": "part"}]

    answer = await provider.fetch(
        account.request(
            secret(account.name("json"), objectAlias="key", extractJSONKey="nope", optional=True),
            secret(account.name("json"), objectAlias="path", jmesPath=parts, optional=True),
        )
    )
    with pytest.raises(InvalidSecretProviderClass):
        await provider.fetch(account.request(secret(account.name("text"), extractJSONKey="a", optional=True)))

    assert (len(answer), answer.left_out) == (0, ("key", "path"))


@pytest.mark.parametrize("others", [0, 1])
async def test_an_optional_secret_that_is_denied_is_an_error(
    provider: Provider, make_account: Callable[..., Awaitable[Any]], strict_aws: Aws, others: int
) -> None:
    """Denied is not missing: by itself or in a batch, somebody must mend a policy."""
    account = await make_account()
    mine = await strict_aws.create_secret(account.name("mine"), "value")
    theirs = await strict_aws.create_secret(account.name("theirs"), "value")
    reader = await make_account(resources=[mine])

    with pytest.raises(AccessDenied, match="theirs"):
        await provider.fetch(reader.request(secret(theirs, optional=True), *[secret(mine)] * others))


async def test_a_file_below_another_file_is_refused(provider: Provider, account: Any, strict_aws: Aws) -> None:
    """What a document's keys are called is known only when it is there; the node could not write both."""
    await strict_aws.create_secret(account.name("json"), '{"b": "x"}')

    with pytest.raises(InvalidSecretProviderClass, match="file a/b/c would lie below a/b"):
        await provider.fetch(
            account.request(
                secret(account.name("json"), objectAlias="a", expand="json"),
                secret(account.name("json"), objectAlias="a/b/c", objectVersionLabel="AWSCURRENT"),
                pathTranslation="False",
            )
        )
    beside = await provider.fetch(
        account.request(
            secret(account.name("json"), objectAlias="a", expand="json"),
            secret(account.name("json"), objectAlias="a/c", objectVersionLabel="AWSCURRENT"),
            pathTranslation="False",
        )
    )

    assert [each.path for each in beside] == ["a/b", "a/c"]
