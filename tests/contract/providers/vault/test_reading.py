"""What a fetch yields: engines, keys, encodings, versions and modes, as OpenBao really answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import redis.asyncio
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import DNSName, SubjectAlternativeName, load_pem_x509_certificate

from fetcher.provider import Secret
from fetcher.providers.vault import Vault
from keyferry.testing.valkey import Valkey

if TYPE_CHECKING:
    from tests.contract.providers.vault.conftest import Tenant

ISSUE = {"common_name": "test.example.com", "ttl": "1h"}
MAY_ISSUE = 'path "{}/issue/web" {{ capabilities = ["create", "update"] }}'


async def one(vault: Vault, tenant: Tenant, path: str, **fields: Any) -> Secret:
    (secret,) = await vault.fetch(tenant.asks({"objectName": "one", "secretPath": path, **fields}))
    return secret


async def pki(tenant: Tenant) -> str:
    mount = f"{tenant.name}-pki"
    await tenant.bao.enable_pki(role="web", domain="example.com", mount=mount)
    await tenant.allow(MAY_ISSUE.format(mount))
    return f"{mount}/issue/web"


async def test_a_key_of_kv_version_2_is_the_file(vault: Vault, tenant: Tenant) -> None:
    """The embedded data is entered, the text is raw, the version is the engine's."""
    await tenant.put("app", password="old")
    await tenant.put("app", password="correct horse\n")

    secret = await one(vault, tenant, tenant.path("app"), secretKey="password")

    assert secret == Secret(
        path="one",
        contents=b"correct horse\n",
        object_id="one",
        version="2",
        mode=None,
        source=tenant.path("app"),
    )


async def test_a_query_reads_an_older_version(vault: Vault, tenant: Tenant) -> None:
    """A secretPath may carry a query string, and /v1/ in front changes nothing."""
    await tenant.put("app", password="old")
    await tenant.put("app", password="new")

    secret = await one(vault, tenant, f"/v1/{tenant.path('app')}?version=1", secretKey="password")

    assert (secret.contents, secret.version) == (b"old", "1")


async def test_a_key_of_kv_version_1_is_the_file(vault: Vault, tenant: Tenant) -> None:
    """An engine without versions gives none."""
    mount = f"{tenant.name}-kv1"
    await tenant.bao.enable_kv(mount, version=1)
    await tenant.bao.put_v1("app", {"password": "horse"}, mount=mount)
    await tenant.allow(f'path "{mount}/*" {{ capabilities = ["read"] }}')

    secret = await one(vault, tenant, f"{mount}/app", secretKey="password")

    assert (secret.contents, secret.version) == (b"horse", None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", b""),
        ("dreißig", "dreißig".encode()),
        (8080, b"8080"),
        (1.5, b"1.5"),
        (True, b"true"),
        (None, b"null"),
        ({"b": [1, "x"], "a": "<ü>"}, '{"a":"<ü>","b":[1,"x"]}'.encode()),
    ],
)
async def test_what_is_no_text_becomes_json(vault: Vault, tenant: Tenant, value: Any, expected: bytes) -> None:
    """A text is written as it is, everything else as JSON."""
    await tenant.put("app", key=value)

    assert (await one(vault, tenant, tenant.path("app"), secretKey="key")).contents == expected


@pytest.mark.parametrize(
    ("encoding", "value"), [("base64", "AAH/aGk="), ("hex", "0001ff6869"), ("Base64", "AAH/\naGk=\n")]
)
async def test_encoded_values_are_decoded(vault: Vault, tenant: Tenant, encoding: str, value: str) -> None:
    """Binary values are stored as text in Vault and are bytes in the file."""
    await tenant.put("app", key=value)

    secret = await one(vault, tenant, tenant.path("app"), secretKey="key", encoding=encoding)

    assert secret.contents == b"\x00\x01\xffhi"


async def test_without_a_key_the_answer_is_the_file_and_stays_the_same(vault: Vault, tenant: Tenant) -> None:
    """Unchanged data gives unchanged bytes: what names the request is left out."""
    await tenant.put("app", password="horse", user="ada")

    first = await one(vault, tenant, tenant.path("app"))
    again = await one(vault, tenant, tenant.path("app"))

    assert first.contents == again.contents
    answer = json.loads(first.contents)
    assert answer["data"]["data"] == {"password": "horse", "user": "ada"}
    assert answer.keys() == {"data", "lease_id", "lease_duration", "renewable"}


async def test_files_come_in_the_order_and_with_the_modes_of_the_class(vault: Vault, tenant: Tenant) -> None:
    """Reads are concurrent, the result is not shuffled; equal reads are one call."""
    for number in range(12):
        await tenant.put(f"app{number}", key=f"value {number}")
    objects = [
        {
            "objectName": f"dir/{n}",
            "secretPath": tenant.path(f"app{n}"),
            "secretKey": "key",
            "filePermission": 0o400 + n,
        }
        for n in range(12)
    ]
    objects.append({**objects[3], "objectName": "again"})

    secrets = await vault.fetch(tenant.asks(*objects))

    assert [secret.path for secret in secrets] == [*(f"dir/{n}" for n in range(12)), "again"]
    assert [secret.contents for secret in secrets] == [*(b"value %d" % n for n in range(12)), b"value 3"]
    assert [secret.mode for secret in secrets] == [*(0o400 + n for n in range(12)), 0o403]
    assert tenant.bao.count_requests(tenant.path("app3"), operation="read") == 1


