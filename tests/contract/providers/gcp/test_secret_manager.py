"""Upstream's end-to-end cases for Secret Manager, and what versions and endpoints mean to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from fetcher.provider import Provider
from keyferry.errors import AccessDenied, InvalidSecretProviderClass, SecretNotFound
from keyferry.testing.gcp import GcpEmulator

if TYPE_CHECKING:
    from tests.contract.providers.gcp.conftest import Tenant

Entry = Callable[..., dict[str, Any]]


async def test_a_global_and_a_regional_secret_are_read(provider: Provider, tenant: Tenant, entry: Entry) -> None:
    """Upstream's TestMountSecret: each from its own endpoint, with the version that latest stands for."""
    there, here = tenant.put("db", b"horse"), tenant.put("db", b"staple", location="europe-west1")
    tenant.put("db", b"correct horse")

    found = await provider.fetch(tenant.asks(entry(there, "global"), entry(here, "regional")))

    number = tenant.gcp.policies.number("demo")
    assert [(each.path, each.contents, each.object_id, each.version) for each in found] == [
        (
            "global",
            b"correct horse",
            "projects/demo/secrets/db/versions/latest",
            f"projects/{number}/secrets/db/versions/2",
        ),
        (
            "regional",
            b"staple",
            "projects/demo/locations/europe-west1/secrets/db/versions/latest",
            f"projects/{number}/locations/europe-west1/secrets/db/versions/1",
        ),
    ]


async def test_the_guides_manifest_needs_nothing_but_secrets(provider: Provider, tenant: Tenant) -> None:
    """The seed's class as it stands, project number and all."""
    number = tenant.gcp.policies.number("demo")
    for secret in ("db-password", "api-key"):
        tenant.put(secret, secret.encode())
    text = f"""
- resourceName: "projects/{number}/secrets/db-password/versions/latest"
  path: "db-password"
- resourceName: "projects/{number}/secrets/api-key/versions/latest"
  path: "api-key"
"""

    found = await provider.fetch(tenant.asks(secrets=text))

    assert [(each.path, each.contents) for each in found] == [
        ("db-password", b"db-password"),
        ("api-key", b"api-key"),
    ]


async def test_a_secret_has_its_own_mode(provider: Provider, tenant: Tenant) -> None:
    """Upstream's TestMountSecretFileMode, for both kinds of secrets and both ways to write it."""
    there, here = tenant.put("db", b"1"), tenant.put("db", b"2", location="europe-west1")

    text = f"""
- {{resourceName: {there}/versions/1, path: a, mode: 0400}}
- {{resourceName: {here}/versions/1, path: b, mode: 256}}
- {{resourceName: {there}/versions/1, path: c}}
"""
    found = await provider.fetch(tenant.asks(secrets=text))

    assert [each.mode for each in found] == [0o400, 0o400, None]


async def test_a_path_may_be_nested_and_wins_over_the_file_name(
    provider: Provider, tenant: Tenant, entry: Entry
) -> None:
    """Upstream's TestMountNestedPath."""
    name = tenant.put("db", b"horse")

    found = await provider.fetch(
        tenant.asks(entry(name, "my/nested/path/db", fileName="ignored"), entry(name, "", fileName="kept"))
    )

    assert [each.path for each in found] == ["my/nested/path/db", "kept"]


@pytest.mark.parametrize("bad", ["/db", "../db", "a/../../b"])
async def test_a_path_that_leaves_the_volume_is_refused(
    provider: Provider, tenant: Tenant, entry: Entry, bad: str
) -> None:
    """Upstream's TestMountInvalidPath looks for these words; nobody is asked for such a class."""
    with pytest.raises(InvalidSecretProviderClass, match="invalid path"):
        await provider.fetch(tenant.asks(entry(tenant.put("db", b"horse"), bad)))

    assert not tenant.gcp.faults.calls


async def test_a_rotated_secret_is_read_anew(provider: Provider, tenant: Tenant, entry: Entry) -> None:
    """Upstream's TestMountRotateSecret, global and regional: the next fetch has the new version and says so."""
    there, here = tenant.put("db", b"secreta"), tenant.put("db", b"secreta", location="europe-west1")
    request = tenant.asks(entry(there, "global"), entry(here, "regional"))
    before = await provider.fetch(request)
    tenant.put("db", b"secretb")
    tenant.put("db", b"secretb", location="europe-west1")

    after = await provider.fetch(request)

    assert [each.contents for each in before] == [b"secreta"] * 2
    assert [each.contents for each in after] == [b"secretb"] * 2
    assert not {each.version for each in before} & {each.version for each in after}


async def test_a_key_is_taken_out_of_a_document(provider: Provider, tenant: Tenant, entry: Entry) -> None:
    """Upstream's TestMountExtractSecret, JSON and YAML."""
    as_json, as_yaml = tenant.put("json", b'{"user": "app", "n": 1}'), tenant.put("yaml", b"user: app\nn: 1\n")

    found = await provider.fetch(
        tenant.asks(entry(as_json, "a", extractJSONKey="user"), entry(as_yaml, "b", extractYAMLKey="user"))
    )

    assert [each.contents for each in found] == [b"app", b"app"]


