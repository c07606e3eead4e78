"""The other ways to prove who asks: the fetcher's own credentials, a key.json, and where the pool is looked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fetcher.provider import Provider
from keyferry.errors import AccessDenied, InvalidSecretProviderClass, ProviderUnavailable
from keyferry.settings import SettingsError
from keyferry.testing.gcp import Fault, GcpEmulator

if TYPE_CHECKING:
    from tests.contract.providers.gcp.conftest import Tenant

Entry = Callable[..., dict[str, Any]]

ACCOUNT = "app@demo.iam.gserviceaccount.com"
ACCESSOR = "roles/secretmanager.secretAccessor"
PROVIDER = "//iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/clusters/providers/one"
CLUSTER = "https://container.googleapis.com/v1/projects/demo/locations/europe-west1/clusters/blue"


@pytest.fixture
def key(gcp: GcpEmulator, tenant: Tenant) -> dict[str, str]:
    """A key.json of an account that may read the secret db, which the pod may not."""
    name = tenant.put("db", b"horse", readable=False)
    gcp.policies.allow(f"serviceAccount:{ACCOUNT}", name, ACCESSOR)
    return gcp.identities.create_account(ACCOUNT)


def db(entry: Entry) -> dict[str, Any]:
    return entry("projects/demo/secrets/db")


async def test_a_pod_may_bring_a_key_where_the_operator_allows_it(
    opened: Callable[..., Any], tenant: Tenant, key: dict[str, str], entry: Entry
) -> None:
    """No token of the pod is needed then, and the key is exchanged once for many fetches."""
    async with opened(ALLOW_NODE_PUBLISH_SECRET="true") as provider:
        for _ in range(2):
            (found,) = await provider.fetch(tenant.asks(db(entry), key=key, tokens={}))

            assert found.contents == b"horse"
    assert [call.method for call in tenant.gcp.faults.calls].count("oauth") == 1


async def test_a_key_is_refused_where_the_operator_does_not_allow_it(
    provider: Provider, tenant: Tenant, key: dict[str, str], entry: Entry
) -> None:
    """With upstream's words and the name of the setting; nobody is asked."""
    with pytest.raises(AccessDenied, match=r"no auth method configured.*ALLOW_NODE_PUBLISH_SECRET"):
        await provider.fetch(tenant.asks(db(entry), key=key))

    assert not tenant.gcp.faults.calls


@pytest.mark.parametrize("auth", ["pod-adc", "provider-adc"])
async def test_a_key_and_another_way_do_not_go_together(
    provider: Provider, tenant: Tenant, key: dict[str, str], entry: Entry, auth: str
) -> None:
    """Upstream's words."""
    with pytest.raises(
        InvalidSecretProviderClass, match=f"attempting to set both nodePublishSecretRef and {auth} auth"
    ):
        await provider.fetch(tenant.asks(db(entry), key=key, auth=auth))


@pytest.mark.parametrize(
    "change",
    [{"type": "external_account"}, {"client_email": "../x"}, {"private_key": "-----BEGIN PRIVATE KEY-----"}],
)
async def test_a_key_that_is_none_is_refused(
    opened: Callable[..., Any], tenant: Tenant, key: dict[str, str], entry: Entry, change: dict[str, str]
) -> None:
    """Credentials files of other kinds name files of the fetcher's and hosts that they would be sent to."""
    async with opened(ALLOW_NODE_PUBLISH_SECRET="true") as provider:
        with pytest.raises(AccessDenied, match=r"unable to generate credentials from key\.json.* is no "):
            await provider.fetch(tenant.asks(db(entry), key={**key, **change}))

    assert not tenant.gcp.faults.calls


async def test_a_key_that_google_does_not_know_is_denied(
    opened: Callable[..., Any], tenant: Tenant, key: dict[str, str], entry: Entry
) -> None:
    """As after it was replaced."""
    tenant.gcp.identities.create_account(ACCOUNT)

    async with opened(ALLOW_NODE_PUBLISH_SECRET="true") as provider:
        with pytest.raises(AccessDenied, match=f"key.json of {ACCOUNT}: status 400: invalid_grant"):
            await provider.fetch(tenant.asks(db(entry), key=key))


async def test_where_a_key_is_sent_is_not_the_keys_to_say(
    opened: Callable[..., Any], tenant: Tenant, key: dict[str, str], entry: Entry
) -> None:
    """Its token_uri is the pod owner's choice, and the fetcher no tool for reaching other hosts."""
    async with opened(ALLOW_NODE_PUBLISH_SECRET="true") as provider:
        (found,) = await provider.fetch(tenant.asks(db(entry), key={**key, "token_uri": "http://127.0.0.1:1/"}))

    assert found.contents == b"horse"


async def test_a_class_may_use_the_fetchers_own_credentials_where_the_operator_allows_it(
    opened: Callable[..., Any], tenant: Tenant, own: dict[str, str], entry: Entry
) -> None:
    """The pod needs no token then; they are exchanged once for many fetches."""
    async with opened(**own) as provider:
        for _ in range(2):
            (found,) = await provider.fetch(tenant.asks(db(entry), auth="provider-adc", tokens={}))

            assert found.contents == b"horse"
    assert tenant.gcp.faults.count("token") == 1


@pytest.mark.usefixtures("own")
async def test_the_fetchers_own_credentials_are_not_used_otherwise(
    provider: Provider, tenant: Tenant, entry: Entry
) -> None:
    """The text names the setting; nobody is asked."""
    with pytest.raises(AccessDenied, match="KEYFERRY_GCP_ALLOW_PROVIDER_ADC"):
        await provider.fetch(tenant.asks(db(entry), auth="provider-adc"))

    assert not tenant.gcp.faults.calls


