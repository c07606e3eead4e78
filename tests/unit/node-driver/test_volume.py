import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from keyferry.errors import InvalidArgument, KeyferryError
from keyferry.proto.csi.v1 import csi_pb2
from keyferry.resources import Pod
from node_driver.volume import TOKENS_KEY, Credentials, Volume, parse_publish, parse_unpublish

Publish = csi_pb2.NodePublishVolumeRequest

VOLUME_ID = "csi-" + "0123456789abcdef" * 4
TARGET = "/var/lib/kubelet/pods/0c9e/volumes/kubernetes.io~csi/secrets/mount"
CANARY = "eyJhbGciOiJSUzI1NiJ9.canary.signature"
TOKENS = json.dumps({"keyferry": {"token": CANARY, "expirationTimestamp": "2026-05-01T10:00:00Z"}})
KUBELETS = {
    "csi.storage.k8s.io/ephemeral": "true",
    "csi.storage.k8s.io/pod.name": "web-0",
    "csi.storage.k8s.io/pod.namespace": "shop",
    "csi.storage.k8s.io/pod.uid": "6f1ed002-ab59-11ee-a506-0242ac120002",
    "csi.storage.k8s.io/serviceAccount.name": "web",
}


def request() -> Publish:
    """What kubelet sends for an inline volume."""
    made = Publish(
        volume_id=VOLUME_ID,
        target_path=TARGET,
        readonly=True,
        volume_context={**KUBELETS, TOKENS_KEY: TOKENS, "secretProviderClass": "vault-db", "objects": "overridden"},
    )
    made.volume_capability.mount.SetInParent()
    return made


def changed(change: Callable[[Publish], object]) -> Publish:
    made = request()
    change(made)
    return made


def refusal(change: Callable[[Publish], object]) -> str:
    with pytest.raises(InvalidArgument) as raised:
        parse_publish(changed(change))
    assert raised.value.code == "INVALID_ARGUMENT"
    return raised.value.message


def context(**values: str) -> Callable[[Publish], None]:
    return lambda r: r.volume_context.update(values)


def kubelets(key: str, value: str) -> Callable[[Publish], None]:
    return lambda r: r.volume_context.update({f"csi.storage.k8s.io/{key}": value})


