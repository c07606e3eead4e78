from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyferry.errors import BY_REASON, AccessDenied, KeyferryError, ProviderError, RateLimited, UntrustedMessage
from keyferry.messages import REPLY, Ask, FetchRequest, SignedReply, failed_reply, fetched_reply
from keyferry.proto.keyferry.v1 import bus_pb2 as pb
from keyferry.resources import Content, File, ObjectVersion, Pod
from keyferry.sealing import OpeningKey, SigningKey

FETCHER = OpeningKey.from_seed("fetcher-1", bytes(range(96)))
NODE = OpeningKey.from_seed("node-1", bytes(range(1, 97)))
SIGN = SigningKey.generate("signing-1")
CANARY = "canary-5e5c"

ASK = Ask(
    pod=Pod("shop", "cart-0", "uid-1", "cart"),
    secret_provider_class="cart-secrets",
    reply_to=NODE.recipient,
    attributes={"secretProviderClass": "cart-secrets"},
    node_publish_secret={"password": CANARY},
    tokens={"keyferry": CANARY},
    known_digest=b"digest",
    not_before_ms=1_700_000_000_123,
)
REQUEST = FetchRequest.seal(ASK, to=FETCHER.recipient, request_id="r-1", node="node-1", volume_id="csi-1")
CONTENT = Content(
    provider="vault",
    content_key="ck",
    digest=b"d",
    fetched_at_ms=1_700_000_000_456,
    versions=(ObjectVersion("db", "3"),),
    files=(File("db/password", CANARY.encode(), 0o400),),
)


def other(field: str) -> FetchRequest:
    """The request with one field changed."""
    changed: dict[str, Any] = {field: "other"}
    return replace(REQUEST, **changed)


words = st.text(max_size=20)
maps = st.dictionaries(words, words, max_size=4)
stamps = st.integers(0, 2**62)
asks = st.builds(
    Ask,
    pod=st.builds(Pod, words, words, words, words),
    secret_provider_class=words,
    reply_to=st.just(NODE.recipient),
    attributes=maps,
    node_publish_secret=maps,
    tokens=maps,
    known_digest=st.binary(max_size=32),
    not_before_ms=stamps,
)
contents = st.builds(
    Content,
    provider=words,
    content_key=words,
    digest=st.binary(max_size=32),
    fetched_at_ms=stamps,
    versions=st.lists(st.builds(ObjectVersion, words, words), max_size=3).map(tuple),
    files=st.none()
    | st.lists(st.builds(File, words, st.binary(max_size=100), st.integers(0, 0o777)), max_size=3).map(tuple),
)


@given(asks)
def test_an_ask_arrives_as_it_was(ask: Ask) -> None:
    """What a node seals a fetcher reads, field by field."""
    request = FetchRequest.seal(ask, to=FETCHER.recipient, request_id="r-1", node="n.example", volume_id="csi-1")

    arrived = FetchRequest.from_bytes(request.to_bytes())

    assert arrived == request
    assert arrived.open(FETCHER) == ask


@pytest.mark.parametrize("field", ["request_id", "node", "volume_id"])
def test_an_ask_is_bound_to_its_request(field: str) -> None:
    """Who changes what stands in the clear gets nothing opened."""
    with pytest.raises(UntrustedMessage):
        other(field).open(FETCHER)


@given(contents)
def test_a_content_arrives_as_it_was(content: Content) -> None:
    """What a fetcher answers the node reads, also "unchanged", which has no files."""
    reply = fetched_reply(REQUEST, content, to=NODE.recipient, sign=SIGN)

    assert SignedReply.from_bytes(reply).content(REQUEST, NODE) == content


def test_a_reply_is_signed() -> None:
    """The signature is over the body that is read."""
    reply = SignedReply.from_bytes(fetched_reply(REQUEST, CONTENT, to=NODE.recipient, sign=SIGN))

    assert reply.key_id == "signing-1"
    SIGN.verifier().verify(REPLY, reply.body, reply.signature)


def test_the_wire_shows_no_secret() -> None:
    """Neither request nor reply holds a token or a value in the clear."""
    reply = fetched_reply(REQUEST, CONTENT, to=NODE.recipient, sign=SIGN)

    assert CANARY.encode() not in REQUEST.to_bytes() + reply


@pytest.mark.parametrize("field", ["request_id", "node", "volume_id"])
def test_a_reply_to_another_request_is_refused(field: str) -> None:
    """A genuine reply that was recorded answers nothing but its own request."""
    reply = SignedReply.from_bytes(fetched_reply(REQUEST, CONTENT, to=NODE.recipient, sign=SIGN))

    with pytest.raises(UntrustedMessage, match="answers another request"):
        reply.content(other(field), NODE)


def test_a_failure_of_another_request_is_refused() -> None:
    """A recorded failure cannot fail another mount."""
    reply = SignedReply.from_bytes(failed_reply(REQUEST, AccessDenied("no"), provider="aws", sign=SIGN))

    with pytest.raises(UntrustedMessage, match="answers another request"):
        reply.content(replace(REQUEST, request_id="r-2"), NODE)