async def test_what_the_fetcher_may_not_read_is_denied(
    opened: Callable[..., Any], tenant: Tenant, own: dict[str, str], entry: Entry
) -> None:
    """In its name, not the pod's."""
    other = tenant.put("other", b"horse")

    async with opened(**own) as provider:
        with pytest.raises(AccessDenied, match="as the fetcher's own credentials"):
            await provider.fetch(tenant.asks(entry(other), auth="provider-adc"))


async def test_credentials_that_google_refuses_are_denied_without_its_words(
    opened: Callable[..., Any], tenant: Tenant, own: dict[str, str], entry: Entry, tmp_path: Path
) -> None:
    """Its library puts what was answered into its errors."""
    (tmp_path / "token").write_text("none")

    async with opened(**own) as provider:
        with pytest.raises(AccessDenied, match=r"provider-adc\): Google gives no token \(OAuthError\)"):
            await provider.fetch(tenant.asks(db(entry), auth="provider-adc"))


async def test_a_credentials_file_can_name_the_pool(
    opened: Callable[..., Any], tenant: Tenant, own: dict[str, str], entry: Entry
) -> None:
    """As upstream finds it on clusters outside GKE; the pod is still who asks."""
    pool = PROVIDER.removeprefix("//iam.googleapis.com/").rpartition("/providers/")[0]
    member = f"principal://iam.googleapis.com/{pool}/subject/system:serviceaccount:shop:web"
    tenant.gcp.policies.allow(member, "projects/demo/secrets/db", ACCESSOR)
    token = tenant.token(PROVIDER, iss="https://cluster.example")

    async with opened(**own, GAIA_TOKEN_EXCHANGE_ENDPOINT=f"{tenant.gcp.url}/v1/token") as provider:
        (found,) = await provider.fetch(tenant.asks(db(entry), tokens={PROVIDER: token}))

    assert found.contents == b"horse"
    assert tenant.gcp.faults.count("token") == 1


async def test_a_credentials_file_can_name_the_pool_of_a_fleet(
    opened: Callable[..., Any], tenant: Tenant, tmp_path: Path, entry: Entry
) -> None:
    """Pool and provider stand in its audience, by colons."""
    name = tenant.put("db", b"horse")
    file = tmp_path / "fleet.json"
    file.write_text(
        json.dumps({"type": "external_account", "audience": f"identitynamespace:demo.svc.id.goog:{CLUSTER}"})
    )

    async with opened(GOOGLE_APPLICATION_CREDENTIALS=str(file), GCE_METADATA_HOST="127.0.0.1:1") as provider:
        (found,) = await provider.fetch(tenant.asks(entry(name)))

    assert found.contents == b"horse"


async def test_the_cluster_can_be_named_in_settings(opened: Callable[..., Any], tenant: Tenant, entry: Entry) -> None:
    """Upstream's variables; the metadata server is then not asked."""
    name = tenant.put("db", b"horse")

    async with opened(PROJECT="demo", CLUSTER_NAME="blue", CLUSTER_LOCATION="europe-west1") as provider:
        (found,) = await provider.fetch(tenant.asks(entry(name)))

    assert found.contents == b"horse"
    assert tenant.gcp.faults.count("metadata") == 0


async def test_the_metadata_server_is_asked_once(provider: Provider, tenant: Tenant, entry: Entry) -> None:
    """For project, location and name of the cluster, whichever settings leave open."""
    request = tenant.asks(entry(tenant.put("db", b"horse")))

    await provider.fetch(request)
    await provider.fetch(request)

    assert tenant.gcp.faults.count("metadata") == 3


async def test_a_cluster_that_nobody_knows_is_said_to_be(
    opened: Callable[..., Any], tenant: Tenant, entry: Entry
) -> None:
    """The operator reads which settings would help; once there is a metadata server again, it works."""
    name = tenant.put("db", b"horse")
    known = tenant.gcp.metadata.pop("instance/attributes/cluster-name")

    async with opened() as provider:
        with pytest.raises(AccessDenied, match=r"pool is not known.*cluster-name.*CLUSTER_NAME"):
            await provider.fetch(tenant.asks(entry(name)))
        tenant.gcp.faults.once("metadata", Fault(status=503))
        with pytest.raises(ProviderUnavailable, match=r"the metadata server failed \(503\)"):
            await provider.fetch(tenant.asks(entry(name)))
        tenant.gcp.metadata["instance/attributes/cluster-name"] = known
        (found,) = await provider.fetch(tenant.asks(entry(name)))

    assert found.contents == b"horse"


async def test_without_a_metadata_server_the_settings_are_named(
    opened: Callable[..., Any], tenant: Tenant, entry: Entry
) -> None:
    """As on a cluster elsewhere."""
    async with opened(GCE_METADATA_HOST="127.0.0.1:1") as provider:
        with pytest.raises(AccessDenied, match="KEYFERRY_GCP_WORKLOAD_IDENTITY_PROVIDER"):
            await provider.fetch(tenant.asks(entry(tenant.put("db", b"horse"))))


async def test_a_ca_file_that_is_none_ends_the_start(opened: Callable[..., Any], tmp_path: Path) -> None:
    """Not the first fetch."""
    (tmp_path / "ca.crt").write_text("none")

    for file in ("ca.crt", "missing"):
        with pytest.raises(SettingsError, match="KEYFERRY_GCP_CA_FILE"):
            async with opened(KEYFERRY_GCP_CA_FILE=str(tmp_path / file)):
                pass
