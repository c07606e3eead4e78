from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncer.desired import Desired, SyncRefused, build, read_secret_objects, taken_twice

FILES = {"db-password": b"horse", "api/key": b"\x00\xff", "empty": b""}


def entry(**fields: Any) -> dict[str, Any]:
    usual = {
        "secretName": "app-secrets",
        "type": "Opaque",
        "data": [{"objectName": "db-password", "key": "password"}],
    }
    return {**usual, **fields}


def made(**fields: Any) -> Desired:
    (wanted,) = read_secret_objects({"secretObjects": [entry(**fields)]})
    return build(wanted, FILES)


def refusal(**fields: Any) -> str:
    with pytest.raises(SyncRefused) as refused:
        made(**fields)
    return str(refused.value)


def test_the_guides_example() -> None:
    """Each file is byte for byte the value of its key, and the label that upstream sets is there."""
    secret = made(
        labels={"environment": "test"},
        annotations={"team": "shop"},
        data=[{"objectName": "db-password", "key": "password"}, {"objectName": "api/key", "key": "api-key"}],
    )

    assert (secret.name, secret.type) == ("app-secrets", "Opaque")
    assert secret.data == {"password": b"horse", "api-key": b"\x00\xff"}
    assert secret.labels == {"environment": "test", "secrets-store.csi.k8s.io/managed": "true"}
    assert secret.annotations == {"team": "shop"}


def test_the_managed_label_cannot_be_set_otherwise() -> None:
    """It says who may change the Secret, so a class has no say in it."""
    assert made(labels={"secrets-store.csi.k8s.io/managed": "false"}).labels == {
        "secrets-store.csi.k8s.io/managed": "true"
    }


def test_names_are_trimmed() -> None:
    """As upstream does it: blanks around names are nobody's intention."""
    secret = made(secretName=" app-secrets ", data=[{"objectName": " db-password\n", "key": " password "}])

    assert (secret.name, secret.data) == ("app-secrets", {"password": b"horse"})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"secretName": ""}, "secretObjects[0]: secret name is empty: set secretName"),
        ({"secretName": "App"}, "secretName is no name"),
        ({"secretName": "../other"}, "secretName is no name"),
        ({"type": " "}, "secret app-secrets: secret type is empty"),
        ({"type": None}, "secret type is empty"),
        ({"data": []}, "data is empty"),
        ({"data": None}, "data is empty"),
        ({"data": [{"objectName": "gone", "key": "k"}]}, "file matching objectName gone not found in the pod"),
        ({"data": [{"objectName": "", "key": "k"}]}, "object name is empty"),
        ({"data": [{"objectName": "db-password", "key": ""}]}, "1 keys are no names"),
        ({"data": [{"objectName": "db-password", "key": "a/b"}]}, "1 keys are no names"),
        ({"data": [{"objectName": "db-password", "key": "k"}] * 2}, "key 'k' is there 2 times"),
        ({"type": "kubernetes.io/service-account-token"}, "is refused"),
        ({"type": "bootstrap.kubernetes.io/token"}, "is refused"),
        ({"type": "kubernetes.io/dockerconfigjson"}, "key '.dockerconfigjson' is needed"),
        ({"type": "kubernetes.io/ssh-auth"}, "key 'ssh-privatekey' is needed"),
        ({"type": "kubernetes.io/tls"}, "key 'password' is not supported. Only 'tls.key', 'tls.crt' and 'ca.crt' are"),
    ],
)
def test_what_cannot_work_is_told_with_the_fix(fields: dict[str, Any], words: str) -> None:
    """Each in words that upstream's users know, where upstream has any."""
    assert words in refusal(**fields)


def test_all_problems_of_an_entry_are_told_at_once() -> None:
    """Whoever mends a class reads everything in one Event, and no value in it."""
    text = refusal(type="", data=[{"objectName": "gone", "key": "a"}, {"objectName": "db-password", "key": "!"}])

    assert "secret type is empty" in text
    assert "objectName gone" in text
    assert "1 keys are no names" in text
    assert "horse" not in text


def test_more_than_a_secret_holds() -> None:
    """The API server's limit is told before it says no."""
    (wanted,) = read_secret_objects({"secretObjects": [entry()]})

    with pytest.raises(SyncRefused, match=r"1048577 bytes, 1048576 are the most"):
        build(wanted, {"db-password": b"x" * 1_048_577})


def test_two_entries_for_one_secret() -> None:
    """The first makes it; the second is told where."""
    objects = read_secret_objects({"secretObjects": [entry(), entry(secretName="other"), entry()]})

    assert list(taken_twice(objects)) == ["secretObjects[2]"]
    assert "secretObjects[0] makes it already" in taken_twice(objects)["secretObjects[2]"]


def test_nothing_shows_a_value() -> None:
    """What is printed of a Secret is about it, not in it."""
    assert "horse" not in repr(made())


def test_the_digest_tells_secrets_apart() -> None:
    """A write is made when anything differs, and only then."""
    base = made()

    assert base.digest() == made().digest()
    others = [
        made(type="other"),
        made(labels={"a": "b"}),
        made(annotations={"a": "b"}),
        made(data=[{"objectName": "empty", "key": "password"}]),
        made(data=[{"objectName": "db-password", "key": "other"}]),
    ]
    assert len({base.digest(), *(other.digest() for other in others)}) == 6


shapes = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["secretObjects", "secretName", "type", "data", "objectName", "key", "labels"]), inner
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.just("secretObjects"), shapes))
def test_any_shape_is_read(spec: dict[str, Any]) -> None:
    """The CRD takes anything in places; what makes no sense is refused by words and never by a crash."""
    assert all(outcome(wanted) for wanted in read_secret_objects(spec))


def outcome(wanted: Any) -> str:
    try:
        return build(wanted, FILES).name
    except SyncRefused as refused:
        return str(refused)
