"""Secrets and their versions, as files (upstream's e2e: secret, alias, history, file permission, custom cloud)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from fetcher.provider import Provider
from keyferry.errors import InvalidSecretProviderClass, SecretNotFound
from keyferry.testing.azure import TENANT

if TYPE_CHECKING:
    from tests.contract.providers.azure.conftest import Tenant

Files = Callable[..., Any]

SEED = """
usePodIdentity: "false"
useVMManagedIdentity: "false"
clientID: ""  # Will use workload identity
keyvaultName: "shop-vault"
cloudName: ""
objects: |
  array:
    - |
      objectName: db-password
      objectType: secret
      objectVersion: ""
    - |
      objectName: tls-cert
      objectType: cert
    - |
      objectName: signing-key
      objectType: key
"""


async def test_a_secret_becomes_a_file_with_its_version(files: Files, tenant: Tenant) -> None:
    """The object's id is type and name, as upstream's users see it in SecretProviderClassPodStatus."""
    version = tenant.vault.set_secret("db", "horse")

    found = (await files({"objectName": "db"}))["db"]

    assert (found.contents, found.object_id, found.version, found.mode) == (b"horse", "secret/db", version, None)


async def test_the_manifest_of_the_guide_works(provider: Provider, tenant: Tenant, certificate: Any) -> None:
    """Both flags off, no client id, no cloud: the service account's annotation says who reads."""
    tenant.vault.set_secret("db-password", "horse")
    tenant.vault.create_key("signing-key")
    certificate("tls-cert")
    request = tenant.asks(annotations={"azure.workload.identity/client-id": "aaaaaaaa-1111-2222-3333-444444444444"})
    parameters = {**yaml.safe_load(SEED), "tenantId": TENANT}

    found = await provider.fetch(_with(request, parameters))

    assert [each.path for each in found] == ["db-password", "tls-cert", "signing-key"]


async def test_a_new_version_is_read_at_the_next_fetch(files: Files, tenant: Tenant, db: dict[str, str]) -> None:
    """Rotation: nothing of a secret is kept."""
    before = (await files(db))["db"]
    version = tenant.vault.set_secret("db", "staple")

    after = (await files(db))["db"]

    assert (before.contents, after.contents, after.version) == (b"horse", b"staple", version)


async def test_an_alias_names_the_file(files: Files, db: dict[str, str]) -> None:
    """It may hold folders."""
    found = await files({**db, "objectAlias": "etc/db/password"})

    assert list(found) == ["etc/db/password"]
    assert found["etc/db/password"].object_id == "secret/db"


async def test_a_permission_is_the_files(files: Files, db: dict[str, str]) -> None:
    """Octal, as `stat` shows it (upstream's e2e)."""
    assert (await files({**db, "filePermission": "0400"}))["db"].mode == 0o400


async def test_a_version_can_be_pinned(files: Files, tenant: Tenant) -> None:
    """Latest is the same as none."""
    pinned = tenant.vault.set_secret("db", "old")
    tenant.vault.set_secret("db", "new")

    old, new = (
        await files({"objectName": "db", "objectVersion": pinned}),
        await files({"objectName": "db", "objectVersion": "latest"}),
    )

    assert (old["db"].contents, old["db"].version, new["db"].contents) == (b"old", pinned, b"new")


async def test_a_history_is_as_many_versions_as_asked_for(files: Files, tenant: Tenant) -> None:
    """Exactly so many, the newest first; upstream gives one too many."""
    for number in range(5):
        tenant.vault.set_secret("db", f"v{number}")

    found = await files({"objectName": "db", "objectVersionHistory": 3, "objectAlias": "hist"})

    assert {path: each.contents for path, each in found.items()} == {"hist/0": b"v4", "hist/1": b"v3", "hist/2": b"v2"}
    assert [each.object_id for each in found.values()] == ["secret/db/0", "secret/db/1", "secret/db/2"]


async def test_a_history_leaves_out_what_is_disabled(files: Files, tenant: Tenant) -> None:
    """Also the latest."""
    for number in range(4):
        tenant.vault.set_secret("db", f"v{number}", enabled=number % 2 == 0)

    found = await files({"objectName": "db", "objectVersionHistory": 3})

    assert {path: each.contents for path, each in found.items()} == {"db/0": b"v2", "db/1": b"v0"}


async def test_a_history_begins_at_the_version_that_is_named(files: Files, tenant: Tenant) -> None:
    """And goes back from there."""
    versions = [tenant.vault.set_secret("db", f"v{number}") for number in range(4)]

    found = await files({"objectName": "db", "objectVersionHistory": 2, "objectVersion": versions[2]})

    assert [each.contents for each in found.values()] == [b"v2", b"v1"]


async def test_a_history_longer_than_a_page_is_read_to_its_end(files: Files, tenant: Tenant) -> None:
    """Key Vault lists 25 at a time, in an order of its own."""
    for number in range(60):
        tenant.vault.set_secret("db", f"v{number}")

    found = await files({"objectName": "db", "objectVersionHistory": 2147483647})

    assert [each.contents for each in found.values()] == [f"v{number}".encode() for number in reversed(range(60))]
    assert tenant.azure.faults.count("list secrets") == 3


