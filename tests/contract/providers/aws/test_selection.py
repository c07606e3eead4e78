import json
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from fetcher.provider import Secret
from fetcher.providers.aws.fetch import Aws as Provider
from keyferry.errors import SecretNotFound
from keyferry.testing.aws import Aws
from keyferry.testing.proxy import CountingProxy

SECOND = "eu-west-3"


def secrets(prefix: str = "", **fields: object) -> dict[str, object]:
    return {"objectType": "secretsmanager", **({"selectPrefix": prefix} if prefix else {}), **fields}


def parameters(prefix: str = "", **fields: object) -> dict[str, object]:
    return {"objectType": "ssmparameter", **({"selectPrefix": prefix} if prefix else {}), **fields}


def contents(found: Sequence[Secret]) -> dict[str, bytes]:
    return {each.path: each.contents for each in found}


async def test_secrets_are_selected_by_prefix(
    provider: Provider, account: Any, strict_aws: Aws, proxy: CountingProxy
) -> None:
    """Their files are named by the rest of their names; one listing and one batch read them all."""
    for name in ("app/db/user", "app/db/password", "APP/other", "x/app/db/user"):
        await strict_aws.create_secret(account.name(name), name)

    answer = await provider.fetch(account.request(secrets(account.name("app/"), filePermission="0400")))

    assert contents(answer) == {"db_password": b"app/db/password", "db_user": b"app/db/user"}
    assert {(each.object_id, each.mode) for each in answer} == {("db_password", 0o400), ("db_user", 0o400)}
    assert [each.source for each in answer] == [
        f"secretsmanager/{account.name(name)}" for name in ("app/db/password", "app/db/user")
    ]
    assert (proxy.count("ListSecrets"), proxy.count("GetSecretValue")) == (1, 1)


@pytest.mark.parametrize(("translation", "file"), [("", "conf_d/a_b"), ("-", "conf-d/a-b"), ("False", "conf/d/a/b")])
async def test_selected_files_lie_in_the_folder_of_their_entry(
    provider: Provider, account: Any, strict_aws: Aws, translation: str, file: str
) -> None:
    """The class's path translation holds for the folder and for the rest of the name."""
    await strict_aws.create_secret(account.name("a/b"), "value")
    entry = secrets(account.name(""), objectAlias="conf/d")

    (found,) = await provider.fetch(account.request(entry, pathTranslation=translation))

    assert (found.path, found.object_id) == (file, file)


async def test_secrets_are_selected_by_all_of_their_tags(provider: Provider, account: Any, strict_aws: Aws) -> None:
    """AWS's filters would take a tag of another key, a longer value or another case; each tag must match exactly."""
    for name, tags in {
        "right": {"app": "web", "stage": "live", "more": "x"},
        "half": {"app": "web"},
        "longer": {"app": "website", "stage": "live"},
        "case": {"APP": "web", "stage": "live"},
        "crossed": {"app": "live", "stage": "web"},
        "none": {},
    }.items():
        await strict_aws.create_secret(account.name(name), name, tags)
    tags = {"app": "web", "stage": "live"}

    by_both = await provider.fetch(account.request(secrets(account.name(""), selectTags=tags)))
    by_tags = await provider.fetch(account.request(secrets(selectTags={**tags, "more": "x"}, objectAlias="d")))

    assert contents(by_both) == {"right": b"right"}
    assert contents(by_tags) == {f"d/{account.pod.namespace}_right": b"right"}


async def test_filters_say_only_what_they_can_say(provider: Provider, account: Any, proxy: CountingProxy) -> None:
    """An exclamation mark would turn a filter around: such a tag is compared by us alone."""
    entry = secrets("p/", selectTags={"!app": "ä"}, optional=True)

    answer = await provider.fetch(account.request(entry))

    (call,) = [call for call in proxy.calls if call.matches("ListSecrets")]
    assert json.loads(call.body)["Filters"] == [{"Key": "name", "Values": ["p/"]}]
    assert answer.left_out == ("p/*",)


async def test_a_hundred_and_more_secrets_come_by_pages(
    provider: Provider, account: Any, strict_aws: Aws, proxy: CountingProxy
) -> None:
    """AWS lists a hundred at a time and gives twenty values at a time."""
    names = [f"s{i:03}" for i in range(103)]
    for name in names:
        await strict_aws.create_secret(account.name(name), name)

    answer = await provider.fetch(account.request(secrets(account.name("s"))))

    assert [each.contents.decode() for each in answer] == names
    assert (proxy.count("ListSecrets"), proxy.count("BatchGetSecretValue")) == (2, 6)


async def test_parameters_below_a_path_come_with_their_values(
    provider: Provider, account: Any, strict_aws: Aws, proxy: CountingProxy
) -> None:
    """Ten a page, however deep, decrypted and with their versions; no parameter is asked for by itself."""
    for i in range(12):
        await strict_aws.put_parameter(f"/{account.name(f'app/deep/p{i:02}')}", str(i))
    await strict_aws.put_parameter(f"/{account.name('app/deep/p00')}", "again")
    await strict_aws.put_parameter(f"/{account.name('application')}", "other")

    answer = await provider.fetch(account.request(parameters(f"/{account.name('app/')}")))

    assert {each.path: (each.contents, each.version) for each in answer} == {
        "deep_p00": (b"again", "2"),
        **{f"deep_p{i:02}": (str(i).encode(), "1") for i in range(1, 12)},
    }
    assert answer[0].source == f"ssm/{account.name('app/deep/p00')}"
    assert (proxy.count("GetParametersByPath"), proxy.count("GetParameters")) == (2, 2)


