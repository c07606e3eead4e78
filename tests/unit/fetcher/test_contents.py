from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.contents import build, content_key
from fetcher.provider import ProviderRequest, Scope, Secret
from keyferry import keymaking
from keyferry.errors import ContentTooLarge
from keyferry.keys import FetcherKeys, KeyFile
from keyferry.resources import Content, File, ObjectVersion, Pod, SecretProviderClass

POD = Pod("shop", "web-0", "u-1", "web")
CLASS = SecretProviderClass("shop", "db", "vault", {"objects": "x"}, {}, syncs=False)
REQUEST = ProviderRequest(
    parameters={"objects": "x", "roleName": "r"},
    pod=POD,
    tokens={"vault": "t1"},
    service_account_annotations={"eks.amazonaws.com/role-arn": "arn"},
    node_publish_secret={"clientsecret": "swordfish"},
)
PASSWORD = Secret("password", b"tiger", "db", "3", 0o640)
USER = Secret("user", b"app", "db", "3")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> FetcherKeys:
    return generated(tmp_path_factory.mktemp("keys"))


def generated(folder: Path) -> FetcherKeys:
    keymaking.create(folder)
    return KeyFile.fetcher(folder).keys


def built(own: FetcherKeys, *secrets: Secret) -> Content:
    return build(own, secrets, provider="vault", key="k", fetched_at_ms=1_000, mode=0o644).content


def test_same_for_all_pods_of_an_account(own: FetcherKeys) -> None:
    """Pods of one service account share: neither the pod, its tokens nor the deadline make a difference."""
    other = replace(REQUEST, pod=Pod("shop", "web-1", "u-2", "web"), tokens={"vault": "t2"}, deadline=5.0)

    assert content_key(own, CLASS, REQUEST) == content_key(own, replace(CLASS, name="same"), other)


def test_a_backend_that_sees_the_pod_shares_nothing(own: FetcherKeys) -> None:
    """A provider plugin is told which pod asks and may decide by it: another pod is another content."""
    other = replace(REQUEST, pod=Pod("shop", "web-1", "u-2", "web"))

    assert content_key(own, CLASS, REQUEST, Scope(by_pod=True)) != content_key(own, CLASS, other, Scope(by_pod=True))
    assert content_key(own, CLASS, REQUEST, Scope(by_pod=True)) == content_key(own, CLASS, REQUEST, Scope(by_pod=True))


@pytest.mark.parametrize(
    "changed",
    [
        {"pod": replace(POD, namespace="shop2")},
        {"pod": replace(POD, service_account="web2")},
        {"parameters": {"objects": "x", "roleName": "r2"}},
        {"parameters": {"objects": "x"}},
        {"service_account_annotations": {"eks.amazonaws.com/role-arn": "arn2"}},
        {"service_account_annotations": {}},
        {"node_publish_secret": {"clientsecret": "swordfish2"}},
        {"node_publish_secret": {}},
    ],
)
def test_another_identity_or_question(own: FetcherKeys, changed: dict[str, object]) -> None:
    """Whatever may make the backend answer otherwise makes another content."""
    other = replace(REQUEST, **changed)  # type: ignore[arg-type] # fields by name

    assert content_key(own, CLASS, REQUEST) != content_key(own, CLASS, other)
    assert content_key(own, CLASS, REQUEST) != content_key(own, replace(CLASS, provider="aws"), REQUEST)


Who = tuple[str, str, dict[str, str], dict[str, str], dict[str, str]]
TEXTS = st.text("ab", max_size=2)
MAPPINGS = st.dictionaries(TEXTS, TEXTS, max_size=2)
WHO = st.tuples(TEXTS, TEXTS, MAPPINGS, MAPPINGS, MAPPINGS)


def keyed(own: FetcherKeys, who: Who) -> str:
    namespace, account, parameters, annotations, secret = who
    return content_key(
        own, CLASS, ProviderRequest(parameters, Pod(namespace, "p", "u", account), {}, annotations, secret)
    )


@given(one=WHO, other=WHO)
def test_no_two_questions_run_together(
    own: FetcherKeys,
    one: Who,
    other: Who,
) -> None:
    """Keys are equal only for equal questions, wherever names end and values begin."""
    assert (keyed(own, one) == keyed(own, other)) == (one == other)


def test_an_entry_cannot_pass_for_another_mappings(own: FetcherKeys) -> None:
    """An annotation that reads like the end of the parameters is none of them."""
    one: Who = ("n", "a", {"a": "y"}, {"k": "annotations"}, {})
    other: Who = ("n", "a", {"a": "y", "annotations": "k"}, {}, {})

    assert keyed(own, one) != keyed(own, other)


def test_key_gives_nothing_away(own: FetcherKeys, tmp_path: Path) -> None:
    """A content key is a MAC: other fetchers' keys give another one, and it stands as a subject's token."""
    key = content_key(own, CLASS, REQUEST)

    assert key != content_key(generated(tmp_path), CLASS, REQUEST)
    assert len(key) == 32
    assert set(key) <= set("0123456789abcdef")


def test_content(own: FetcherKeys) -> None:
    """Files keep the class's order and their modes; versions stand by object, each once."""
    content = built(own, PASSWORD, USER)

    assert content.files == (File("password", b"tiger", 0o640), File("user", b"app", 0o644))
    assert content.versions == (ObjectVersion("db", "3"),)
    assert (content.provider, content.content_key, content.fetched_at_ms) == ("vault", "k", 1_000)


def test_digest_sees_every_change(own: FetcherKeys) -> None:
    """The digest depends on paths, modes and contents, not on order, time or version."""
    digest = built(own, PASSWORD, USER).digest

    assert digest == built(own, replace(USER, version="4"), PASSWORD).digest
    others = [
        built(own, PASSWORD),
        built(own, PASSWORD, replace(USER, contents=b"app2")),
        built(own, PASSWORD, replace(USER, path="user2")),
        built(own, PASSWORD, replace(USER, mode=0o600)),
        built(own, replace(PASSWORD, contents=b"tigera"), replace(USER, contents=b"pp")),
    ]
    assert digest not in {other.digest for other in others}


def test_digest_gives_nothing_away(own: FetcherKeys, tmp_path: Path) -> None:
    """Who has no key of the fetchers cannot try out values: digests and made-up versions are MACs."""
    secret = replace(PASSWORD, version=None)
    one, other = built(own, secret), built(generated(tmp_path), secret)

    assert one.digest != other.digest
    assert one.versions != other.versions
    assert one.versions == built(own, secret).versions
    assert one.versions != built(own, replace(secret, contents=b"lion")).versions


def test_too_much(own: FetcherKeys) -> None:
    """More than 4 MiB is refused by size and largest object, and the text holds nothing of it."""
    halves = [Secret(name, name.encode() * 2_100_000, name, None) for name in ("a", "b")]
    with pytest.raises(ContentTooLarge) as raised:
        built(own, *halves, Secret("more", b"c" * 2_200_000, "largest", None))

    assert "add up to 6400000 bytes, 4194304 are the limit" in raised.value.message
    assert 'its largest object is "largest" with 2200000 bytes' in raised.value.message
    assert "ccc" not in raised.value.message


def test_just_enough(own: FetcherKeys) -> None:
    """Exactly 4 MiB is a content."""
    assert built(own, Secret("a", b"x" * 4 * 1024 * 1024, "a", None)).files


def test_repr(own: FetcherKeys) -> None:
    """No value shows in a repr, whoever prints what."""
    shown = repr((REQUEST, PASSWORD, built(own, PASSWORD)))

    assert "tiger" not in shown
    assert "swordfish" not in shown
    assert "t1" not in shown
