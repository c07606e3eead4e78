"""What an entry may say besides a name: optional, every key a file, a size, base64."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.cloud.secretmanager_v1.types import resources

from fetcher.provider import Answer, Provider, scope_of
from keyferry.errors import AccessDenied, ContentTooLarge, InvalidSecretProviderClass, SecretNotFound
from keyferry.testing.gcp import Fault, GcpEmulator

if TYPE_CHECKING:
    from tests.contract.providers.gcp.conftest import Tenant

Entry = Callable[..., dict[str, Any]]

PARAMETER = "projects/demo/locations/global/parameters/app"
DB = "projects/demo/secrets/db"


@pytest.fixture
def whole_project(gcp: GcpEmulator, tenant: Tenant) -> None:
    """The pod may read every secret and parameter of the project, so Google tells it of what is missing."""
    for role in ("secretmanager.secretAccessor", "parametermanager.parameterAccessor"):
        gcp.policies.allow(tenant.member, "projects/demo", f"roles/{role}")


@pytest.mark.usefixtures("whole_project")
async def test_what_is_optional_and_missing_is_left_out(
    provider: Provider, tenant: Tenant, entry: Entry, gcp: GcpEmulator
) -> None:
    """Secret, version, key or parameter: each is named in the answer, and the others are there in the class's order."""
    tenant.put("db", b'{"user": "app"}')
    gcp.parameters.add(PARAMETER, "v1", b"plain")
    asked = [
        entry(DB, "a"),
        entry("projects/demo/secrets/none", "b", optional=True),
        entry(DB, "c", version="7", optional=True),
        entry(DB, "d", version="1", extractJSONKey="key", optional=True),
        entry(DB, "e", extractJSONKey="user", optional=True),
        entry(PARAMETER, "f", version="v2", optional=True),
        entry(PARAMETER, "g", version="v1", optional=True),
    ]

    found = await provider.fetch(tenant.asks(*asked))

    assert isinstance(found, Answer)
    assert [each.path for each in found] == ["a", "e", "g"]
    assert found.left_out == (
        "projects/demo/secrets/none/versions/latest",
        f"{DB}/versions/7",
        f"{DB}/versions/1",
        f"{PARAMETER}/versions/v2",
    )


@pytest.mark.usefixtures("whole_project")
async def test_what_is_left_out_comes_when_it_is_there(provider: Provider, tenant: Tenant, entry: Entry) -> None:
    """At the next fetch."""
    request = tenant.asks(entry(DB, optional=True))
    before = await provider.fetch(request)
    tenant.put("db", b"horse")

    after = await provider.fetch(request)

    assert (list(before), [each.contents for each in after]) == ([], [b"horse"])


@pytest.mark.usefixtures("whole_project")
async def test_a_version_that_is_disabled_or_destroyed_counts_as_missing(
    provider: Provider, tenant: Tenant, entry: Entry, gcp: GcpEmulator
) -> None:
    """Of secrets as of parameters."""
    tenant.put("db", b"1")
    gcp.secrets.set_state(f"{DB}/versions/1", resources.SecretVersion.State.DISABLED)
    gcp.parameters.add(PARAMETER, "v1", b"plain")
    gcp.parameters.version(f"{PARAMETER}/versions/v1").disabled = True

    found = await provider.fetch(tenant.asks(entry(DB, optional=True), entry(PARAMETER, version="v1", optional=True)))

    assert isinstance(found, Answer)
    assert (len(found), len(found.left_out)) == (0, 2)


async def test_a_denial_is_no_absence(provider: Provider, tenant: Tenant, entry: Entry) -> None:
    """Google says it of both: what is optional must not vanish because a role did."""
    tenant.put("db", b"horse", readable=False)

    for name in (DB, "projects/demo/secrets/none"):
        with pytest.raises(AccessDenied, match="permission denied, or there is no such secret"):
            await provider.fetch(tenant.asks(entry(name, optional=True)))


async def test_a_parameter_that_cannot_be_rendered_is_no_absence(
    provider: Provider, tenant: Tenant, entry: Entry, gcp: GcpEmulator
) -> None:
    """Google may mean that it cannot read what the parameter refers to."""
    gcp.faults.always("RenderParameterVersion", Fault(code=grpc.StatusCode.FAILED_PRECONDITION))

    with pytest.raises(SecretNotFound, match="may not read a secret that it refers to"):
        await provider.fetch(tenant.asks(entry(PARAMETER, version="v1", optional=True)))


@pytest.mark.usefixtures("whole_project")
async def test_one_resource_may_be_optional_in_one_entry_and_not_in_another(
    provider: Provider, tenant: Tenant, entry: Entry
) -> None:
    """The one that is not decides; each missing key of a class is told."""
    with pytest.raises(SecretNotFound, match="no such secret or version"):
        await provider.fetch(tenant.asks(entry(DB, "a", optional=True), entry(DB, "b")))
    tenant.put("db", b"{}")
    with pytest.raises(SecretNotFound, match=r"(?s)key 'x' not found in JSON.*key 'y' not found in YAML"):
        await provider.fetch(tenant.asks(entry(DB, "a", extractJSONKey="x"), entry(DB, "b", extractYAMLKey="y")))


@pytest.mark.parametrize(("language", "text"), [("json", b'{"b": 1.50, "a": "x"}'), ("yaml", b"b: 1.50\na: x\n")])
async def test_every_key_becomes_a_file(
    provider: Provider, tenant: Tenant, entry: Entry, language: str, text: bytes
) -> None:
    """All of one object, with its mode, version and source."""
    name = tenant.put("db", text)

    found = await provider.fetch(tenant.asks(entry(name, "db", expand=language, mode=0o400)))

    assert [(each.path, each.contents, each.mode) for each in found] == [
        ("db/a", b"x", 0o400),
        ("db/b", b"1.50", 0o400),
    ]
    assert {(each.object_id, each.source) for each in found} == {(f"{DB}/versions/latest", "secrets/db")}
    assert {each.version for each in found} == {f"{tenant.gcp.policies.resolve(DB)}/versions/1"}