async def test_parameters_are_selected_by_the_beginning_of_a_name(
    provider: Provider, account: Any, strict_aws: Aws, proxy: CountingProxy
) -> None:
    """A prefix that is no path is looked up by DescribeParameters, then read ten at a time."""
    for name in ("app-a", "app-b", "other"):
        await strict_aws.put_parameter(f"/{account.name(name)}", name)

    answer = await provider.fetch(account.request(parameters(f"/{account.name('app-')}", objectAlias="app")))

    assert contents(answer) == {"app/a": b"app-a", "app/b": b"app-b"}
    assert (proxy.count("DescribeParameters"), proxy.count(".GetParameters")) == (1, 1)


async def test_parameters_are_selected_by_tags(
    provider: Provider, account: Any, strict_aws: Aws, proxy: CountingProxy
) -> None:
    """Systems Manager compares tags itself, exactly and all of them; the prefix is told to it and checked again."""
    mine, odd = f"/{account.name('mine')}", "/elsewhere"
    await strict_aws.put_parameter(mine, "value")
    # The emulator knows no filter by tag: this is what AWS would answer.
    proxy.fail(status=200, body=json.dumps({"Parameters": [{"Name": mine}, {"Name": odd}]}), match="DescribeParameters")
    entry = parameters(f"/{account.name('')}", selectTags={"app": "web", "a:b": "c"})

    answer = await provider.fetch(account.request(entry))

    (call,) = [call for call in proxy.calls if call.matches("DescribeParameters")]
    assert contents(answer) == {"mine": b"value"}
    assert json.loads(call.body)["ParameterFilters"] == [
        {"Key": "tag:a:b", "Option": "Equals", "Values": ["c"]},
        {"Key": "tag:app", "Option": "Equals", "Values": ["web"]},
        {"Key": "Name", "Option": "BeginsWith", "Values": [f"/{account.name('')}"]},
    ]


@pytest.mark.parametrize("entry", [secrets("nope/"), parameters("/nope/"), parameters("/nope")])
async def test_a_selection_of_nothing_is_missing_unless_optional(
    provider: Provider, account: Any, entry: dict[str, object]
) -> None:
    """The message says what was looked for; an optional selection is told as left out."""
    with pytest.raises(SecretNotFound, match=r"objects\[0\]: nothing of \w+ matches prefix /?nope"):
        await provider.fetch(account.request(entry))

    answer = await provider.fetch(account.request({**entry, "optional": "true"}))

    assert (len(answer), answer.left_out) == (0, (f"{entry['selectPrefix']}*",))


async def test_what_is_gone_since_it_was_listed_is_not_selected(
    provider: Provider, account: Any, strict_aws: Aws, proxy: CountingProxy
) -> None:
    """Lists of AWS run minutes behind; a secret that is no more must not fail the mount."""
    await strict_aws.create_secret(account.name("there"), "value")
    names = [account.name("there"), account.name("gone-1"), account.name("gone-2")]
    proxy.fail(status=200, body=json.dumps({"SecretList": [{"Name": name} for name in names]}), match="ListSecrets")

    answer = await provider.fetch(account.request(secrets(account.name(""))))

    assert (contents(answer), answer.left_out) == ({"there": b"value"}, ())


async def test_what_is_marked_for_deletion_is_not_selected(provider: Provider, account: Any, strict_aws: Aws) -> None:
    """It can be listed no more, and read no more."""
    for name in ("stays", "goes"):
        await strict_aws.create_secret(account.name(name), name)
    await strict_aws.call("secretsmanager", lambda client: client.delete_secret(SecretId=account.name("goes")))

    assert contents(await provider.fetch(account.request(secrets(account.name(""))))) == {"stays": b"stays"}


async def test_options_hold_for_each_selected_object(provider: Provider, account: Any, strict_aws: Aws) -> None:
    """Each of them is expanded, or left out by its own id."""
    for name in ("one", "two"):
        await strict_aws.create_secret(account.name(name), json.dumps({name: "x", "user": "ann"}))
    entry = secrets(account.name(""), optional=True)

    expanded = await provider.fetch(account.request({**entry, "expand": "json"}))
    picked = await provider.fetch(account.request({**entry, "extractJSONKey": "two"}))

    assert sorted(each.path for each in expanded) == ["one/one", "one/user", "two/two", "two/user"]
    assert (contents(picked), picked.left_out) == ({"two": b"x"}, ("one",))


@pytest.mark.parametrize(
    ("entry", "operation"),
    [(secrets, "ListSecrets"), (parameters, "GetParametersByPath")],
)
async def test_a_selection_fails_over(
    opened: Callable[..., AbstractAsyncContextManager[Provider]],
    account: Any,
    proxy: CountingProxy,
    entry: Callable[..., dict[str, object]],
    operation: str,
) -> None:
    """The second region is searched anew: it may hold other secrets."""
    for aws, names in ((account.aws, ("a", "b")), (account.in_region(SECOND), ("b", "c"))):
        for name in names:
            await aws.create_secret(f"/{account.name(name)}", aws.region)
            await aws.put_parameter(f"/{account.name(name)}", aws.region)
    proxy.fail(status=500, match=operation, times=1)
    async with opened(KEYFERRY_AWS_ATTEMPTS="1") as provider:
        answer = await provider.fetch(account.request(entry(f"/{account.name('')}"), failoverRegion=SECOND))

    assert contents(answer) == {"b": SECOND.encode(), "c": SECOND.encode()}
