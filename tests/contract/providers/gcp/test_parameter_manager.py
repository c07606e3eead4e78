"""Upstream's end-to-end cases for Parameter Manager."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from fetcher.provider import Provider
from keyferry.errors import AccessDenied, SecretNotFound
from keyferry.testing.gcp import GcpEmulator

if TYPE_CHECKING:
    from tests.contract.providers.gcp.conftest import Tenant

ROLE = "roles/parametermanager.parameterAccessor"


@pytest.fixture
def put(gcp: GcpEmulator, tenant: Tenant) -> Callable[..., str]:
    """Adds a parameter that may read the secret it refers to, lets the pod render it, and gives the version's name."""

    def make(text: str, kind: str, *, location: str = "global", referring: bool = True) -> str:
        place = "" if location == "global" else f"/locations/{location}"
        secret = tenant.put("db", b"horse", location="" if location == "global" else location, readable=False)
        name = f"projects/demo/locations/{location}/parameters/app"
        reference = f"__REF__(//secretmanager.googleapis.com/projects/demo{place}/secrets/db/versions/1)"
        principal = gcp.parameters.add(name, "v1", text.replace("REF", reference).encode(), format_=kind)
        gcp.policies.allow(tenant.member, name, ROLE)
        if referring:
            gcp.policies.allow(principal, secret, "roles/secretmanager.secretAccessor")
        return f"{name}/versions/v1"

    return make


@pytest.mark.parametrize("location", ["global", "europe-west1"])
@pytest.mark.parametrize(
    "case",
    [
        ("YAML", "user: app\nkey: REF\n", b"user: app\nkey: horse\n"),
        ("JSON", '{"user": "app", "key": "REF"}', b'{"user": "app", "key": "horse"}'),
        ("UNFORMATTED", "plain", b"plain"),
    ],
)
async def test_a_parameter_is_read_rendered(
    provider: Provider, tenant: Tenant, put: Callable[..., str], location: str, case: tuple[str, str, bytes]
) -> None:
    """Upstream's TestMountParameterVersion, with its file mode."""
    kind, text, rendered = case
    name = put(text, kind, location=location)

    (found,) = await provider.fetch(tenant.asks({"resourceName": name, "path": "app", "mode": 0o400}))

    assert (found.path, found.contents, found.mode) == ("app", rendered, 0o400)
    assert found.object_id == name
    assert found.version == tenant.gcp.policies.resolve(name)


@pytest.mark.parametrize("location", ["global", "europe-west1"])
@pytest.mark.parametrize(
    "case",
    [
        ("YAML", "user: app\nkey: REF\n", "extractYAMLKey"),
        ("JSON", '{"user": "app", "key": "REF"}', "extractJSONKey"),
    ],
)
async def test_keys_are_taken_out_of_what_is_rendered(
    provider: Provider, tenant: Tenant, put: Callable[..., str], location: str, case: tuple[str, str, str]
) -> None:
    """Upstream's TestMountParameterVersionExtractKeys: the secret that it refers to included."""
    kind, text, field = case
    name = put(text, kind, location=location)

    found = await provider.fetch(
        tenant.asks(*({"resourceName": name, "path": key, field: key} for key in ("user", "key")))
    )

    assert [each.contents for each in found] == [b"app", b"horse"]


async def test_a_parameter_that_may_not_be_rendered_is_denied(
    provider: Provider, tenant: Tenant, put: Callable[..., str]
) -> None:
    """Whether the pod or the parameter lacks a role, the text says which ones are needed."""
    name = put('{"key": "REF"}', "JSON", referring=False)

    for pod in (tenant, tenant.of("other")):
        with pytest.raises(AccessDenied, match=r"parameters/app/versions/v1 as .*parameterAccessor.*secretAccessor"):
            await provider.fetch(pod.asks({"resourceName": name, "path": "app"}))


async def test_a_version_that_is_missing_or_disabled_is_said_to_be(
    provider: Provider, tenant: Tenant, gcp: GcpEmulator, put: Callable[..., str]
) -> None:
    """Both are not found."""
    name = put("plain", "UNFORMATTED")
    gcp.parameters.version(name).disabled = True

    for version, words in (("v1", "is disabled"), ("v2", "no such parameter or version")):
        with pytest.raises(SecretNotFound, match=words):
            await provider.fetch(tenant.asks({"resourceName": name.replace("v1", version), "path": "app"}))
