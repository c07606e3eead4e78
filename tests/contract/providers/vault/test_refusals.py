"""What a class's author reads when Vault says no, and what they must never read."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import pytest

from fetcher.provider import ProviderRequest
from fetcher.providers.vault import Vault
from keyferry.errors import AccessDenied, InvalidSecretProviderClass, KeyferryError, SecretNotFound

if TYPE_CHECKING:
    from tests.contract.providers.vault.conftest import Tenant


async def refused(vault: Vault, request: ProviderRequest, expected: type[KeyferryError]) -> str:
    """Fetch, expect this class of error, see that nothing secret hangs on it, and give its message."""
    with pytest.raises(expected) as caught:
        await vault.fetch(request)
    assert type(caught.value) is expected
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    shown = "".join(traceback.format_exception(caught.value))
    assert not [token for token in request.tokens.values() if token in shown]
    return caught.value.message


def entry(path: str, **fields: Any) -> dict[str, Any]:
    return {"objectName": "one", "secretPath": path, "secretKey": "password", **fields}


async def test_a_missing_secret_is_named(vault: Vault, tenant: Tenant) -> None:
    """404 names the path and the role."""
    message = await refused(vault, tenant.asks(entry(tenant.path("gone"))), SecretNotFound)

    assert message == f'GET {tenant.path("gone")} from Vault as role "{tenant.name}": there is no such secret'


async def test_all_missing_secrets_are_named_at_once(vault: Vault, tenant: Tenant) -> None:
    """An author with two mistakes reads of both."""
    await tenant.put("app", password="horse")
    request = tenant.asks(
        entry(tenant.path("app")),
        entry(tenant.path("gone"), objectName="two"),
        entry(tenant.path("app"), objectName="three", secretKey="user"),
    )

    message = await refused(vault, request, SecretNotFound)

    assert f"GET {tenant.path('gone')} from" in message
    assert f'; {{{tenant.path("app")}}}: {{key "user" does not exist at the secret path}}' in message


@pytest.mark.parametrize(("action", "words"), [("delete", "was deleted"), ("destroy", "was destroyed")])
async def test_a_deleted_version_is_said_to_be_so(vault: Vault, tenant: Tenant, action: str, words: str) -> None:
    """KV version 2 answers 404 with metadata; an old value is not served."""
    await tenant.put("app", password="horse")
    await tenant.bao.write(f"secret/{action}/{tenant.name}/app", {"versions": [1]})

    assert words in await refused(vault, tenant.asks(entry(tenant.path("app"))), SecretNotFound)


async def test_a_path_of_kv_version_1_on_version_2_is_explained(vault: Vault, tenant: Tenant) -> None:
    """The commonest mistake: data/ is missing after the mount."""
    path = f"secret/{tenant.name}/app"
    await tenant.allow(f'path "{path}" {{ capabilities = ["read"] }}')

    assert "write data/ after the mount" in await refused(vault, tenant.asks(entry(path)), SecretNotFound)


async def test_an_engine_that_is_not_mounted_is_said_to_be_so(vault: Vault, tenant: Tenant) -> None:
    """Known only to those who may read there; others are denied."""
    path = f"{tenant.name}-no/app"
    await tenant.allow(f'path "{path}" {{ capabilities = ["read"] }}')

    assert "no secrets engine is mounted there" in await refused(vault, tenant.asks(entry(path)), SecretNotFound)


async def test_a_path_that_the_policy_does_not_grant_is_denied(vault: Vault, tenant: Tenant) -> None:
    """403 names path, role and the capability that is missing."""
    message = await refused(vault, tenant.asks(entry("secret/data/other/app")), AccessDenied)

    assert message == (
        f'GET secret/data/other/app from Vault as role "{tenant.name}": permission denied: '
        f"give a policy of this role read on secret/data/other/app"
    )


async def test_the_wrong_method_is_explained(vault: Vault, tenant: Tenant) -> None:
    """PKI does not issue on GET, which is the default."""
    mount = f"{tenant.name}-pki"
    await tenant.bao.enable_pki(role="web", domain="example.com", mount=mount)
    await tenant.allow(f'path "{mount}/issue/web" {{ capabilities = ["read", "create", "update"] }}')

    message = await refused(vault, tenant.asks(entry(f"{mount}/issue/web")), InvalidSecretProviderClass)

    assert "does not support GET here: set another method" in message


async def test_a_refused_argument_is_explained_without_its_value(vault: Vault, tenant: Tenant) -> None:
    """Vault's reason is shown; what secretArgs held is cut out of it."""
    mount = f"{tenant.name}-pki"
    await tenant.bao.enable_pki(role="web", domain="example.com", mount=mount)
    await tenant.allow(f'path "{mount}/issue/web" {{ capabilities = ["create", "update"] }}')
    args = {"common_name": "canary.elsewhere.org"}

    message = await refused(
        vault, tenant.asks(entry(f"{mount}/issue/web", method="PUT", secretArgs=args)), InvalidSecretProviderClass
    )

    assert "Vault refuses it (400): common name … not allowed by this role" in message
    assert "canary" not in message


