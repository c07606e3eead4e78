"""Whom Google sees: the pod's service account, the account that it acts as, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from fetcher.provider import Provider
from keyferry.errors import AccessDenied, InvalidSecretProviderClass
from keyferry.testing.gcp import GcpEmulator

if TYPE_CHECKING:
    from tests.contract.providers.gcp.conftest import Tenant

Entry = Callable[..., dict[str, Any]]

POOL = "demo.svc.id.goog"
ACCOUNT = "app@demo.iam.gserviceaccount.com"
BETWEEN = "between@demo.iam.gserviceaccount.com"
ACCESSOR = "roles/secretmanager.secretAccessor"
PROVIDER = "//iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/clusters/providers/one"


@pytest.fixture
def annotated(gcp: GcpEmulator, tenant: Tenant) -> dict[str, str]:
    """The annotation of a pod's service account that may act as a Google service account."""
    gcp.identities.create_account(ACCOUNT)
    gcp.policies.allow(tenant.member, f"serviceAccounts/{ACCOUNT}", "roles/iam.workloadIdentityUser")
    return {"iam.gke.io/gcp-service-account": ACCOUNT}


async def test_a_pod_acts_as_the_account_of_its_annotation(
    provider: Provider, tenant: Tenant, gcp: GcpEmulator, annotated: dict[str, str], entry: Entry
) -> None:
    """The secret lets in the account, not the pod."""
    name = tenant.put("db", b"horse", readable=False)
    gcp.policies.allow(f"serviceAccount:{ACCOUNT}", name, ACCESSOR)

    (found,) = await provider.fetch(tenant.asks(entry(name), annotations=annotated))

    assert found.contents == b"horse"


async def test_what_the_account_may_not_read_is_denied_in_both_names(
    provider: Provider, tenant: Tenant, annotated: dict[str, str], entry: Entry
) -> None:
    """The pod's own rights are given up with the annotation."""
    name = tenant.put("db", b"horse")

    with pytest.raises(AccessDenied, match=rf"as {ACCOUNT} \(service account shop/web\)"):
        await provider.fetch(tenant.asks(entry(name), annotations=annotated))


async def test_an_account_can_be_reached_through_others(
    provider: Provider, tenant: Tenant, gcp: GcpEmulator, entry: Entry
) -> None:
    """Each lets in the one before it."""
    name = tenant.put("db", b"horse", readable=False)
    gcp.policies.allow(f"serviceAccount:{ACCOUNT}", name, ACCESSOR)
    for account in (ACCOUNT, BETWEEN):
        gcp.identities.create_account(account)
    gcp.policies.allow(tenant.member, f"serviceAccounts/{BETWEEN}", "roles/iam.workloadIdentityUser")
    gcp.policies.allow(
        f"serviceAccount:{BETWEEN}", f"serviceAccounts/{ACCOUNT}", "roles/iam.serviceAccountTokenCreator"
    )
    annotations = {
        "iam.gke.io/gcp-service-account": ACCOUNT,
        "iam.gke.io/gcp-service-account-delegates": f'["{BETWEEN}"]',
    }

    (found,) = await provider.fetch(tenant.asks(entry(name), annotations=annotations))

    assert found.contents == b"horse"


async def test_another_account_of_the_namespace_may_not_act_as_it(
    provider: Provider, tenant: Tenant, annotated: dict[str, str], entry: Entry
) -> None:
    """Annotating a service account is not enough; the text says what is missing and for whom."""
    intruder = tenant.of("intruder")

    with pytest.raises(AccessDenied) as refused:
        await provider.fetch(intruder.asks(entry(tenant.put("db", b"horse")), annotations=annotated))

    assert refused.value.message.startswith(
        "unable to obtain auth for mount: unable to obtain workload identity auth: "
        f"unable to fetch gcp service account token of {ACCOUNT} (service account shop/intruder)"
    )
    assert "roles/iam.workloadIdentityUser" in refused.value.message


@pytest.mark.parametrize(("account", "namespace"), [("intruder", "shop"), ("web", "elsewhere")])
async def test_another_service_account_reads_nothing(
    provider: Provider, tenant: Tenant, entry: Entry, account: str, namespace: str
) -> None:
    """Neither of the same namespace nor of the same name, even after the right one was served."""
    name = tenant.put("db", b"horse")
    await provider.fetch(tenant.asks(entry(name)))

    with pytest.raises(AccessDenied, match=f"as service account {namespace}/{account}"):
        await provider.fetch(tenant.of(account, namespace).asks(entry(name)))


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"aud": "elsewhere"}, "audience in ID Token"),
        ({"sub": "shop/web"}, "subject in ID Token"),
        ({"iss": "https://other.example"}, "issuer in ID Token"),
        ({"exp": 1}, "stale"),
    ],
)
async def test_a_token_that_google_does_not_take_is_denied_in_its_words(
    provider: Provider, tenant: Tenant, entry: Entry, claims: dict[str, Any], words: str
) -> None:
    """It came under the pool's name all the same; the text says what Google has against it."""
    name, token = tenant.put("db", b"horse"), tenant.token(**claims)

    with pytest.raises(
        AccessDenied, match=f"unable to obtain auth for mount: .*shop/web.*status 400.*{words}"
    ) as refused:
        await provider.fetch(tenant.asks(entry(name), tokens={POOL: token}))

    assert token not in refused.value.message