def test_a_reply_sealed_to_another_node_is_refused() -> None:
    """Files open for the node that asked only."""
    reply = SignedReply.from_bytes(fetched_reply(REQUEST, CONTENT, to=FETCHER.recipient, sign=SIGN))

    with pytest.raises(UntrustedMessage):
        reply.content(REQUEST, NODE)


def test_a_reply_with_neither_content_nor_failure_is_refused() -> None:
    """An empty answer must not pass for "unchanged"."""
    body = pb.FetchReply(request_id="r-1", node="node-1", volume_id="csi-1").SerializeToString()

    with pytest.raises(UntrustedMessage, match="neither a content nor a failure"):
        SignedReply("signing-1", body, b"").content(REQUEST, NODE)


def failed(error: KeyferryError) -> KeyferryError:
    """The error that a node raises when a fetcher answers with this one."""
    reply = SignedReply.from_bytes(failed_reply(REQUEST, error, provider="aws", sign=SIGN))
    with pytest.raises(KeyferryError) as raised:
        reply.content(REQUEST, NODE)
    return raised.value


@pytest.mark.parametrize("kind", [kind for kind in BY_REASON.values() if kind is not UntrustedMessage])
@pytest.mark.parametrize("retry_after", [None, 0.0, 7.5])
def test_a_failure_comes_back_as_the_same_class(
    kind: Callable[[str], KeyferryError], retry_after: float | None
) -> None:
    """Class, code, reason, text, delay and provider cross the bus; no delay stays none."""
    error = kind("fix this")
    error.retry_after = retry_after

    raised = failed(error)

    assert type(raised) is kind
    assert (raised.code, raised.reason, raised.message) == (error.code, error.reason, "fix this")
    assert (raised.retry_after, raised.provider) == (retry_after, "aws")


@pytest.mark.parametrize("retry_after", [None, 3.0])
def test_an_unknown_reason_is_a_providers_own(retry_after: float | None) -> None:
    """A plugin's code and reason survive although this release knows neither class."""
    raised = failed(ProviderError("sealed", code="ABORTED", reason="HsmBusy", retry_after=retry_after))

    assert type(raised) is ProviderError
    assert (raised.code, raised.reason, raised.retry_after) == ("ABORTED", "HsmBusy", retry_after)


def test_a_known_reason_with_another_code_is_a_providers_own() -> None:
    """The code decides what kubelet does: it is never replaced by the one that the reason usually has."""
    raised = failed(ProviderError("slow down", code="UNAVAILABLE", reason=RateLimited.reason))

    assert (type(raised), raised.code) == (ProviderError, "UNAVAILABLE")


def test_a_refused_request_is_no_refused_reply() -> None:
    """UntrustedMessage makes the bus wait on; "your request does not open" is an answer and must end the wait."""
    raised = failed(UntrustedMessage("keys are out of step"))

    assert not isinstance(raised, UntrustedMessage)
    assert (raised.code, raised.reason, raised.message) == ("INTERNAL", "UntrustedMessage", "keys are out of step")


@given(st.binary(max_size=200))
def test_garbage_is_untrusted_and_nothing_else(garbage: bytes) -> None:
    """Whatever bytes come in, parsing them succeeds or raises UntrustedMessage."""
    survived = 0
    for parse in (FetchRequest.from_bytes, Ask.from_bytes, SignedReply.from_bytes, reply_body):
        try:
            parse(garbage)
        except UntrustedMessage:
            survived += 1
        else:
            survived += 1

    assert survived == 4


def reply_body(body: bytes) -> Content:
    return SignedReply("k", body, b"").content(REQUEST, NODE)


@given(st.integers(0, len(REQUEST.to_bytes()) - 1), st.integers(0, 255))
def test_a_damaged_request_never_opens_to_something_else(index: int, value: int) -> None:
    """With one wrong byte anywhere a request is UntrustedMessage, or means what it meant (a key id is but a hint)."""
    payload = bytearray(REQUEST.to_bytes())
    payload[index] = value

    assert opened(bytes(payload)) in (ASK, None)


def opened(payload: bytes) -> Ask | None:
    try:
        return FetchRequest.from_bytes(payload).open(FETCHER)
    except UntrustedMessage:
        return None


@pytest.mark.parametrize("request_id", ["", "a.b", "a b", "*", ">", "x" * 129, "ä"])
def test_a_request_id_is_one_subject_token(request_id: str) -> None:
    """The reply's subject is made of it: no wildcard, no dot, no blank."""
    payload = pb.FetchRequest(request_id=request_id, node="node-1", volume_id="csi-1").SerializeToString()

    with pytest.raises(UntrustedMessage, match="request_id"):
        FetchRequest.from_bytes(payload)


@pytest.mark.parametrize(
    "value", [ASK, CONTENT, REQUEST, SignedReply("k", CANARY.encode(), b"")], ids=lambda v: type(v).__name__
)
def test_repr_shows_no_secret(value: object) -> None:
    """Tokens, values and seals are hidden from logs and tracebacks."""
    assert CANARY not in repr(value)
    assert "ciphertext" not in repr(value)