@pytest.mark.parametrize("encoding", ["base64", "hex"])
async def test_a_value_in_another_encoding_is_not_shown(vault: Vault, tenant: Tenant, encoding: str) -> None:
    """The message gives the value's length only."""
    await tenant.put("app", password="canary!")

    message = await refused(
        vault, tenant.asks(entry(tenant.path("app"), encoding=encoding)), InvalidSecretProviderClass
    )

    assert f'key "password" is not {encoding}' in message
    assert "(7 bytes)" in message
    assert "canary" not in message


async def test_an_unknown_role_is_denied(vault: Vault, tenant: Tenant) -> None:
    """Vault's own words about the role are shown."""
    message = await refused(vault, tenant.asks(entry("a/b"), roleName="nobody"), AccessDenied)

    assert f"logging in to Vault at auth/{tenant.name}/login" in message
    assert 'role "nobody" could not be found' in message


async def test_another_service_account_is_denied(vault: Vault, tenant: Tenant) -> None:
    """The role is bound to one; the message names the one that asked."""
    message = await refused(vault, tenant.of("intruder").asks(entry(tenant.path("app"))), AccessDenied)

    assert "service account shop/intruder" in message
    assert tenant.logins() == 1


async def test_a_token_for_another_audience_is_denied(vault: Vault, tenant: Tenant) -> None:
    """Vault checks the audience that the role is bound to."""
    request = tenant.asks(entry(tenant.path("app")), audience="elsewhere")

    assert "aud" in await refused(vault, request, AccessDenied)


async def test_a_custom_audience_logs_in(vault: Vault, tenant: Tenant) -> None:
    """The parameter audience chooses among the pod's tokens (upstream's e2e test 10)."""
    await tenant.put("app", password="horse")
    await tenant.bao.write(f"auth/{tenant.name}/role/{tenant.name}", {"role_type": "jwt", "bound_audiences": ["own"]})

    (secret,) = await vault.fetch(tenant.asks(entry(tenant.path("app")), audience="own"))

    assert secret.contents == b"horse"


async def test_a_token_that_the_pod_does_not_have_is_asked_for(vault: Vault, tenant: Tenant) -> None:
    """The CSIDriver object must request the audience; Vault is not called."""
    tokens = {"keyferry": "ours-alone"}
    request = ProviderRequest(parameters=tenant.asks(entry("a/b")).parameters, pod=tenant.pod, tokens=tokens)

    message = await refused(vault, request, InvalidSecretProviderClass)

    assert 'no service account token for audience "vault"' in message
    assert tenant.logins() == 0


async def test_a_mount_that_does_not_exist_is_denied(vault: Vault, tenant: Tenant) -> None:
    """Vault does not tell strangers what is mounted: the message names the mount that was tried."""
    message = await refused(vault, tenant.asks(entry("a/b"), vaultAuthMountPath="nix"), AccessDenied)

    assert "auth/nix/login" in message


async def test_a_class_that_cannot_work_is_refused_before_any_call(vault: Vault, tenant: Tenant) -> None:
    """All problems come in one message."""
    request = tenant.asks({"objectName": "../x", "secretPath": "a/b"}, roleName="", vaultAddress="ftp://x")

    message = await refused(vault, request, InvalidSecretProviderClass)

    assert "missing 'roleName' in SecretProviderClass definition" in message
    assert "vaultAddress is not a usable URL" in message
    assert "objects[0].objectName must be a relative path" in message
    assert tenant.logins() == 0
