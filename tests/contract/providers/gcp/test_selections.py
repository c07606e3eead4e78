"""Secrets that a class names by what they have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.cloud.secretmanager_v1.types import resources

from fetcher.provider import Answer, Provider
from keyferry.errors import (
    AccessDenied,
    ContentTooLarge,
    InvalidSecretProviderClass,
    KeyferryError,
    ProviderUnavailable,
    RateLimited,
    SecretNotFound,
)
from keyferry.testing.gcp import Fault

if TYPE_CHECKING:
    from tests.contract.providers.gcp.conftest import Tenant

LIST = "ListSecrets"
PROJECT = {"resourceName": "projects/demo"}
DISABLED = resources.SecretVersion.State.DISABLED


@pytest.fixture
def lister(tenant: Tenant) -> Tenant:
    """The pod, who may also list the project's secrets."""
    tenant.gcp.policies.allow(tenant.member, "projects/demo", "roles/secretmanager.viewer")
    return tenant


async def files(provider: Provider, tenant: Tenant, **entry: Any) -> dict[str, bytes]:
    """What one entry becomes."""
    return {each.path: each.contents for each in await provider.fetch(tenant.asks({**PROJECT, **entry}))}


async def test_a_prefix_stands_for_secrets(provider: Provider, lister: Tenant) -> None:
    """Their newest versions, named by the rest of their ids, in their order; no other, though the filter finds it."""
    for secret in ("app-web", "app-db", "my-app-db", "APP-x", "other"):
        lister.put(secret, b"old")
        lister.put(secret, secret.encode())

    found = await provider.fetch(lister.asks({**PROJECT, "selectPrefix": "app-", "path": "a/b", "mode": 0o400}))

    assert [(each.path, each.contents, each.mode) for each in found] == [
        ("a/b/db", b"app-db", 0o400),
        ("a/b/web", b"app-web", 0o400),
    ]
    assert [(each.object_id, each.source) for each in found] == [
        ("projects/demo/secrets/app-db/versions/latest", "secrets/app-db"),
        ("projects/demo/secrets/app-web/versions/latest", "secrets/app-web"),
    ]
    assert found[0].version == f"{lister.gcp.policies.resolve('projects/demo')}/secrets/app-db/versions/2"


async def test_labels_stand_for_secrets(provider: Provider, lister: Tenant) -> None:
    """All of them must be there, and the prefix too; the files are in the volume itself where no folder is named."""
    labels = {
        "app-a": {"env": "prod", "team": "1"},
        "app-b": {"env": "prod"},
        "b": {"env": "prod", "team": "1"},
        "c": {},
        "app-é": {},
    }
    for secret, has in labels.items():
        lister.gcp.secrets.secret(lister.put(secret, secret.encode())).labels = has

    assert await files(provider, lister, selectTags={"env": "prod", "team": 1}) == {"app-a": b"app-a", "b": b"b"}
    assert await files(provider, lister, selectTags={"env": "prod"}, selectPrefix="app-") == {
        "a": b"app-a",
        "b": b"app-b",
    }


@pytest.mark.parametrize("tags", [{"größe": "groß"}, {"a": ""}, {"a": "-x"}])
async def test_labels_that_a_filter_might_not_take_are_looked_at_here(
    provider: Provider, lister: Tenant, tags: dict[str, str]
) -> None:
    """Google's filters are not documented for all that labels may be."""
    lister.gcp.secrets.secret(lister.put("a", b"1")).labels = tags
    lister.put("b", b"2")

    assert await files(provider, lister, selectTags=tags) == {"a": b"1"}


@pytest.mark.parametrize("prefix", ["-x", "AND", "OR", "NOT"])
async def test_prefixes_that_a_filter_might_not_take_are_looked_at_here(
    provider: Provider, lister: Tenant, prefix: str
) -> None:
    """They would mean something else to Google."""
    lister.put(f"{prefix}1", b"1")
    lister.put("b", b"2")

    assert await files(provider, lister, selectPrefix=prefix) == {"1": b"1"}


async def test_a_locations_secrets_are_its_own(provider: Provider, lister: Tenant) -> None:
    """A project's are the global ones."""
    lister.put("app-db", b"global")
    lister.put("app-db", b"regional", location="europe-west1")

    assert await files(provider, lister, selectPrefix="app-") == {"db": b"global"}
    regional = {"resourceName": "projects/demo/locations/europe-west1", "selectPrefix": "app-"}
    found = await provider.fetch(lister.asks(regional))
    assert [(each.contents, each.object_id) for each in found] == [
        (b"regional", "projects/demo/locations/europe-west1/secrets/app-db/versions/latest")
    ]


async def test_all_pages_are_read(provider: Provider, lister: Tenant) -> None:
    """However small Google makes them, also where a page holds nothing that is selected."""
    for number in range(9):
        lister.put(f"{'no-' * (number % 2)}app-{number}", b"x")
    lister.gcp.secrets.largest_page = 1

    assert sorted(await files(provider, lister, selectPrefix="app-")) == ["0", "2", "4", "6", "8"]
    assert lister.gcp.faults.count(LIST) == 9


async def test_secrets_whose_newest_version_cannot_be_read_are_passed_over(provider: Provider, lister: Tenant) -> None:
    """Without one, disabled or destroyed; as are those that are gone since they were listed."""
    for secret in ("app-a", "app-b", "app-c"):
        lister.put(secret, b"x")
    lister.gcp.secrets.set_state("projects/demo/secrets/app-b/versions/1", DISABLED)
    lister.gcp.secrets.secret("projects/demo/secrets/app-c").versions.clear()

    assert await files(provider, lister, selectPrefix="app-") == {"a": b"x"}


