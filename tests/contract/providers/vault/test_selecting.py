"""Selections: all secrets below a path, as OpenBao lists them, in engines of both versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from fetcher.provider import Answer
from fetcher.providers.vault import Vault
from keyferry.errors import AccessDenied, ContentTooLarge, InvalidSecretProviderClass, KeyferryError, SecretNotFound
from keyferry.testing.proxy import counting_proxy

if TYPE_CHECKING:
    from tests.contract.providers.vault.conftest import Tenant

MAY_LIST = 'path "secret/metadata/{}/*" {{ capabilities = ["list"] }}'


async def furnish(tenant: Tenant, *names: str) -> None:
    """Write secrets whose password is their name, and let the role list them."""
    for name in names:
        await tenant.put(name, password=name)
    await tenant.allow(MAY_LIST.format(tenant.name))


def below(tenant: Tenant, rest: str = "", **fields: Any) -> dict[str, Any]:
    return {"selectPrefix": tenant.path(rest), "secretKey": "password", **fields}


def files(answer: Answer) -> dict[str, str]:
    return {secret.path: secret.contents.decode() for secret in answer}


async def refused(vault: Vault, tenant: Tenant, entry: dict[str, Any], expected: type[KeyferryError]) -> str:
    with pytest.raises(expected) as caught:
        await vault.fetch(tenant.asks(entry))
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    return caught.value.message


async def test_everything_below_a_folder_is_a_file(vault: Vault, tenant: Tenant) -> None:
    """However deep, named by what comes after the prefix, each with its version and source."""
    await furnish(tenant, "app/db", "app/deep/er/key", "app/web", "application", "other/db")

    answer = await vault.fetch(tenant.asks(below(tenant, "app/")))

    assert files(answer) == {"db": "app/db", "deep/er/key": "app/deep/er/key", "web": "app/web"}
    assert [secret.object_id for secret in answer] == ["db", "deep/er/key", "web"]
    assert [secret.source for secret in answer] == [
        tenant.path(name) for name in ("app/db", "app/deep/er/key", "app/web")
    ]
    assert {secret.version for secret in answer} == {"1"}


async def test_a_prefix_may_end_within_a_name(vault: Vault, tenant: Tenant) -> None:
    """Then it selects what begins so, folders and secrets."""
    await furnish(tenant, "app/db-1", "app/db-2/x", "app/web", "app-2/db-3")

    answer = await vault.fetch(tenant.asks(below(tenant, "app/db-", objectName="of/db")))

    assert files(answer) == {"of/db/1": "app/db-1", "of/db/2/x": "app/db-2/x"}


async def test_a_whole_secrets_keys_are_files(vault: Vault, tenant: Tenant) -> None:
    """With expand each secret is a folder."""
    await tenant.put("app/db", user="ada", password="horse", port=5432, nothing=None)
    await tenant.put("app/web", token="t")
    await furnish(tenant)

    answer = await vault.fetch(
        tenant.asks({"selectPrefix": tenant.path("app/"), "objectName": "all", "expand": "json", "filePermission": 256})
    )

    assert files(answer) == {
        "all/db/password": "horse",
        "all/db/port": "5432",
        "all/db/user": "ada",
        "all/web/token": "t",
    }
    assert {secret.mode for secret in answer} == {0o400}


async def test_kv_version_1_is_listed_where_it_is_read(vault: Vault, tenant: Tenant) -> None:
    """The engine says which version it is; a folder called data is only a folder."""
    mount = f"{tenant.name}/kv1"
    await tenant.bao.enable_kv(mount, version=1)
    await tenant.bao.put_v1("data/app", {"password": "a"}, mount=mount)
    await tenant.bao.put_v1("data/deep/er", {"password": "b"}, mount=mount)
    await tenant.allow(f'path "{mount}/*" {{ capabilities = ["read", "list"] }}')

    answer = await vault.fetch(tenant.asks({"selectPrefix": f"/v1/{mount}/data/", "secretKey": "password"}))

    assert files(answer) == {"app": "a", "deep/er": "b"}


async def test_names_are_sent_as_they_are(vault: Vault, tenant: Tenant) -> None:
    """Whatever means something in a URL."""
    names = ["app/a b", "app/100%", "app/x?y=1", "app/ü", "app/a%2fb", "app/#1"]
    mount = f"{tenant.name}-odd"
    await tenant.bao.enable_kv(mount, version=1)

    def fill(client: Any) -> None:
        for name in names:
            url = f"{tenant.bao.address}/v1/{mount}/{quote(name)}"
            headers = {"X-Vault-Token": tenant.bao.root_token}
            client.adapter.session.put(url, json={"password": name}, headers=headers).raise_for_status()

    await tenant.bao.call(fill)
    await tenant.allow(f'path "{mount}/*" {{ capabilities = ["read", "list"] }}')

    answer = await vault.fetch(tenant.asks({"selectPrefix": f"{mount}/app/", "secretKey": "password"}))

    assert files(answer) == {name.removeprefix("app/"): name for name in names}
    assert {secret.source for secret in answer} == {f"{mount}/{name}" for name in names}


async def test_deleted_secrets_are_passed_over(vault: Vault, tenant: Tenant) -> None:
    """KV version 2 goes on listing them."""
    await furnish(tenant, "app/db", "app/gone", "app/lost")
    await tenant.bao.write(f"secret/delete/{tenant.name}/app/gone", {"versions": [1]})
    await tenant.bao.write(f"secret/destroy/{tenant.name}/app/lost", {"versions": [1]})

    assert files(await vault.fetch(tenant.asks(below(tenant, "app/")))) == {"db": "app/db"}


async def test_a_key_that_one_of_them_lacks_is_an_error_unless_optional(vault: Vault, tenant: Tenant) -> None:
    """The class says what each of them has."""
    await furnish(tenant, "app/db")
    await tenant.put("app/web", token="t")

    message = await refused(vault, tenant, below(tenant, "app/"), SecretNotFound)
    answer = await vault.fetch(tenant.asks(below(tenant, "app/", optional=True)))

    assert f'{{{tenant.path("app/web")}}}: {{key "password" does not exist at the secret path}}' in message
    assert files(answer) == {"db": "app/db"}
    assert answer.left_out == ("web",)


@pytest.mark.parametrize("name", ["", "all"])
async def test_an_empty_selection_is_an_error_unless_optional(vault: Vault, tenant: Tenant, name: str) -> None:
    """A misspelt prefix must not pass for an empty volume."""
    await furnish(tenant, "app/db")

    message = await refused(vault, tenant, below(tenant, "nix/"), SecretNotFound)
    answer = await vault.fetch(tenant.asks(below(tenant, "nix/", optional=True, objectName=name)))

    assert message == f"nothing in Vault begins with selectPrefix {tenant.path('nix/')}"
    assert (list(answer), answer.left_out) == ([], (name or tenant.path("nix/"),))


async def test_a_role_that_may_not_list_is_told_so(vault: Vault, tenant: Tenant) -> None:
    """Which capability, and where: the metadata, where nobody looks first. Optional or not."""
    await tenant.put("app/db", password="x")

    message = await refused(vault, tenant, below(tenant, "app/", optional=True), AccessDenied)

    path = f"secret/metadata/{tenant.name}/app/"
    assert message.endswith(f"permission denied: give a policy of this role list on {path}")


async def test_a_secret_that_may_not_be_read_fails_the_class(vault: Vault, tenant: Tenant) -> None:
    """Half of a selection would pass for all of it."""
    await furnish(tenant, "app/db", "app/web")
    rules = f'path "secret/data/{tenant.name}/app/web" {{ capabilities = ["deny"] }}'
    await tenant.allow(f"{MAY_LIST.format(tenant.name)}\n{rules}")

    message = await refused(vault, tenant, below(tenant, "app/", optional=True), AccessDenied)

    assert f"read on {tenant.path('app/web')}" in message


async def test_a_prefix_of_version_2_without_data_is_explained(vault: Vault, tenant: Tenant) -> None:
    """The commonest mistake here, too."""
    await furnish(tenant, "app/db")

    message = await refused(vault, tenant, {"selectPrefix": f"secret/{tenant.name}/"}, InvalidSecretProviderClass)

    assert "must begin with secret/data/" in message


async def test_other_engines_cannot_be_selected_from(vault: Vault, tenant: Tenant) -> None:
    """Reading all that they list would make things."""
    mount = f"{tenant.name}-pki"
    await tenant.bao.enable_pki(role="web", domain="example.com", mount=mount)
    await tenant.allow(f'path "{mount}/*" {{ capabilities = ["read", "list"] }}')

    message = await refused(vault, tenant, {"selectPrefix": f"{mount}/certs/"}, InvalidSecretProviderClass)

    assert "only KV engines can be selected from" in message


async def test_a_path_that_one_may_not_see_is_denied(vault: Vault, tenant: Tenant) -> None:
    """Vault does not tell strangers what is mounted."""
    assert "permission denied" in await refused(vault, tenant, {"selectPrefix": "nix/data/"}, AccessDenied)


async def test_files_and_folders_that_collide_are_told(vault: Vault, tenant: Tenant) -> None:
    """A secret and a folder of one name, or two entries with one file."""
    await furnish(tenant, "app", "app/db", "web/db")

    one = await refused(vault, tenant, below(tenant), InvalidSecretProviderClass)
    with pytest.raises(InvalidSecretProviderClass) as caught:
        await vault.fetch(tenant.asks(below(tenant, "app/"), below(tenant, "web/")))

    assert one.startswith("file app/db needs a folder where app is a file")
    assert caught.value.message.startswith("1 files would be written twice, such as db")


async def test_more_than_a_selection_may_stand_for_is_refused(vault: Vault, tenant: Tenant) -> None:
    """Before they are read."""
    mount = f"{tenant.name}-many"
    await tenant.bao.enable_kv(mount, version=1)

    def fill(client: Any) -> None:
        for number in range(1001):
            client.adapter.put(f"/v1/{mount}/app/{number}", json={"a": "b"})

    await tenant.bao.call(fill)
    await tenant.allow(f'path "{mount}/*" {{ capabilities = ["read", "list"] }}')

    parts = [{"selectPrefix": f"{mount}/app/{digit}", "objectName": f"of{digit}"} for digit in range(10)]

    message = await refused(vault, tenant, {"selectPrefix": f"{mount}/app/"}, ContentTooLarge)
    with pytest.raises(ContentTooLarge, match="selects more than 1000 secrets in all"):
        await vault.fetch(tenant.asks(*parts))

    assert "more than 1000 secrets begin so" in message
    assert tenant.bao.count_requests(f"{mount}/app/", operation="read") == 0


async def test_folders_have_an_end(vault: Vault, tenant: Tenant) -> None:
    """Seventeen of them in one another are one too many."""
    deepest = "/".join("abcdefghijklmnop")
    await furnish(tenant, f"{deepest}/x")
    assert len(await vault.fetch(tenant.asks(below(tenant, "a/")))) == 1
    await furnish(tenant, f"{deepest}/q/r/x")

    assert "deeper than 16" in await refused(vault, tenant, below(tenant, "a/"), InvalidSecretProviderClass)


@pytest.mark.parametrize(
    "body", ['{"data": {}}', '{"data": {"keys": "a"}}', '{"data": {"keys": [1]}}', '{"data": {"keys": ["/"]}}']
)
@pytest.mark.parametrize("step", ["/metadata/", "/internal/ui/mounts/"])
async def test_a_listing_that_makes_no_sense_is_no_selection(
    vault: Vault, tenant: Tenant, body: str, step: str
) -> None:
    """It may be another kind of server, or of version."""
    await furnish(tenant, "app/db")
    async with counting_proxy(tenant.bao.address) as proxy:
        proxy.fail(status=200, match=step, body=body)
        with pytest.raises(KeyferryError, match=r"makes no sense|only KV engines"):
            await vault.fetch(tenant.at(proxy.url).asks(below(tenant, "app/")))


@pytest.mark.parametrize("name", ["..", "a/../b", ".", "..data", "a\\nb", "x" * 256])
async def test_a_name_that_is_no_files_name_is_refused(vault: Vault, tenant: Tenant, name: str) -> None:
    """Whoever may write secrets must not choose where files go."""
    await furnish(tenant, "app/db")
    async with counting_proxy(tenant.bao.address) as proxy:
        proxy.fail(status=200, match="/metadata/", body=f'{{"data": {{"keys": ["{name}"]}}}}')
        with pytest.raises(InvalidSecretProviderClass, match="cannot be a file's"):
            await vault.fetch(tenant.at(proxy.url).asks(below(tenant, "app/")))
        assert proxy.count("GET /v1/secret/data/") == 0