@pytest.mark.parametrize("method", ["PUT", "POST", "put"])
async def test_a_certificate_and_its_key_come_from_one_call(vault: Vault, tenant: Tenant, method: str) -> None:
    """PKI issues on PUT or POST with secretArgs; two files of one issue belong together (upstream's e2e test 5)."""
    path = await pki(tenant)
    call = {"secretPath": path, "method": method, "secretArgs": ISSUE}

    secrets = await vault.fetch(
        tenant.asks(
            {"objectName": "tls.crt", "secretKey": "certificate", **call},
            {"objectName": "tls.key", "secretKey": "private_key", **call},
        )
    )

    certificate = load_pem_x509_certificate(secrets[0].contents)
    names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    assert names.get_values_for_type(DNSName) == ["test.example.com"]
    assert load_pem_private_key(secrets[1].contents, None).public_key() == certificate.public_key()
    assert tenant.bao.count_requests(path) == 1


async def test_other_arguments_are_another_call(vault: Vault, tenant: Tenant) -> None:
    """Two certificates of one role are two: upstream would give the first one twice."""
    path = await pki(tenant)
    call = {"secretPath": path, "method": "PUT", "secretKey": "certificate"}

    secrets = await vault.fetch(
        tenant.asks(
            {"objectName": "a", "secretArgs": {"common_name": "a.example.com"}, **call},
            {"objectName": "b", "secretArgs": {"common_name": "b.example.com"}, **call},
        )
    )

    subjects = [load_pem_x509_certificate(secret.contents).subject.rfc4514_string() for secret in secrets]
    assert subjects == ["CN=a.example.com", "CN=b.example.com"]


async def test_dynamic_user_and_password_work_together(vault: Vault, tenant: Tenant, valkey: Valkey) -> None:
    """They are minted by one call, and the database takes them (upstream's e2e test 6)."""
    path = await tenant.database(valkey)

    user, password, whole = await vault.fetch(
        tenant.asks(
            {"objectName": "user", "secretPath": path, "secretKey": "username"},
            {"objectName": "password", "secretPath": path, "secretKey": "password"},
            {"objectName": "all.json", "secretPath": path},
        )
    )

    async with redis.asyncio.Redis(
        port=valkey.port, username=user.contents.decode(), password=password.contents.decode()
    ) as client:
        assert await client.acl_whoami() == user.contents.decode()
    assert tenant.bao.count_requests(path) == 1
    assert json.loads(whole.contents)["lease_id"].startswith(path)


async def test_one_class_may_use_several_engines(vault: Vault, tenant: Tenant) -> None:
    """KV and PKI side by side, with one login (upstream's e2e test 7)."""
    path = await pki(tenant)
    await tenant.put("app", password="horse")

    secrets = await vault.fetch(
        tenant.asks(
            {"objectName": "password", "secretPath": tenant.path("app"), "secretKey": "password"},
            {"objectName": "crt", "secretPath": path, "secretKey": "certificate", "method": "PUT", "secretArgs": ISSUE},
        )
    )

    assert secrets[0].contents == b"horse"
    assert secrets[1].contents.startswith(b"-----BEGIN CERTIFICATE-----")
    assert tenant.logins() == 1


async def test_a_namespace_is_another_vault(vault: Vault, tenant: Tenant) -> None:
    """The pod logs in and reads in vaultNamespace (upstream's e2e test 9; OpenBao has namespaces, too)."""
    await tenant.bao.write(f"sys/namespaces/{tenant.name}", {})
    pems = (await tenant.bao.call(lambda client: client.read(f"auth/{tenant.name}/config")))["data"]

    def furnish(client: Any) -> None:
        client.adapter.namespace = tenant.name
        client.sys.enable_auth_method("jwt", path="jwt")
        client.write_data("auth/jwt/config", data={"jwt_validation_pubkeys": pems["jwt_validation_pubkeys"]})
        client.sys.create_or_update_policy("read", 'path "kv/*" { capabilities = ["read"] }')
        role = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": "vault", "token_policies": "read"}
        client.write_data("auth/jwt/role/web", data=role)
        client.sys.enable_secrets_engine("kv", path="kv")
        client.write_data("kv/app", data={"password": "of the namespace"})

    await tenant.bao.call(furnish)

    (secret,) = await vault.fetch(
        tenant.asks(
            {"objectName": "one", "secretPath": "kv/app", "secretKey": "password"},
            vaultNamespace=tenant.name,
            vaultAuthMountPath="jwt",
            roleName="web",
        )
    )

    assert secret.contents == b"of the namespace"
