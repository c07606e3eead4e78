"""Connections: trusted, shared and bounded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from fetcher.providers.gcp import open_provider
from keyferry.errors import ProviderUnavailable
from keyferry.testing.gcp import Fault, GcpEmulator

if TYPE_CHECKING:
    from tests.contract.providers.gcp.conftest import Tenant

Code = grpc.StatusCode

ACCESS = "AccessSecretVersion"
ACCOUNT = "app@demo.iam.gserviceaccount.com"


async def test_everything_goes_over_tls(tenant: Tenant) -> None:
    """With CAs of the operator's for all endpoints, reads and exchanges alike; others' certificates are refused."""
    cluster = "https://container.googleapis.com/v1/projects/demo/locations/europe-west1/clusters/blue"
    keys = tenant.gcp.identities._providers[f"identitynamespace:demo.svc.id.goog:{cluster}"].keys
    named = {
        "PROJECT": "demo",
        "CLUSTER_NAME": "blue",
        "CLUSTER_LOCATION": "europe-west1",
    }
    async with GcpEmulator(secure=True) as gcp, GcpEmulator(secure=True) as other:
        gcp.identities.trust_gke("demo", cluster, issuer=cluster, keys=keys)
        pod = type(tenant)(gcp, tenant.pod)
        names = [pod.put("db", b"horse"), pod.put("db", b"staple", location="europe-west1")]
        request = pod.asks(*({"resourceName": f"{name}/versions/1", "path": f"f{len(name)}"} for name in names))

        provider = await open_provider({**gcp.environ(), **named})
        found = await provider.fetch(request)
        await provider.close()
        errors = []
        for environ in ({"KEYFERRY_GCP_CA_FILE": other.ca_file}, {"KEYFERRY_GCP_CA_FILE": ""}):
            distrusting = await open_provider({**gcp.environ(), **named, **environ})
            with pytest.raises(ProviderUnavailable, match="certificate that is not trusted"):
                await distrusting.fetch(request)
            errors.append(distrusting)
        for distrusting in errors:
            await distrusting.close()

    assert [each.contents for each in found] == [b"horse", b"staple"]
    assert Path(gcp.ca_file).name == "ca.crt"


async def test_a_server_whose_certificate_is_not_trusted_gets_no_call(
    opened: Callable[..., Any], tenant: Tenant, db: dict[str, str]
) -> None:
    """Nor any token: the public CAs did not sign it."""
    async with (
        GcpEmulator(secure=True) as stranger,
        opened(KEYFERRY_GCP_SECRETMANAGER_ENDPOINT=stranger.endpoint) as provider,
    ):
        with pytest.raises(ProviderUnavailable, match="UNAVAILABLE"):
            await provider.fetch(tenant.asks(db))

    assert not stranger.faults.calls


@pytest.mark.parametrize(("calls", "most"), [("3", 3), ("64", 16)])
async def test_calls_at_the_same_time_are_bounded(
    opened: Callable[..., Any], tenant: Tenant, calls: str, most: int
) -> None:
    """Per endpoint by the operator, and within a class so that others have a turn."""
    names = [tenant.put(f"s{number}", b"1") for number in range(40)]
    request = tenant.asks(*({"resourceName": f"{name}/versions/1", "path": name} for name in names))
    tenant.gcp.faults.always(ACCESS, Fault(seconds=0.02))

    async with opened(KEYFERRY_GCP_CALLS=calls) as provider:
        found = await provider.fetch(request)

    assert len(found) == 40
    assert tenant.gcp.faults.peak == most


async def test_locations_that_do_not_exist_do_not_pile_up(opened: Callable[..., Any], tenant: Tenant) -> None:
    """A class may name any; each has a channel of its own, of which the oldest are closed."""
    entries = [
        {"resourceName": f"projects/demo/locations/x{number}/secrets/db/versions/1", "path": f"f{number}"}
        for number in range(70)
    ]

    async with opened(
        KEYFERRY_GCP_SECRETMANAGER_REGIONAL_ENDPOINT="http://{location}.localhost:1", KEYFERRY_GCP_ATTEMPTS="1"
    ) as provider:
        with pytest.raises(ProviderUnavailable, match="in location x69 cannot be reached"):
            await provider.fetch(tenant.asks(*entries))
        assert len(provider._channels._open) == 64