@pytest.mark.parametrize("secret", ["other", "app-a"])
async def test_a_selection_of_nothing_is_an_error_unless_it_is_optional(
    provider: Provider, lister: Tenant, secret: str
) -> None:
    """Whether nothing is listed, or nothing of it can be read."""
    lister.gcp.secrets.set_state(f"{lister.put(secret, b'x')}/versions/1", DISABLED)
    chosen = {**PROJECT, "selectPrefix": "app-"}

    with pytest.raises(SecretNotFound, match="secrets of projects/demo: none with prefix app- that has an enabled"):
        await provider.fetch(lister.asks(chosen))
    found = await provider.fetch(lister.asks({**chosen, "optional": True}))

    assert isinstance(found, Answer)
    assert not found.secrets
    assert found.left_out[-1] == "projects/demo/secrets/app-*"


async def test_options_hold_for_each_of_them(provider: Provider, lister: Tenant) -> None:
    """Without the key an optional one is left out, by its own id."""
    lister.put("app-a", b'{"k": "aG9yc2U="}')
    lister.put("app-b", b"{}")

    found = await provider.fetch(
        lister.asks(
            {**PROJECT, "selectPrefix": "app-", "extractJSONKey": "k", "decodeBase64": True, "optional": True},
            {**PROJECT, "selectPrefix": "app-", "expand": "json", "path": "all"},
        )
    )

    assert isinstance(found, Answer)
    assert {each.path: each.contents for each in found} == {"a": b"horse", "all/a/k": b"aG9yc2U="}
    assert found.left_out == ("projects/demo/secrets/app-b/versions/latest",)
    with pytest.raises(SecretNotFound, match="app-b/versions/latest: key 'k' not found"):
        await provider.fetch(lister.asks({**PROJECT, "selectPrefix": "app-", "extractJSONKey": "k"}))


async def test_listing_needs_a_permission_of_its_own(provider: Provider, tenant: Tenant) -> None:
    """The text names it; and what may be listed may not for that reason be read."""
    tenant.put("app-a", b"x", readable=False)

    with pytest.raises(AccessDenied, match=r"secrets of projects/demo as .*grant secretmanager\.secrets\.list"):
        await files(provider, tenant, selectPrefix="app-", optional=True)
    tenant.gcp.policies.allow(tenant.member, "projects/demo", "roles/secretmanager.viewer")
    with pytest.raises(AccessDenied, match=r"app-a/versions/latest as .*roles/secretmanager.secretAccessor"):
        await files(provider, tenant, selectPrefix="app-", optional=True)


async def test_a_selection_of_too_many_is_refused(provider: Provider, lister: Tenant) -> None:
    """Before any is read."""
    for number in range(1001):
        lister.gcp.secrets.add(f"projects/demo/secrets/s{number}", b"x")

    with pytest.raises(ContentTooLarge, match="secrets of projects/demo: more than 1000 match"):
        await files(provider, lister, selectPrefix="s")

    assert lister.gcp.faults.count("AccessSecretVersion") == 0


async def test_selections_of_too_many_in_all_are_refused(provider: Provider, lister: Tenant) -> None:
    """The bound is the class's, not one entry's."""
    for number in range(501):
        lister.gcp.secrets.add(f"projects/demo/secrets/s{number}", b"x")
    twice = [{**PROJECT, "selectPrefix": "s", "path": folder} for folder in ("a", "b")]

    with pytest.raises(ContentTooLarge, match="selects more than 1000 secrets in all"):
        await provider.fetch(lister.asks(*twice))

    assert lister.gcp.faults.count("AccessSecretVersion") == 0


@pytest.mark.parametrize(
    ("fault", "error", "calls"),
    [
        (Fault(code=grpc.StatusCode.UNAVAILABLE), ProviderUnavailable, 3),
        (Fault(malformed=True), ProviderUnavailable, 3),
        (Fault(code=grpc.StatusCode.RESOURCE_EXHAUSTED), RateLimited, 1),
        (Fault(code=grpc.StatusCode.INVALID_ARGUMENT), InvalidSecretProviderClass, 1),
        (Fault(code=grpc.StatusCode.NOT_FOUND), SecretNotFound, 1),
    ],
    ids=repr,
)
async def test_a_listing_that_fails_is_told(
    provider: Provider, lister: Tenant, fault: Fault, error: type[KeyferryError], calls: int
) -> None:
    """Tried again where that may help, and all is well when Google is."""
    lister.put("app-a", b"x")
    lister.gcp.faults.always(LIST, fault)

    with pytest.raises(error, match="reading secrets of projects/demo as"):
        await files(provider, lister, selectPrefix="app-")

    assert lister.gcp.faults.count(LIST) == calls
    lister.gcp.faults.mend()
    assert await files(provider, lister, selectPrefix="app-") == {"a": b"x"}


async def test_a_token_that_was_revoked_is_renewed_for_a_listing(provider: Provider, lister: Tenant) -> None:
    """As for a read."""
    lister.put("app-a", b"x")
    await files(provider, lister, selectPrefix="app-")
    lister.gcp.identities.revoke()

    assert await files(provider, lister, selectPrefix="app-") == {"a": b"x"}


async def test_a_secret_may_be_selected_and_named(provider: Provider, lister: Tenant) -> None:
    """It is read once; where both make the same file, the later entry's is kept."""
    lister.put("app-a", b'{"k": "v"}')
    named = {"resourceName": "projects/demo/secrets/app-a/versions/latest", "path": "a", "extractJSONKey": "k"}

    found = await provider.fetch(lister.asks({**PROJECT, "selectPrefix": "app-"}, named))

    assert [(each.path, each.contents) for each in found] == [("a", b"v")]
    assert lister.gcp.faults.count("AccessSecretVersion") == 1