async def test_a_pod_without_a_token_for_the_pool_is_told_what_to_request(
    provider: Provider, tenant: Tenant, entry: Entry
) -> None:
    """The operator must add the audience; it is named."""
    with pytest.raises(InvalidSecretProviderClass, match=r'audience "demo\.svc\.id\.goog".*tokenRequests'):
        await provider.fetch(tenant.asks(entry(tenant.put("db", b"horse")), tokens={"vault": "x"}))


@pytest.mark.parametrize(
    ("annotations", "words"),
    [
        ({"iam.gke.io/gcp-service-account": "../../../v1/x"}, "is no e-mail"),
        (
            {"iam.gke.io/gcp-service-account": ACCOUNT, "iam.gke.io/gcp-service-account-delegates": "[1]"},
            "unable to parse delegates annotation on SA",
        ),
        (
            {"iam.gke.io/gcp-service-account": ACCOUNT, "iam.gke.io/gcp-service-account-delegates": "between@x"},
            "unable to parse delegates annotation on SA",
        ),
    ],
)
async def test_an_annotation_that_makes_no_sense_is_denied(
    provider: Provider, tenant: Tenant, entry: Entry, annotations: dict[str, str], words: str
) -> None:
    """Before anybody is asked: it would become part of a URL."""
    with pytest.raises(AccessDenied, match=words):
        await provider.fetch(tenant.asks(entry(tenant.put("db", b"horse")), annotations=annotations))

    assert {call.method for call in tenant.gcp.faults.calls} <= {"metadata"}


async def test_pods_of_a_service_account_share_a_token(
    provider: Provider, tenant: Tenant, annotated: dict[str, str], entry: Entry
) -> None:
    """A hundred fetches at once exchange once, and so do later ones; another account's pod exchanges for itself."""
    name = tenant.put("db", b"horse")
    request = tenant.asks(entry(name))

    await asyncio.gather(*(provider.fetch(request) for _ in range(100)))
    await provider.fetch(request)
    for other in (tenant.of("other").asks(entry(name)), tenant.asks(entry(name), annotations=annotated)):
        with pytest.raises(AccessDenied):
            await provider.fetch(other)

    assert tenant.gcp.faults.count("identitybindingtoken") == 3
    assert tenant.gcp.faults.count("generateAccessToken") == 1


async def test_a_token_that_was_revoked_is_exchanged_anew(provider: Provider, tenant: Tenant, entry: Entry) -> None:
    """Within the same fetch, and once for all of its secrets."""
    one, two = tenant.put("one", b"1"), tenant.put("two", b"2")
    request = tenant.asks(entry(one, "a"), entry(two, "b"))
    await provider.fetch(request)
    tenant.gcp.identities.revoke()

    found = await provider.fetch(request)

    assert [each.contents for each in found] == [b"1", b"2"]
    assert tenant.gcp.faults.count("identitybindingtoken") == 2


async def test_a_token_that_is_about_to_end_is_not_used(provider: Provider, tenant: Tenant, entry: Entry) -> None:
    """One that Google says has ended is good for one fetch."""
    tenant.gcp.token_seconds = 0.4
    request = tenant.asks(entry(tenant.put("db", b"horse")))

    await provider.fetch(request)
    await provider.fetch(request)

    assert tenant.gcp.faults.count("identitybindingtoken") == 2


async def test_a_cluster_outside_gke_is_federated(opened: Callable[..., Any], tenant: Tenant, entry: Entry) -> None:
    """With the provider's full name as audience, with or without https:, and STS as what exchanges."""
    gcp = tenant.gcp
    name = tenant.put("db", b"horse", readable=False)
    pool = PROVIDER.removeprefix("//iam.googleapis.com/").rpartition("/providers/")[0]
    member = f"principal://iam.googleapis.com/{pool}/subject/system:serviceaccount:shop:web"
    gcp.policies.allow(member, name, ACCESSOR)
    environ = {
        "KEYFERRY_GCP_WORKLOAD_IDENTITY_PROVIDER": PROVIDER,
        "GAIA_TOKEN_EXCHANGE_ENDPOINT": f"{gcp.url}/v1/token",
    }

    for audience in (PROVIDER, f"https:{PROVIDER}"):
        async with opened(**environ) as provider:
            token = tenant.token(audience, iss="https://cluster.example")
            (found,) = await provider.fetch(tenant.asks(entry(name), tokens={audience: token}))
            assert found.contents == b"horse"
    async with opened(**environ) as provider:
        token = tenant.token(POOL, iss="https://cluster.example")
        with pytest.raises(AccessDenied, match="invalid_grant The audience in ID Token"):
            await provider.fetch(tenant.asks(entry(name), tokens={PROVIDER: token}))
    assert gcp.faults.count("token") == 3
