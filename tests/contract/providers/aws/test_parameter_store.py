from collections.abc import Callable
from typing import Any

import pytest

from fetcher.provider import Provider
from keyferry.errors import SecretNotFound
from keyferry.testing.aws import Aws
from keyferry.testing.proxy import CountingProxy


def parameter(name: str, **fields: object) -> dict[str, object]:
    return {"objectName": name, "objectType": "ssmparameter", **fields}


def labelling(name: str, version: int, label: str) -> Callable[[Any], Any]:
    return lambda client: client.label_parameter_version(Name=name, ParameterVersion=version, Labels=[label])


async def test_a_parameter_is_read_decrypted(provider: Provider, account: Any, strict_aws: Aws) -> None:
    """A SecureString comes as its plain text, with its version number."""
    name = f"/{account.name('db')}"
    await strict_aws.put_parameter(name, "old")
    await strict_aws.put_parameter(name, "new")

    (found,) = await provider.fetch(account.request(parameter(name, objectAlias="db")))

    assert (found.path, found.contents, found.version) == ("db", b"new", "2")


async def test_a_parameter_is_read_by_arn(provider: Provider, account: Any, strict_aws: Aws) -> None:
    """SSM takes ARNs where they are within the account."""
    name = f"/{account.name('db')}"
    await strict_aws.put_parameter(name, "value")
    arn = f"arn:aws:ssm:{strict_aws.region}:000000000000:parameter{name}"

    (found,) = await provider.fetch(account.request({"objectName": arn, "objectAlias": "db"}))

    assert found.contents == b"value"


async def test_versions_and_labels_of_one_parameter_do_not_collide(
    provider: Provider, account: Any, strict_aws: Aws
) -> None:
    """Answers name parameters without their labels; each file must still get its own value."""
    name = f"/{account.name('db')}"
    for value in ("one", "two", "three"):
        await strict_aws.put_parameter(name, value)
    for version, label in ((1, "blue"), (2, "green")):
        await strict_aws.call("ssm", labelling(name, version, label))

    found = await provider.fetch(
        account.request(
            parameter(name, objectAlias="newest"),
            parameter(name, objectAlias="blue", objectVersionLabel="blue"),
            parameter(name, objectAlias="green", objectVersionLabel="green"),
            parameter(name, objectAlias="second", objectVersion="2"),
        )
    )

    assert {each.path: (each.contents, each.version) for each in found} == {
        "newest": (b"three", "3"),
        "blue": (b"one", "1"),
        "green": (b"two", "2"),
        "second": (b"two", "2"),
    }


async def test_twenty_three_parameters_cost_three_calls(
    provider: Provider, account: Any, strict_aws: Aws, proxy: CountingProxy
) -> None:
    """SSM gives ten at a time; each keeps its own value."""
    names = [f"/{account.name(f'p{i}')}" for i in range(23)]
    for name in names:
        await strict_aws.put_parameter(name, f"value of {name}")

    found = await provider.fetch(account.request(*map(parameter, names)))

    assert [each.contents.decode() for each in found] == [f"value of {name}" for name in names]
    assert proxy.count("GetParameters") == 3


async def test_parts_of_a_json_parameter_become_files(provider: Provider, account: Any, strict_aws: Aws) -> None:
    """JMESPath works on parameters as on secrets."""
    name = f"/{account.name('json')}"
    await strict_aws.put_parameter(name, '{"username": "ann", "password": "s3cret"}')
    parts = [{"path": key, "objectAlias": key} for key in ("username", "password")]

    found = await provider.fetch(account.request(parameter(name, jmesPath=parts)))

    assert {each.path: each.contents for each in found[1:]} == {"username": b"ann", "password": b"s3cret"}
    assert {each.version for each in found} == {"1"}


async def test_all_invalid_parameters_are_named_at_once(provider: Provider, account: Any, strict_aws: Aws) -> None:
    """Of eleven and more parameters, in several batches, one message names all that are not there."""
    names = [f"/{account.name(f'p{i}')}" for i in range(12)]
    for name in names[1:11]:
        await strict_aws.put_parameter(name, "value")

    with pytest.raises(SecretNotFound, match="invalid parameters: ") as refused:
        await provider.fetch(
            account.request(*map(parameter, names), parameter(names[1], objectAlias="old", objectVersion="7"))
        )

    for missing in (names[0], names[11], f"{names[1]}:7"):
        assert missing in refused.value.message
    assert names[2] + "," not in refused.value.message