def test_a_publish_request_becomes_a_volume_and_its_credentials() -> None:
    """All that kubelet says has one place, and what it says of the pod is not mixed with what the author wrote."""
    volume, credentials = parse_publish(request())

    assert volume == Volume(
        volume_id=VOLUME_ID,
        target_path=TARGET,
        pod=Pod("shop", "web-0", KUBELETS["csi.storage.k8s.io/pod.uid"], "web"),
        secret_provider_class="vault-db",
        attributes={"secretProviderClass": "vault-db", "objects": "overridden"},
        group=None,
    )
    assert credentials == Credentials(tokens={"keyferry": CANARY}, node_publish_secret={}, expires_at=1777629600.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.ClearField("volume_id"), "Volume ID missing in request"),
        (lambda r: setattr(r, "volume_id", "v" * 129), "longer than 128 bytes"),
        (lambda r: setattr(r, "volume_id", "é" * 65), "longer than 128 bytes"),
        (lambda r: setattr(r, "volume_id", "a/b"), 'Volume ID in request holds "/"'),
        (lambda r: setattr(r, "volume_id", ".."), 'Volume ID in request holds "/"'),
        (lambda r: setattr(r, "volume_id", "a\0b"), 'Volume ID in request holds "/"'),
        (lambda r: r.ClearField("target_path"), "Target path missing in request"),
        (lambda r: setattr(r, "target_path", "var/lib"), "Target path in request is not absolute"),
        (lambda r: setattr(r, "target_path", "/"), "Target path in request is not a plain"),
        (lambda r: setattr(r, "target_path", "//var"), "Target path in request is not a plain"),
        (lambda r: setattr(r, "target_path", "/var/../etc"), "Target path in request is not a plain"),
        (lambda r: setattr(r, "target_path", "/var/.."), "Target path in request is not a plain"),
        (lambda r: setattr(r, "target_path", "/var/./lib"), "Target path in request is not a plain"),
        (lambda r: setattr(r, "target_path", "/var//lib"), "Target path in request is not a plain"),
        (lambda r: setattr(r, "target_path", "/var/"), "Target path in request is not a plain"),
        (lambda r: setattr(r, "target_path", "/var\0"), "Target path in request holds a NUL"),
        (lambda r: setattr(r, "target_path", "/" + "x" * 4095), "longer than 4095 bytes"),
        (lambda r: r.ClearField("volume_capability"), "Volume capability missing in request"),
        (lambda r: r.volume_capability.block.SetInParent(), "asks for block access"),
        (lambda r: r.ClearField("volume_context"), "Volume attributes missing in request"),
        (lambda r: r.ClearField("readonly"), "Readonly is not true in request"),
        (kubelets("ephemeral", "false"), "Persistent volumes are not supported"),
        (lambda r: r.volume_context.pop("csi.storage.k8s.io/ephemeral"), "must have podInfoOnMount: true"),
        (lambda r: r.volume_context.pop("secretProviderClass"), "secretProviderClass is not set"),
        (context(secretProviderClass=""), "secretProviderClass is not set"),
        (context(secretProviderClass="../secrets/x"), "secretProviderClass in volume attributes is not a valid name"),
        (context(secretProviderClass="c" * 254), "secretProviderClass in volume attributes is not a valid name"),
        (lambda r: r.volume_context.pop("csi.storage.k8s.io/pod.name"), "pod.name missing in volume attributes"),
        (lambda r: r.volume_context.pop("csi.storage.k8s.io/pod.uid"), "must have podInfoOnMount: true"),
        (kubelets("pod.namespace", ""), "pod.namespace missing in volume attributes"),
        (kubelets("pod.namespace", "a.b"), "pod.namespace in volume attributes is not a valid name"),
        (kubelets("pod.namespace", "n" * 64), "pod.namespace in volume attributes is not a valid name"),
        (kubelets("pod.name", "web\n"), "pod.name in volume attributes is not a valid name"),
        (kubelets("pod.uid", "a/b"), "pod.uid in volume attributes is not a valid name"),
        (kubelets("serviceAccount.name", "Web"), "serviceAccount.name in volume attributes is not a valid name"),
    ],
)
def test_a_request_that_cannot_work_is_refused(change: Callable[[Publish], object], message: str) -> None:
    """Each argument that is missing or malformed is refused as INVALID_ARGUMENT, in upstream's words if it has any."""
    assert message in refusal(change)


@pytest.mark.parametrize(
    ("cleared", "message"),
    [
        (("volume_id", "target_path", "volume_capability", "volume_context", "readonly"), "Volume ID missing"),
        (("target_path", "volume_capability", "volume_context", "readonly"), "Target path missing"),
        (("volume_capability", "volume_context", "readonly"), "Volume capability missing"),
        (("volume_context", "readonly"), "Volume attributes missing"),
    ],
)
def test_arguments_are_checked_in_the_order_of_conformance(cleared: tuple[str, ...], message: str) -> None:
    """csi-sanity sends requests that lack more than it tests for, so the first check decides."""
    less = request()
    for name in cleared:
        less.ClearField(name)

    assert refusal(lambda r: r.CopyFrom(less)).startswith(message)


def test_a_mount_without_details_is_a_mount() -> None:
    """A capability that names neither block nor mount is taken for a mount: it is all we do."""
    volume, _ = parse_publish(changed(lambda r: r.volume_capability.Clear()))

    assert volume.volume_id == VOLUME_ID