async def test_a_history_moves_on_with_a_new_version(files: Files, tenant: Tenant) -> None:
    """Rotation: the newest is always file 0."""
    for number in range(3):
        tenant.vault.set_secret("db", f"v{number}")
        found = await files({"objectName": "db", "objectVersionHistory": 2})

    assert {path: each.contents for path, each in found.items()} == {"db/0": b"v2", "db/1": b"v1"}


async def test_a_private_cloud_is_read(opened: Callable[..., Any], tenant: Tenant, db: dict[str, str]) -> None:
    """Upstream's custom cloud; the file that the class names for it is not needed."""
    stack = {"cloudName": "AzureStackCloud", "cloudEnvFileName": "/etc/kubernetes/akscustom.json"}

    async with opened(KEYFERRY_AZURE_VAULT_RESOURCE="https://vault.azure.net") as provider:
        found = await provider.fetch(tenant.asks(db, {**db, "objectAlias": "alias"}, **stack))  # type: ignore[arg-type]  # parameters only

    assert [(each.path, each.contents) for each in found] == [("db", b"horse"), ("alias", b"horse")]


async def test_a_private_cloud_that_nobody_described_is_refused(
    provider: Provider, tenant: Tenant, db: dict[str, str]
) -> None:
    """With the name of what the operator must set."""
    with pytest.raises(InvalidSecretProviderClass, match="KEYFERRY_AZURE_VAULT_RESOURCE"):
        await provider.fetch(tenant.asks(db, cloudName="AzureStackCloud"))


@pytest.mark.parametrize("version", ["", "0" * 32])
async def test_a_history_of_nothing_is_an_error(files: Files, tenant: Tenant, version: str) -> None:
    """Neither a mount without the files, nor one of other versions."""
    tenant.vault.set_secret("db", "horse", enabled=bool(version))

    with pytest.raises(SecretNotFound, match=r"failed to list .*objectName:db.* no version of it is enabled"):
        await files({"objectName": "db", "objectVersionHistory": 2, "objectVersion": version})


@pytest.mark.parametrize(
    ("encoding", "value"),
    [
        ("hex", b"\x00\xffhorse".hex()),
        ("base64", base64.b64encode(b"\x00\xffhorse").decode()),
        ("Base64", "AP9ob3JzZQ=="),
    ],
)
async def test_an_encoding_is_taken_off(files: Files, tenant: Tenant, encoding: str, value: str) -> None:
    """In any case of letters, as upstream compares."""
    tenant.vault.set_secret("db", value)

    found = await files({"objectName": "db", "objectEncoding": encoding})

    assert found["db"].contents == b"\x00\xffhorse"


async def test_a_value_in_another_encoding_is_an_error_without_the_value(files: Files, tenant: Tenant) -> None:
    """It tells the size alone."""
    tenant.vault.set_secret("db", "canary!")

    with pytest.raises(InvalidSecretProviderClass, match=r"objects\[0\].objectEncoding is hex.*\(7 bytes\)") as refused:
        await files({"objectName": "db", "objectEncoding": "hex"})

    assert "canary" not in refused.value.message


async def test_texts_of_every_kind_arrive_as_they_are(files: Files, tenant: Tenant) -> None:
    """Also half a surrogate pair, which JSON can spell: it becomes what Go makes of it."""
    for name, value in {"a": "", "b": "ü€😀\r\n", "c": "\ud800x"}.items():
        tenant.vault.set_secret(name, value)

    found = await files(*({"objectName": name} for name in "abc"))

    assert [each.contents for each in found.values()] == [b"", "ü€😀\r\n".encode(), "\ufffdx".encode()]


async def test_what_is_named_twice_is_read_once(files: Files, tenant: Tenant, db: dict[str, str]) -> None:
    """Each entry still makes its file."""
    await files(db)
    before = tenant.azure.faults.count("get secrets")

    found = await files(db, {**db, "objectAlias": "again"})

    assert {path: each.contents for path, each in found.items()} == {"db": b"horse", "again": b"horse"}
    assert tenant.azure.faults.count("get secrets") == before + 1


async def test_of_two_entries_for_one_file_the_later_wins(files: Files, tenant: Tenant, db: dict[str, str]) -> None:
    """As in upstream, whose driver writes one after the other."""
    tenant.vault.set_secret("other", "staple")

    found = await files(db, {"objectName": "other", "objectAlias": "db"})

    assert [(each.path, each.contents) for each in found.values()] == [("db", b"staple")]


async def test_an_expired_secret_is_read_as_key_vault_gives_it(files: Files, tenant: Tenant) -> None:
    """Its documentation says that the time is for information; the mount goes on."""
    tenant.vault.set_secret("db", "horse", expires=1)

    assert (await files({"objectName": "db"}))["db"].contents == b"horse"


def _with(request: Any, parameters: dict[str, str]) -> Any:
    return type(request)(
        parameters=parameters,
        pod=request.pod,
        tokens=request.tokens,
        service_account_annotations=request.service_account_annotations,
        deadline=request.deadline,
    )
