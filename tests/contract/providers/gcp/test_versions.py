"""A value that is held already is not read again where the pod's identity may ask for the version alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.cloud.secretmanager_v1.types import resources

from fetcher.provider import Provider, ProviderRequest, Secret
from keyferry.errors import SecretNotFound
from keyferry.testing.gcp import Fault, GcpEmulator

if TYPE_CHECKING:
    from tests.contract.providers.gcp.conftest import Tenant

Entry = Callable[..., dict[str, Any]]

State = resources.SecretVersion.State
ACCESS, VERSION = "AccessSecretVersion", "GetSecretVersion"


@pytest.fixture
def viewer(tenant: Tenant) -> Tenant:
    """The pod, who may also ask for versions."""
    tenant.gcp.policies.allow(tenant.member, "projects/demo", "roles/secretmanager.viewer")
    return tenant


async def refresh_of(provider: Provider, request: ProviderRequest) -> ProviderRequest:
    """The same request by somebody who holds what it gives now; calls are counted from here on."""
    held: dict[str, tuple[Secret, ...]] = {}
    for secret in await provider.fetch(request):
        held[secret.object_id] = (*held.get(secret.object_id, ()), secret)
    return replace(request, held=held)


def calls(gcp: GcpEmulator) -> tuple[int, int]:
    """How often a version was asked for, and how often a value was read, since this was last asked."""
    counted = gcp.faults.count(VERSION), gcp.faults.count(ACCESS)
    gcp.faults.calls.clear()
    return counted


@pytest.mark.parametrize("version", ["latest", "1", "live"])
async def test_a_value_that_has_not_changed_is_not_read(
    provider: Provider, viewer: Tenant, entry: Entry, version: str
) -> None:
    """By number or alias; the answer is the one before."""
    name = viewer.put("db", b"horse")
    viewer.gcp.secrets.secret(name).aliases["live"] = 1
    request = viewer.asks(entry(name, version=version, mode=0o400))
    before = await provider.fetch(request)
    refresh = await refresh_of(provider, request)
    calls(viewer.gcp)

    after = await provider.fetch(refresh)

    assert list(after) == list(before)
    assert calls(viewer.gcp) == (1, 0)


async def test_a_mount_asks_for_no_version(provider: Provider, viewer: Tenant, entry: Entry) -> None:
    """It holds nothing, so it would be a call in vain."""
    await provider.fetch(viewer.asks(entry(viewer.put("db", b"horse"))))

    assert calls(viewer.gcp) == (0, 1)


async def test_a_value_that_has_changed_is_read(provider: Provider, viewer: Tenant, entry: Entry) -> None:
    """For one call more."""
    name = viewer.put("db", b"horse")
    refresh = await refresh_of(provider, viewer.asks(entry(name)))
    viewer.put("db", b"staple")
    calls(viewer.gcp)

    found = await provider.fetch(refresh)

    assert [each.contents for each in found] == [b"staple"]
    assert found[0].version is not None
    assert found[0].version.endswith("/versions/2")
    assert calls(viewer.gcp) == (1, 1)


@pytest.mark.parametrize("state", [State.DISABLED, State.DESTROYED])
async def test_a_version_that_is_no_longer_enabled_is_not_held_on_to(
    provider: Provider, viewer: Tenant, entry: Entry, state: State
) -> None:
    """Though it is the same."""
    name = viewer.put("db", b"horse")
    refresh = await refresh_of(provider, viewer.asks(entry(name)))
    viewer.gcp.secrets.set_state(f"{name}/versions/1", state)

    with pytest.raises(SecretNotFound, match=f"this version is {state.name.lower()}"):
        await provider.fetch(refresh)


async def test_only_what_is_held_in_whole_is_kept(provider: Provider, viewer: Tenant, entry: Entry) -> None:
    """All entries of a resource, and all keys of an expanded one; what else an entry makes of it does not matter."""
    name, other = viewer.put("db", b'{"a": "1", "b": "2"}'), viewer.put("other", b"x")
    first = viewer.asks(entry(name, "all", expand="json"), entry(name, "a", extractJSONKey="a"), entry(other, "other"))
    refresh = await refresh_of(provider, first)
    more = replace(viewer.asks(entry(name, "a", extractJSONKey="a"), entry(name, "whole")), held=refresh.held)
    calls(viewer.gcp)

    assert {each.path for each in await provider.fetch(refresh)} == {"all/a", "all/b", "a", "other"}
    assert calls(viewer.gcp) == (2, 0)
    assert {each.path for each in await provider.fetch(more)} == {"a", "whole"}
    assert calls(viewer.gcp) == (0, 1)


async def test_selected_secrets_are_not_read_again_either(provider: Provider, viewer: Tenant) -> None:
    """A new one among them is."""
    for secret in ("app-a", "app-b"):
        viewer.put(secret, secret.encode())
    refresh = await refresh_of(provider, viewer.asks({"resourceName": "projects/demo", "selectPrefix": "app-"}))
    viewer.put("app-c", b"app-c")
    calls(viewer.gcp)

    found = await provider.fetch(refresh)

    assert [each.contents for each in found] == [b"app-a", b"app-b", b"app-c"]
    assert calls(viewer.gcp) == (2, 1)


async def test_who_may_not_ask_is_not_asked_about_again(provider: Provider, tenant: Tenant, entry: Entry) -> None:
    """SecretAccessor does not include it: such an identity reads values; another is not affected."""
    name = tenant.put("db", b"horse")
    refresh = await refresh_of(provider, tenant.asks(entry(name)))
    other = tenant.of("other")
    for role in ("viewer", "secretAccessor"):
        tenant.gcp.policies.allow(other.member, "projects/demo", f"roles/secretmanager.{role}")
    calls(tenant.gcp)

    for expected in ((1, 1), (0, 1)):
        assert [each.contents for each in await provider.fetch(refresh)] == [b"horse"]
        assert calls(tenant.gcp) == expected
    await provider.fetch(replace(other.asks(entry(name)), held=refresh.held))
    assert calls(tenant.gcp) == (1, 0)


async def test_an_exhausted_quota_is_left_alone(provider: Provider, viewer: Tenant, entry: Entry) -> None:
    """It is a small one, which others need; values have another."""
    name = viewer.put("db", b"horse")
    refresh = await refresh_of(provider, viewer.asks(entry(name)))
    viewer.gcp.faults.once(VERSION, Fault(code=grpc.StatusCode.RESOURCE_EXHAUSTED))
    calls(viewer.gcp)

    for expected in ((1, 1), (0, 1)):
        assert len(await provider.fetch(refresh)) == 1
        assert calls(viewer.gcp) == expected


@pytest.mark.parametrize(
    "fault",
    [
        Fault(code=grpc.StatusCode.UNAVAILABLE),
        Fault(code=grpc.StatusCode.NOT_FOUND),
        Fault(code=grpc.StatusCode.UNIMPLEMENTED),
        Fault(malformed=True),
    ],
    ids=repr,
)
async def test_a_question_that_fails_costs_nothing_but_itself(
    provider: Provider, viewer: Tenant, entry: Entry, fault: Fault
) -> None:
    """The value is read, and the next refresh asks again."""
    refresh = await refresh_of(provider, viewer.asks(entry(viewer.put("db", b"horse"))))
    viewer.gcp.faults.once(VERSION, fault)
    calls(viewer.gcp)

    for expected in ((1, 1), (1, 0)):
        assert len(await provider.fetch(refresh)) == 1
        assert calls(viewer.gcp) == expected


async def test_a_token_that_was_revoked_is_renewed_for_a_question(
    provider: Provider, viewer: Tenant, entry: Entry
) -> None:
    """As for a read, and it is no denial."""
    refresh = await refresh_of(provider, viewer.asks(entry(viewer.put("db", b"horse"))))
    viewer.gcp.identities.revoke()
    calls(viewer.gcp)

    for expected in ((2, 0), (1, 0)):
        await provider.fetch(refresh)
        assert calls(viewer.gcp) == expected


@pytest.mark.parametrize(("a_minute", "asked"), [("0", 0), ("3", 3), ("100", 8)])
async def test_the_operator_says_how_much_is_asked(
    opened: Callable[..., Any], viewer: Tenant, entry: Entry, a_minute: str, asked: int
) -> None:
    """Beyond that values are read."""
    names = [viewer.put(f"s{number}", b"x") for number in range(8)]

    async with opened(KEYFERRY_GCP_VERSIONS=a_minute) as provider:
        refresh = await refresh_of(provider, viewer.asks(*(entry(name, name) for name in names)))
        calls(viewer.gcp)
        assert len(await provider.fetch(refresh)) == 8

    assert calls(viewer.gcp) == (asked, 8 - asked)


async def test_a_parameter_is_always_rendered(
    provider: Provider, viewer: Tenant, entry: Entry, gcp: GcpEmulator
) -> None:
    """Its version says nothing of the secrets that it refers to."""
    parameter = "projects/demo/locations/global/parameters/app"
    reference = b"__REF__(//secretmanager.googleapis.com/projects/demo/secrets/db/versions/latest)"
    secret = viewer.put("db", b"horse", readable=False)
    principal = gcp.parameters.add(parameter, "v1", b'{"key": "' + reference + b'"}', format_="JSON")
    gcp.policies.allow(viewer.member, parameter, "roles/parametermanager.parameterAccessor")
    gcp.policies.allow(principal, secret, "roles/secretmanager.secretAccessor")
    refresh = await refresh_of(provider, viewer.asks(entry(parameter, version="v1", extractJSONKey="key")))
    viewer.put("db", b"staple", readable=False)

    assert [each.contents for each in await provider.fetch(refresh)] == [b"staple"]