async def test_a_parameter_is_expanded_rendered(
    provider: Provider, tenant: Tenant, entry: Entry, gcp: GcpEmulator
) -> None:
    """The secrets that it refers to included; events name the parameter."""
    secret = tenant.put("db", b"horse", readable=False)
    text = b'{"user": "app", "key": "__REF__(//secretmanager.googleapis.com/projects/demo/secrets/db/versions/1)"}'
    principal = gcp.parameters.add(PARAMETER, "v1", text, format_="JSON")
    gcp.policies.allow(tenant.member, PARAMETER, "roles/parametermanager.parameterAccessor")
    gcp.policies.allow(principal, secret, "roles/secretmanager.secretAccessor")

    found = await provider.fetch(tenant.asks(entry(PARAMETER, "app", version="v1", expand="json")))

    assert [(each.path, each.contents, each.source) for each in found] == [
        ("app/key", b"horse", "parameters/app"),
        ("app/user", b"app", "parameters/app"),
    ]


async def test_a_file_cannot_be_a_folder_too(provider: Provider, tenant: Tenant, entry: Entry) -> None:
    """Which keys there are is only known once the document is read; the text names objects, and no key."""
    name, other = tenant.put("db", b'{"a": "1"}'), tenant.put("other", b"x")

    with pytest.raises(InvalidSecretProviderClass, match="give one of them another path") as refused:
        await provider.fetch(tenant.asks(entry(name, "db", expand="json"), entry(other, "db/a/b")))

    assert "secrets/other/versions/latest" in refused.value.message


async def test_a_later_entry_wins_over_an_expanded_key(provider: Provider, tenant: Tenant, entry: Entry) -> None:
    """As over any file."""
    name, other = tenant.put("db", b'{"a": "1", "b": "2"}'), tenant.put("other", b"x")

    found = await provider.fetch(tenant.asks(entry(name, "db", expand="json"), entry(other, "db/a")))

    assert {each.path: each.contents for each in found} == {"db/a": b"x", "db/b": b"2"}


async def test_a_secret_above_its_size_is_refused(provider: Provider, tenant: Tenant, entry: Entry) -> None:
    """Optional or not."""
    name = tenant.put("db", b"horse")

    with pytest.raises(ContentTooLarge, match="secrets/db/versions/latest: 5 bytes, where maxBytes allows 4"):
        await provider.fetch(tenant.asks(entry(name, maxBytes=4, optional=True)))
    assert len(await provider.fetch(tenant.asks(entry(name, maxBytes=5)))) == 1


@pytest.mark.parametrize(("kept", "value"), [(b"aG9yc2U=", b"horse"), (b"aG9y\nc2U=\r\n", b"horse"), (b"", b"")])
async def test_base64_is_decoded_with_line_ends(
    provider: Provider, tenant: Tenant, entry: Entry, kept: bytes, value: bytes
) -> None:
    """As Go's decoder ignores them."""
    found = await provider.fetch(tenant.asks(entry(tenant.put("db", kept), decodeBase64=True)))

    assert [each.contents for each in found] == [value]


@pytest.mark.parametrize("kept", [b"horse!", b"aG9yc2U", b"aG9y c2U="])
async def test_what_is_no_base64_is_refused(provider: Provider, tenant: Tenant, entry: Entry, kept: bytes) -> None:
    """By its length, not by what it is."""
    with pytest.raises(InvalidSecretProviderClass, match=f"decode base64 content .{len(kept)} bytes") as refused:
        await provider.fetch(tenant.asks(entry(tenant.put("db", kept), decodeBase64=True)))

    assert kept.decode() not in refused.value.message
    assert (refused.value.__cause__, refused.value.__context__) == (None, None)


async def test_every_expanded_key_is_decoded(provider: Provider, tenant: Tenant, entry: Entry) -> None:
    """As one that is taken out is."""
    name = tenant.put("db", b'{"a": "AP8=", "b": ""}')

    found = await provider.fetch(tenant.asks(entry(name, "db", expand="json", decodeBase64=True)))

    assert [each.contents for each in found] == [b"\x00\xff", b""]


@pytest.mark.parametrize(
    ("secrets", "backend"),
    [
        (f"[{{resourceName: {DB}/versions/1, path: a}}]", "demo"),
        ("[{resourceName: projects/demo/locations/eu/secrets/db/versions/1, path: a}]", "demo/eu"),
        ("[{resourceName: projects/demo, selectPrefix: a}]", "demo"),
        (
            f"[{{resourceName: projects/b/secrets/x/versions/1, path: b}}, {{resourceName: {DB}/versions/1, path: a}}]",
            "b+demo",
        ),
        (
            f"[{', '.join(f'{{resourceName: projects/p{n}/secrets/x/versions/1, path: f{n}}}' for n in range(4))}]",
            "secretmanager",
        ),
        ("", "secretmanager"),
        ("[", "secretmanager"),
        ("[{resourceName: x}]", "secretmanager"),
    ],
)
async def test_a_class_says_whom_it_asks(provider: Provider, secrets: str, backend: str) -> None:
    """Projects and locations, as Google counts calls; whatever the class holds."""
    scope = scope_of(provider, {"secrets": secrets})

    assert (scope.backend, scope.by_pod, scope.by_region) == (backend, False, False)
    assert scope_of(provider, {}).backend == "secretmanager"