async def test_contents_are_decoded_where_the_class_says_so(provider: Provider, tenant: Tenant, entry: Entry) -> None:
    """After the key has been taken out."""
    name = tenant.put("db", b'{"key": "AP8="}')

    (found,) = await provider.fetch(tenant.asks(entry(name, extractJSONKey="key", decodeBase64=True)))

    assert found.contents == b"\x00\xff"


async def test_a_version_by_number_or_alias(provider: Provider, tenant: Tenant, gcp: GcpEmulator, entry: Entry) -> None:
    """Both are resolved to the version's own name."""
    name = tenant.put("db", b"one")
    tenant.put("db", b"two")
    gcp.secrets.secret(name).aliases["live"] = 1

    found = await provider.fetch(
        tenant.asks(entry(name, "a", version="live"), entry(name, "b", version="1"), entry(name, "c", version="2"))
    )

    assert [each.contents for each in found] == [b"one", b"one", b"two"]
    assert found[0].version == found[1].version


async def test_a_secret_in_two_files_is_read_once(provider: Provider, tenant: Tenant, entry: Entry) -> None:
    """So that both files are of one version."""
    name = tenant.put("db", b'{"user": "app", "key": "horse"}')

    found = await provider.fetch(
        tenant.asks(entry(name, "user", extractJSONKey="user"), entry(name, "key", extractJSONKey="key"))
    )

    assert [each.contents for each in found] == [b"app", b"horse"]
    assert tenant.gcp.faults.count("AccessSecretVersion") == 1


async def test_of_two_secrets_in_one_file_the_later_is_kept(provider: Provider, tenant: Tenant, entry: Entry) -> None:
    """As upstream's driver writes them."""
    one, two = tenant.put("one", b"1"), tenant.put("two", b"2")

    (found,) = await provider.fetch(tenant.asks(entry(one), entry(two)))

    assert found.contents == b"2"


@pytest.mark.parametrize("state", ["DISABLED", "DESTROYED"])
async def test_a_version_that_is_off_is_said_to_be(
    provider: Provider, tenant: Tenant, gcp: GcpEmulator, entry: Entry, state: str
) -> None:
    """Not merely missing."""
    name = tenant.put("db", b"horse")
    version = gcp.secrets.version(f"{name}/versions/1")
    gcp.secrets.set_state(version.name, getattr(type(version.state), state))

    with pytest.raises(SecretNotFound, match=f"secrets/db/versions/latest as .*this version is {state.lower()}"):
        await provider.fetch(tenant.asks(entry(name)))


async def test_all_that_is_missing_is_named_at_once(
    provider: Provider, tenant: Tenant, gcp: GcpEmulator, entry: Entry
) -> None:
    """One failing secret fails the class, and all that fail alike are in the text."""
    gcp.policies.allow(tenant.member, "projects/demo", "roles/secretmanager.secretAccessor")
    there = tenant.put("there", b"horse")

    with pytest.raises(SecretNotFound) as refused:
        await provider.fetch(
            tenant.asks(entry("projects/demo/secrets/x", "x"), entry(there, "a"), entry("projects/demo/secrets/y", "y"))
        )

    assert "secrets/x/" in refused.value.message
    assert "secrets/y/" in refused.value.message
    assert "secrets/there/" not in refused.value.message


async def test_what_may_not_be_read_is_denied_by_name(provider: Provider, tenant: Tenant, entry: Entry) -> None:
    """The text names the secret, the service account, and the role to grant."""
    name = tenant.put("db", b"horse", readable=False)

    with pytest.raises(AccessDenied, match=r"secrets/db/versions/latest as service account shop/web: .*secretAccessor"):
        await provider.fetch(tenant.asks(entry(name)))


async def test_a_key_that_is_not_there_is_named(provider: Provider, tenant: Tenant, entry: Entry) -> None:
    """With upstream's words and the secret it was looked for in."""
    name = tenant.put("db", b'{"user": "app"}')

    with pytest.raises(SecretNotFound, match="secrets/db/versions/latest: key 'key' not found in JSON"):
        await provider.fetch(tenant.asks(entry(name, extractJSONKey="key")))


async def test_many_secrets_are_read_with_one_token(provider: Provider, tenant: Tenant, entry: Entry) -> None:
    """Upstream's load test has 50 a class."""
    names = [tenant.put(f"s{number}", str(number).encode()) for number in range(50)]

    found = await provider.fetch(tenant.asks(*(entry(name, name.rpartition("/")[2]) for name in names)))

    assert [each.contents for each in found] == [str(number).encode() for number in range(50)]
    assert tenant.gcp.faults.count("identitybindingtoken") == 1


async def test_contents_do_not_show(provider: Provider, tenant: Tenant, entry: Entry) -> None:
    """Neither in a secret's repr nor in a request's."""
    request = tenant.asks(entry(tenant.put("db", b"horse")))

    (found,) = await provider.fetch(request)

    assert found.contents == b"horse"
    assert "horse" not in repr(found)
    assert tenant.token()[:20] not in repr(request)
