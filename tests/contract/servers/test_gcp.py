"""The emulator as Google's own SDKs see it: nothing of ours is between them."""

from collections.abc import AsyncIterator
from typing import Any, Self

import google_crc32c
import grpc
import pytest
from google.api_core import exceptions as google
from google.cloud.parametermanager_v1 import ParameterManagerAsyncClient
from google.cloud.parametermanager_v1.services.parameter_manager.transports import ParameterManagerGrpcAsyncIOTransport
from google.cloud.secretmanager_v1 import SecretManagerServiceAsyncClient
from google.cloud.secretmanager_v1.services.secret_manager_service.transports import (
    SecretManagerServiceGrpcAsyncIOTransport,
)

from keyferry.testing.gcp import Fault, GcpEmulator

PROJECT = "projects/demo"
SUBJECT = "system:serviceaccount:shop:web"
MEMBER = f"principal://iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/clusters/subject/{SUBJECT}"


@pytest.fixture
async def gcp() -> AsyncIterator[GcpEmulator]:
    """Over TLS, with a project of the administrator's."""
    async with GcpEmulator(secure=True) as running:
        running.administer("demo")
        yield running


class Clients:
    """Clients of the SDK, which use an access token."""

    def __init__(self, gcp: GcpEmulator, token: str, *, regional: bool = False) -> None:
        target = (gcp.regional_endpoint if regional else gcp.endpoint).partition("://")[2]
        tls = grpc.ssl_channel_credentials(gcp.ca_pem.encode())
        both = grpc.composite_channel_credentials(tls, grpc.access_token_call_credentials(token))
        self.channel = grpc.aio.secure_channel(target, both)
        self.secrets = SecretManagerServiceAsyncClient(
            transport=SecretManagerServiceGrpcAsyncIOTransport(channel=self.channel)
        )
        self.parameters = ParameterManagerAsyncClient(
            transport=ParameterManagerGrpcAsyncIOTransport(channel=self.channel)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()

    async def create(self, secret: str, *values: bytes, parent: str = PROJECT) -> str:
        """Make a secret with these versions, and return its name."""
        kind: dict[str, Any] = {} if "/locations/" in parent else {"replication": {"automatic": {}}}
        made = await self.secrets.create_secret(request={"parent": parent, "secret_id": secret, "secret": kind})
        for value in values:
            payload = {"data": value, "data_crc32c": google_crc32c.value(value)}
            await self.secrets.add_secret_version(request={"parent": made.name, "payload": payload})
        return str(made.name)

    async def read(self, name: str) -> Any:
        """One version, without the SDK's own retries."""
        return await self.secrets.access_secret_version(name=name, retry=None, timeout=5)


@pytest.fixture
async def admin(gcp: GcpEmulator) -> AsyncIterator[Clients]:
    """The administrator's."""
    async with Clients(gcp, gcp.admin_token) as clients:
        yield clients


async def test_versions_count_up_and_latest_is_the_newest(admin: Clients) -> None:
    """Answers name the project by its number and the version by its own, with a checksum of the payload."""
    name = await admin.create("db", b"one", b"two")

    first, latest = await admin.read(f"{name}/versions/1"), await admin.read(f"{PROJECT}/secrets/db/versions/latest")

    assert (first.payload.data, latest.payload.data) == (b"one", b"two")
    assert latest.name == f"{name}/versions/2"
    assert name.split("/")[1].isdecimal()
    assert latest.payload.data_crc32c == google_crc32c.value(b"two")


async def test_a_payload_that_broke_on_the_way_is_not_stored(admin: Clients) -> None:
    """As the real service verifies the checksum."""
    name = await admin.create("db")

    with pytest.raises(google.InvalidArgument, match="checksum"):
        await admin.secrets.add_secret_version(request={"parent": name, "payload": {"data": b"one", "data_crc32c": 1}})


async def test_aliases_name_versions(admin: Clients) -> None:
    """They can be moved to another version."""
    name = await admin.create("db", b"one", b"two")
    await admin.secrets.update_secret(
        request={
            "secret": {"name": name, "version_aliases": {"live": 1}},
            "update_mask": {"paths": ["version_aliases"]},
        }
    )

    assert (await admin.read(f"{name}/versions/live")).payload.data == b"one"


async def test_only_enabled_versions_can_be_read(admin: Clients) -> None:
    """The alias latest stays the newest even if it is disabled; what is destroyed never comes back."""
    name = await admin.create("db", b"one", b"two")
    await admin.secrets.disable_secret_version(name=f"{name}/versions/2")
    await admin.secrets.destroy_secret_version(name=f"{name}/versions/1")

    with pytest.raises(google.FailedPrecondition, match="DISABLED"):
        await admin.read(f"{name}/versions/latest")
    with pytest.raises(google.FailedPrecondition, match="DESTROYED"):
        await admin.read(f"{name}/versions/1")
    with pytest.raises(google.FailedPrecondition, match="DESTROYED"):
        await admin.secrets.enable_secret_version(name=f"{name}/versions/1")
    await admin.secrets.enable_secret_version(name=f"{name}/versions/2")
    assert (await admin.read(f"{name}/versions/latest")).payload.data == b"two"


@pytest.mark.parametrize("missing", ["none/versions/1", "empty/versions/latest", "db/versions/9", "db/versions/nick"])
async def test_what_is_not_there_is_not_found(admin: Clients, missing: str) -> None:
    """To those who may read all of the project."""
    await admin.create("empty")
    await admin.create("db", b"one")

    with pytest.raises(google.NotFound):
        await admin.read(f"{PROJECT}/secrets/{missing}")


async def test_a_deleted_secret_is_gone(admin: Clients) -> None:
    """With all its versions."""
    name = await admin.create("db", b"one")
    await admin.secrets.delete_secret(name=name)

    with pytest.raises(google.NotFound):
        await admin.read(f"{name}/versions/1")


async def test_regional_secrets_are_at_the_regional_endpoint_only(gcp: GcpEmulator, admin: Clients) -> None:
    """And global ones at the global endpoint."""
    parent = f"{PROJECT}/locations/europe-west1"
    async with Clients(gcp, gcp.admin_token, regional=True) as regional:
        name = await regional.create("db", b"here", parent=parent)
        globally = await admin.create("db", b"there")

        assert (await regional.read(f"{name}/versions/1")).payload.data == b"here"
        with pytest.raises(google.InvalidArgument):
            await regional.read(f"{globally}/versions/1")
        with pytest.raises(google.InvalidArgument):
            await admin.read(f"{name}/versions/1")


async def test_a_policy_lets_its_members_read_this_secret_alone(gcp: GcpEmulator, admin: Clients) -> None:
    """To others a secret looks the same whether it exists or not."""
    name, other = await admin.create("db", b"one"), await admin.create("other", b"two")
    policy = {"bindings": [{"role": "roles/secretmanager.secretAccessor", "members": [MEMBER]}]}
    await admin.secrets.set_iam_policy(request={"resource": name, "policy": policy})
    token = gcp.identities.issue(frozenset({MEMBER}), 60)

    async with Clients(gcp, token) as pod:
        assert (await pod.read(f"{name}/versions/1")).payload.data == b"one"
        for denied in (other, f"{PROJECT}/secrets/none"):
            with pytest.raises(google.PermissionDenied, match="or it may not exist"):
                await pod.read(f"{denied}/versions/1")
    read = await admin.secrets.get_iam_policy(request={"resource": name})
    assert [(each.role, list(each.members)) for each in read.bindings] == [(policy["bindings"][0]["role"], [MEMBER])]


async def test_tokens_end(gcp: GcpEmulator, admin: Clients) -> None:
    """A token that is unknown, has ended or was revoked is none."""
    name = await admin.create("db", b"one")
    for token in ("ya29.unknown", gcp.identities.issue(frozenset({MEMBER}), -1)):
        async with Clients(gcp, token) as nobody:
            with pytest.raises(google.Unauthenticated):
                await nobody.read(f"{name}/versions/1")
    gcp.identities.revoke()
    with pytest.raises(google.Unauthenticated):
        await admin.read(f"{name}/versions/1")


@pytest.mark.parametrize(
    ("kind", "text", "rendered"),
    [
        ("JSON", '{"user": "app", "key": "__REF__(REF)"}', '{"user": "app", "key": "ho\\"rse"}'),
        ("YAML", "user: app\nkey: __REF__(REF)\n", 'user: app\nkey: ho"rse\n'),
        ("UNFORMATTED", "key __REF__(REF)", "key __REF__(REF)"),
    ],
)
async def test_parameters_are_rendered_with_the_secrets_they_refer_to(
    admin: Clients, kind: str, text: str, rendered: str
) -> None:
    """JSON and YAML are; the parameter's own principal must be let in by the secret."""
    name = await admin.create("db", b'ho"rse')
    reference = f"//secretmanager.googleapis.com/{PROJECT}/secrets/db/versions/1"
    made = await admin.parameters.create_parameter(
        request={"parent": f"{PROJECT}/locations/global", "parameter_id": "app", "parameter": {"format_": kind}}
    )
    policy = {
        "bindings": [
            {
                "role": "roles/secretmanager.secretAccessor",
                "members": [made.policy_member.iam_policy_uid_principal],
            }
        ]
    }
    await admin.secrets.set_iam_policy(request={"resource": name, "policy": policy})
    payload = {"payload": {"data": text.replace("REF)", f"{reference})").encode()}}
    version = await admin.parameters.create_parameter_version(
        request={"parent": made.name, "parameter_version_id": "v1", "parameter_version": payload}
    )

    answer = await admin.parameters.render_parameter_version(name=version.name)

    assert answer.rendered_payload.decode() == rendered.replace("REF)", f"{reference})")
    assert answer.parameter_version == version.name


async def test_a_parameter_that_may_not_read_its_secret_is_not_rendered(gcp: GcpEmulator, admin: Clients) -> None:
    """The reader's own rights do not help."""
    await admin.create("db", b"horse")
    gcp.parameters.add(
        f"{PROJECT}/locations/global/parameters/app",
        "v1",
        f'"__REF__(//secretmanager.googleapis.com/{PROJECT}/secrets/db/versions/1)"'.encode(),
        format_="JSON",
    )

    with pytest.raises(google.PermissionDenied):
        await admin.parameters.render_parameter_version(name=f"{PROJECT}/locations/global/parameters/app/versions/v1")


async def test_a_disabled_parameter_version_is_not_rendered(gcp: GcpEmulator, admin: Clients) -> None:
    """Until it is enabled again."""
    gcp.parameters.add(f"{PROJECT}/locations/global/parameters/app", "v1", b"text")
    name = f"{PROJECT}/locations/global/parameters/app/versions/v1"
    await admin.parameters.update_parameter_version(
        request={"parameter_version": {"name": name, "disabled": True}, "update_mask": {"paths": ["disabled"]}}
    )

    with pytest.raises(google.FailedPrecondition, match="DISABLED"):
        await admin.parameters.render_parameter_version(name=name)


async def test_methods_fail_as_told(gcp: GcpEmulator, admin: Clients) -> None:
    """Once, with the SDK's classes of errors and details; then again as before, and all calls are counted."""
    name = await admin.create("db", b"one")
    throttled = Fault(code=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after=7)
    gcp.faults.once("AccessSecretVersion", throttled, Fault(wrong_checksum=True), Fault(seconds=10))

    with pytest.raises(google.ResourceExhausted) as refused:
        await admin.read(f"{name}/versions/1")
    broken = await admin.read(f"{name}/versions/1")
    with pytest.raises(google.DeadlineExceeded):
        await admin.secrets.access_secret_version(name=f"{name}/versions/1", retry=None, timeout=0.2)
    sound = await admin.read(f"{name}/versions/1")

    assert [detail.retry_delay.seconds for detail in refused.value.details] == [7]
    assert broken.payload.data_crc32c != sound.payload.data_crc32c
    assert gcp.faults.count("AccessSecretVersion") == 4


async def test_endpoints_can_go_away_and_come_back(gcp: GcpEmulator, admin: Clients) -> None:
    """With what they keep."""
    name = await admin.create("db", b"one")
    await gcp.stop()
    with pytest.raises(google.ServiceUnavailable):
        await admin.read(f"{name}/versions/1")
    await gcp.start()

    async with Clients(gcp, gcp.admin_token) as again:
        assert (await again.read(f"{name}/versions/1")).payload.data == b"one"