@pytest.mark.parametrize(("text", "gid"), [("", None), ("0", 0), ("2000", 2000), ("4294967294", 2**32 - 2)])
def test_fs_group_becomes_a_gid(text: str, gid: int | None) -> None:
    """volume_mount_group is the pod's fsGroup as a number, or nothing."""
    volume, _ = parse_publish(changed(lambda r: setattr(r.volume_capability.mount, "volume_mount_group", text)))

    assert volume.group == gid


@pytest.mark.parametrize("text", ["-1", "4294967295", "9" * 5000, "users", "1e3", "²", " 1"])
def test_a_group_that_is_no_gid_is_refused(text: str) -> None:
    """Anything but a group id is refused; 2^32-1 means "leave it" to chown(2)."""
    change = refusal(lambda r: setattr(r.volume_capability.mount, "volume_mount_group", text))

    assert change == "volume_mount_group in request is not a group id between 0 and 4294967294"


# Credentials


def test_tokens_in_secrets_come_first() -> None:
    """Kubernetes 1.35 can send tokens as a secret; they are the tokens then, and no part of nodePublishSecretRef."""
    fresh = json.dumps({"keyferry": {"token": "fresh"}, "sts.amazonaws.com": {"token": "aws"}})
    _, credentials = parse_publish(changed(lambda r: r.secrets.update({TOKENS_KEY: fresh, "client-id": "me"})))

    assert credentials.tokens == {"keyferry": "fresh", "sts.amazonaws.com": "aws"}
    assert credentials.node_publish_secret == {"client-id": "me"}


def test_no_tokens_are_no_error() -> None:
    """Without tokenRequests there are no tokens: whether that will do is for the fetcher to say."""
    _, credentials = parse_publish(changed(lambda r: r.volume_context.pop(TOKENS_KEY)))

    assert credentials.tokens == {}


@pytest.mark.parametrize(
    ("timestamps", "expires_at"),
    [
        (["2026-05-01T10:00:00Z"], 1777629600.0),
        (["2026-05-01T10:00:00Z", "2026-05-01T12:30:00+02:30"], 1777629600.0),
        (["2026-05-01T10:00:00Z", "2026-05-01T09:59:59.5Z"], 1777629599.5),
        (["2026-05-01T10:00:00Z", "soon"], 1777629600.0),
        (["soon"], math.inf),
        ([None], math.inf),
        ([7], math.inf),
        ([{}], math.inf),
        (["0001-01-01T00:00:00"], math.inf),
        ([""], math.inf),
    ],
)
def test_the_first_token_to_expire_counts(timestamps: list[object], expires_at: float) -> None:
    """Credentials are good until the first of their tokens expires; what is no time is no reason to refuse a mount."""
    tokens = {f"a{n}": {"token": "t", "expirationTimestamp": at} for n, at in enumerate(timestamps)}
    _, credentials = parse_publish(changed(context(**{TOKENS_KEY: json.dumps(tokens)})))

    assert credentials.expires_at == expires_at


def test_tokens_without_expiry() -> None:
    """Tokens that say nothing of their end are taken for good until a fetcher refuses them."""
    _, credentials = parse_publish(changed(context(**{TOKENS_KEY: '{"keyferry": {"token": "t"}}'})))

    assert credentials.expires_at == math.inf


