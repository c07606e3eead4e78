"""What a Secret, and a ConfigMap, may hold and what of them may change."""

from typing import Any

import pytest

from .conftest import Api

SECRETS = "/api/v1/namespaces/{ns}/secrets"
MAPS = "/api/v1/namespaces/{ns}/configmaps"
A_MEBIBYTE = 1024 * 1024
LARGE = pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # it is the test's purpose


def secret(name: str = "s", **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, **more}


async def test_string_data_is_folded_into_data(api: Api) -> None:
    """StringData wins over data and is not shown."""
    made = await api.make(SECRETS, secret(data={"a": "MQ==", "b": "Mg=="}, stringData={"a": "x"}))

    assert made["data"] == {"a": "eA==", "b": "Mg=="}
    assert "stringData" not in made
    assert made["type"] == "Opaque"


@pytest.mark.parametrize("value", ["*", "abc", "a b c d"])
async def test_data_is_base64(api: Api, value: str) -> None:
    """Anything else is refused before it is looked at."""
    answer = await api.call("POST", SECRETS, secret(data={"a": value}))

    assert (answer.status, answer.reason) == (400, "BadRequest")
    assert 'Secret in version "v1" cannot be handled as a Secret' in answer.message
    assert "illegal base64 data" in answer.message


async def test_keys_are_file_names(api: Api) -> None:
    """A key has letters, digits, dots, dashes and underscores."""
    answer = await api.call("POST", SECRETS, secret(stringData={"a/b": ""}))

    assert answer.status == 422
    assert 'data[a/b]: Invalid value: "a/b": a valid config key must consist of alphanumeric' in answer.message


@LARGE
async def test_a_secret_holds_a_mebibyte(api: Api) -> None:
    """One byte more is too long; the keys do not count."""
    full = await api.call("POST", SECRETS, secret("full", stringData={"key": "x" * A_MEBIBYTE}))
    over = await api.call("POST", SECRETS, secret("over", stringData={"key": "x" * (A_MEBIBYTE + 1)}))

    assert (full.status, over.status) == (201, 422)
    assert over.body["details"]["causes"][0]["reason"] == "FieldValueTooLong"
    assert "data: Too long" in over.message


@LARGE
async def test_a_body_has_a_limit(api: Api) -> None:
    """More than three mebibytes are not read."""
    answer = await api.call("POST", SECRETS, secret(stringData={"key": "x" * (3 * A_MEBIBYTE)}))

    assert (answer.status, answer.reason) == (413, "RequestEntityTooLarge")
    assert "limit is 3145728" in answer.message


@pytest.mark.parametrize(
    ("kind", "data", "fields"),
    [
        ("kubernetes.io/tls", {}, ["data[tls.crt]", "data[tls.key]"]),
        ("kubernetes.io/tls", {"tls.crt": ""}, ["data[tls.key]"]),
        ("kubernetes.io/dockercfg", {}, ["data[.dockercfg]"]),
        ("kubernetes.io/dockerconfigjson", {".dockerconfigjson": "x"}, ["data[.dockerconfigjson]"]),
        ("kubernetes.io/basic-auth", {}, ["data[%s][username]", "data[%s][password]"]),
        ("kubernetes.io/ssh-auth", {}, ["data[%s][ssh-privatekey]"]),
        (
            "kubernetes.io/service-account-token",
            {},
            ["metadata.annotations[kubernetes.io/service-account.name]"],
        ),
    ],
)
async def test_a_type_needs_its_keys(api: Api, kind: str, data: dict[str, str], fields: list[str]) -> None:
    """The types of kubernetes.io ask for certain keys; the message does not quote the value."""
    answer = await api.call("POST", SECRETS, secret(type=kind, stringData=data))

    assert answer.status == 422
    assert sorted(cause["field"] for cause in answer.body["details"]["causes"]) == sorted(fields)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("kubernetes.io/tls", {"tls.crt": "", "tls.key": "", "ca.crt": ""}),
        ("kubernetes.io/basic-auth", {"password": "x"}),
        ("kubernetes.io/dockerconfigjson", {".dockerconfigjson": "{}"}),
        ("example.com/own", {}),
    ],
)
async def test_other_content_is_free(api: Api, kind: str, data: dict[str, str]) -> None:
    """With its keys, or of a type of one's own, anything goes."""
    made = await api.make(SECRETS, secret(type=kind, stringData=data))

    assert made["type"] == kind


async def test_the_type_is_fixed(api: Api) -> None:
    """A Secret cannot become one of another type."""
    await api.make(SECRETS, secret())

    answer = await api.call("PUT", f"{SECRETS}/s", secret(type="example.com/other"))

    assert answer.status == 422
    assert 'type: Invalid value: "example.com/other": field is immutable' in answer.message


@pytest.mark.parametrize("path", [SECRETS, MAPS])
async def test_immutable_is_for_ever(api: Api, path: str) -> None:
    """Neither the data nor the mark changes any more; labels do."""
    await api.make(path, secret(data={"a": "MQ=="}, immutable=True))

    data = await api.merge(f"{path}/s", {"data": {"a": "Mg=="}})
    mark = await api.merge(f"{path}/s", {"immutable": None})
    label = await api.merge(f"{path}/s", {"metadata": {"labels": {"l": "1"}}})

    assert [data.status, mark.status, label.status] == [422, 422, 200]
    assert "data: Forbidden: field is immutable when `immutable` is set" in data.message
    assert "immutable: Forbidden: field is immutable when `immutable` is set" in mark.message


async def test_secrets_are_selected_by_type(api: Api) -> None:
    """FieldSelector type= chooses."""
    await api.make(SECRETS, secret("one", type="example.com/own"))
    await api.make(SECRETS, secret("two"))

    assert await api.names(SECRETS, fieldSelector="type=example.com/own") == ["one"]
