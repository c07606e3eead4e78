"""What an object may say for every backend, on OpenBao's secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fetcher.provider import Answer
from fetcher.providers.vault import Vault
from keyferry.errors import AccessDenied, ContentTooLarge, InvalidSecretProviderClass, KeyferryError, SecretNotFound
from keyferry.testing.valkey import Valkey

if TYPE_CHECKING:
    from tests.contract.providers.vault.conftest import Tenant

JSON = '{"user": "ada", "port": 5432, "none": null, "deep": {"a": [1]}}'
YAML = "user: ada\nport: 5432\nratio: 1.10\nnone:\n"


def entry(path: str, **fields: Any) -> dict[str, Any]:
    return {"objectName": "one", "secretPath": path, **fields}


def files(answer: Answer) -> dict[str, bytes]:
    return {secret.path: secret.contents for secret in answer}


@pytest.mark.parametrize(
    "fields",
    [
        {"secretPath": "gone", "secretKey": "password"},
        {"secretPath": "app?version=7"},
        {"secretPath": "deleted", "expand": "json"},
        {"secretKey": "nix"},
        {"extractJSONKey": "nix"},
        {"secretKey": "json", "extractJSONKey": "nix"},
    ],
)
async def test_what_is_not_there_is_left_out_if_it_is_optional(
    vault: Vault, tenant: Tenant, fields: dict[str, str]
) -> None:
    """The secret, the version, the key, the key within; the others of the class are written."""
    await tenant.put("app", password="horse", json=JSON)
    await tenant.put("deleted", password="horse")
    await tenant.bao.write(f"secret/delete/{tenant.name}/deleted", {"versions": [1]})
    asked = {
        "objectName": "one",
        "optional": True,
        **fields,
        "secretPath": tenant.path(fields.get("secretPath", "app")),
    }
    static = {"objectName": "static", "secretPath": tenant.path("app"), "secretKey": "password"}

    answer = await vault.fetch(tenant.asks(asked, static))

    assert files(answer) == {"static": b"horse"}
    assert answer.left_out == ("one",)


async def test_what_is_there_is_not_left_out(vault: Vault, tenant: Tenant) -> None:
    """Optional or not."""
    await tenant.put("app", password="horse")

    answer = await vault.fetch(tenant.asks(entry(tenant.path("app"), secretKey="password", optional=True)))

    assert (files(answer), answer.left_out) == ({"one": b"horse"}, ())


async def test_denied_is_an_error_though_it_is_optional(vault: Vault, tenant: Tenant) -> None:
    """Or a policy's mistake would pass for a secret that is not there yet."""
    with pytest.raises(AccessDenied):
        await vault.fetch(tenant.asks(entry("secret/data/other/app", optional=True)))


@pytest.mark.parametrize("mount", ["secret/data", "kv1"])
@pytest.mark.parametrize("language", ["json", "yaml"])
async def test_every_key_of_a_secret_is_a_file(vault: Vault, tenant: Tenant, mount: str, language: str) -> None:
    """Of KV's own keys, in both versions; texts as they are, numbers digit by digit, null not at all."""
    values = {"user": "ada", "port": 5432, "ratio": 1.5, "none": None, "deep": {"b": [1], "a": "ü"}}
    where = {"secret/data": tenant.name, "kv1": f"{tenant.name}-kv1"}[mount]
    await tenant.bao.enable_kv(f"{tenant.name}-kv1", version=1)
    await tenant.bao.put(f"{tenant.name}/app", values)
    await tenant.bao.put_v1("app", values, mount=f"{tenant.name}-kv1")
    await tenant.allow(f'path "{tenant.name}-kv1/*" {{ capabilities = ["read"] }}')
    path = {"secret/data": f"secret/data/{where}/app", "kv1": f"{where}/app"}[mount]

    answer = await vault.fetch(tenant.asks(entry(path, expand=language, filePermission="0400")))

    assert files(answer) == {
        "one/deep": '{"a":"ü","b":[1]}'.encode(),
        "one/port": b"5432",
        "one/ratio": b"1.5",
        "one/user": b"ada",
    }
    assert {(secret.object_id, secret.mode, secret.source) for secret in answer} == {("one", 0o400, path)}


async def test_every_key_of_a_document_in_a_key_is_a_file(vault: Vault, tenant: Tenant) -> None:
    """The value under secretKey is JSON or YAML."""
    await tenant.put("app", json=JSON, yaml=YAML)

    answer = await vault.fetch(
        tenant.asks(
            {"objectName": "j", "secretPath": tenant.path("app"), "secretKey": "json", "expand": "json"},
            {"objectName": "y", "secretPath": tenant.path("app"), "secretKey": "yaml", "expand": "yaml"},
        )
    )

    assert files(answer) == {
        "j/deep": b'{"a": [1]}',
        "j/port": b"5432",
        "j/user": b"ada",
        "y/port": b"5432",
        "y/ratio": b"1.10",
        "y/user": b"ada",
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"secretKey": "json", "extractJSONKey": "user"},
        {"secretKey": "yaml", "extractYAMLKey": "user"},
        {"extractJSONKey": "user"},
        {"extractYAMLKey": "user"},
    ],
)
async def test_one_key_of_a_document_is_the_file(vault: Vault, tenant: Tenant, fields: dict[str, str]) -> None:
    """Without secretKey the secret's own keys are the document."""
    await tenant.put("app", json=JSON, yaml=YAML, user="ada")

    answer = await vault.fetch(tenant.asks(entry(tenant.path("app"), **fields)))

    assert files(answer) == {"one": b"ada"}


async def test_credentials_of_a_lease_may_be_expanded(vault: Vault, tenant: Tenant, valkey: Valkey) -> None:
    """User and password of one call, without naming them."""
    path = await tenant.database(valkey)

    answer = await vault.fetch(tenant.asks(entry(path, expand="json")))

    assert [secret.path for secret in answer] == ["one/password", "one/username"]
    assert answer.lease is not None


async def test_what_is_encoded_is_decoded_before_it_is_looked_into(vault: Vault, tenant: Tenant) -> None:
    """The document may be stored as base64."""
    await tenant.put("app", key="eyJ1c2VyIjogImFkYSJ9")

    answer = await vault.fetch(
        tenant.asks(entry(tenant.path("app"), secretKey="key", encoding="base64", extractJSONKey="user"))
    )

    assert files(answer) == {"one": b"ada"}


@pytest.mark.parametrize(
    ("fields", "expected", "problem"),
    [
        ({"secretKey": "password", "maxBytes": 3}, ContentTooLarge, "5 bytes, where maxBytes allows 3"),
        ({"secretKey": "password", "expand": "json"}, InvalidSecretProviderClass, "failed to unmarshal JSON"),
        ({"secretKey": "json", "extractJSONKey": "port"}, InvalidSecretProviderClass, "unsupported value type"),
        ({"secretKey": "json", "extractJSONKey": "nix"}, SecretNotFound, "key 'nix' not found in JSON"),
        ({"expand": "json", "maxBytes": "20"}, ContentTooLarge, "where maxBytes allows 20"),
    ],
)
async def test_what_cannot_be_is_told_by_path_and_without_the_value(
    vault: Vault, tenant: Tenant, fields: dict[str, Any], expected: type[KeyferryError], problem: str
) -> None:
    """In the words that all backends share."""
    await tenant.put("app", password="horse", json=JSON)

    with pytest.raises(expected) as caught:
        await vault.fetch(tenant.asks(entry(tenant.path("app"), **fields)))

    assert problem in caught.value.message
    assert caught.value.message.startswith(tenant.path("app"))
    assert "horse" not in caught.value.message