@pytest.mark.parametrize(
    "text",
    [
        CANARY,
        "{",
        "[" * 100_000,
        f'["{CANARY}"]',
        f'"{CANARY}"',
        f'{{"keyferry": "{CANARY}"}}',
        f'{{"keyferry": {{"jwt": "{CANARY}"}}}}',
        f'{{"keyferry": {{"token": ["{CANARY}"]}}}}',
        '{"keyferry": {"token": ""}}',
        f'{{"keyferry": {{"token": "{CANARY}\\ud800"}}}}',
        f'{{"keyferry": {{"token": "{CANARY}\\r\\nX-Header: 1"}}}}',
        f'{{"\\ud800": {{"token": "{CANARY}"}}}}',
    ],
)
@pytest.mark.parametrize("where", ["secrets", "volume_context"])
def test_malformed_tokens_are_refused_without_being_quoted(text: str, where: str) -> None:
    """The error names the key that is wrong; of its text nothing appears, not even by way of the JSON error."""
    with pytest.raises(InvalidArgument, match=r"serviceAccount\.tokens in .* is not kubelet's JSON") as raised:
        parse_publish(changed(lambda r: getattr(r, where).update({TOKENS_KEY: text})))
    assert CANARY not in f"{raised.value!r} {raised.value}"
    assert raised.value.__context__ is None


def test_credentials_hide_themselves() -> None:
    """Neither a token nor a secret shows in the text form of what parsing yields."""
    shown = repr(parse_publish(changed(lambda r: r.secrets.update({"password": "canary-password"}))))

    assert "canary" not in shown


# Unpublish


def test_an_unpublish_request_names_its_volume() -> None:
    """Id and target are all there is to an unpublish."""
    parsed = parse_unpublish(csi_pb2.NodeUnpublishVolumeRequest(volume_id=VOLUME_ID, target_path=TARGET))

    assert parsed == (VOLUME_ID, TARGET)


@pytest.mark.parametrize(
    ("volume_id", "target_path", "message"),
    [
        ("", "", "Volume ID missing in request"),
        (VOLUME_ID, "", "Target path missing in request"),
        ("../x", TARGET, "Volume ID in request holds"),
        (VOLUME_ID, "/var/lib/kubelet/../../etc", "Target path in request is not a plain"),
    ],
)
def test_an_unpublish_that_could_hit_something_else_is_refused(volume_id: str, target_path: str, message: str) -> None:
    """Before anything is unmounted or removed, id and path are known to be what they seem."""
    with pytest.raises(InvalidArgument, match=message):
        parse_unpublish(csi_pb2.NodeUnpublishVolumeRequest(volume_id=volume_id, target_path=target_path))


# Anything at all

text = st.text(max_size=20)
keys = st.sampled_from([*KUBELETS, TOKENS_KEY, "secretProviderClass", "other"])
values = st.one_of(text, st.sampled_from([*KUBELETS.values(), TOKENS, f"{TOKENS}x", TOKENS[:-3]]))


@st.composite
def requests(draw: st.DrawFn) -> Publish:
    """A request, from sound to nonsense."""
    made = request()
    made.volume_id = draw(st.one_of(st.just(VOLUME_ID), text))
    made.target_path = draw(st.one_of(st.just(TARGET), text))
    made.readonly = draw(st.booleans())
    made.volume_capability.mount.volume_mount_group = draw(st.one_of(st.just(""), text))
    made.volume_context.update(draw(st.dictionaries(keys, values, max_size=3)))
    made.secrets.update(draw(st.dictionaries(keys, values, max_size=3)))
    return made


def outcome(made: Any) -> tuple[Volume, Credentials] | KeyferryError:
    try:
        return parse_publish(made)
    except KeyferryError as error:
        return error


@given(requests())
def test_no_request_gets_past_the_errors_or_shows_a_token(made: Publish) -> None:
    """Whatever comes, the answer is a volume or a KeyferryError, and no token shows in either."""
    answer = outcome(made)

    assert CANARY not in f"{answer!r} {answer}"


@given(st.binary(max_size=200))
def test_no_bytes_get_past_the_errors(raw: bytes) -> None:
    """Whatever protobuf makes of foreign bytes, parsing it yields a volume or a KeyferryError."""
    made = Publish()
    made.MergeFromString(sound_or_nothing(raw))

    assert isinstance(outcome(made), tuple | KeyferryError)


def sound_or_nothing(raw: bytes) -> bytes:
    try:
        Publish.FromString(raw)
    except DecodeError:
        return b""
    return raw
