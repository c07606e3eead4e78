"""Receivers of webhooks meet whatever can be sent."""

import asyncio
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rotator.sources import cloudevents, signatures
from rotator.sources.azure import AzureReceiver
from rotator.sources.document import Malformed
from rotator.sources.heard import Heard
from rotator.sources.keys import Keys
from rotator.sources.receiver import Head
from rotator.sources.webhook import WebhookReceiver

from .conftest import Bus

KEY = "test-only-key-of-decent-length"
MEDIA = st.sampled_from([cloudevents.STRUCTURED, cloudevents.BATCH, cloudevents.BINARY])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
EVENT = st.fixed_dictionaries(
    {},
    optional={
        "specversion": st.just("1.0") | JSON,
        "id": st.text(max_size=20) | JSON,
        "source": st.text(max_size=20) | JSON,
        "type": st.just(cloudevents.TYPE) | JSON,
        "time": st.just("2026-11-24T12:00:00Z") | JSON,
        "data": st.fixed_dictionaries(
            {},
            optional={
                "provider": st.sampled_from(["aws", "vault"]) | JSON,
                "sources": st.lists(st.text(max_size=20), max_size=3) | JSON,
            },
        )
        | JSON,
    },
)


@given(MEDIA, st.dictionaries(st.sampled_from(["ce-id", "ce-type", "ce-source", "ce-specversion"]), st.text()), EVENT)
def test_any_event_is_understood_or_malformed(media_type: str, headers: dict[str, str], event: Any) -> None:
    """No CloudEvent does anything else, and what is told can be sent on."""
    body = json.dumps([event] if media_type == cloudevents.BATCH else event).encode()
    try:
        events = cloudevents.read(media_type, headers, body)
    except Malformed:
        return
    for told in events:
        assert told is None or told.change.changed(told.provider, 1.0).to_bytes()


@given(st.binary(max_size=300), MEDIA)
def test_any_body_has_an_answer(body: bytes, media_type: str) -> None:
    """Every body from whoever holds the key is taken or refused, and nothing of it is given back."""

    async def both() -> set[int]:
        bus = Bus()
        azure = AzureReceiver(Keys(given=KEY), None, 1000, Heard("azure"))
        webhook = WebhookReceiver(Keys(), Keys(given=KEY), 1000, Heard("webhook"))
        head = Head("POST", {"authorization": f"Bearer {KEY}", "x-keyferry-key": KEY, "content-type": media_type})
        answers = [await receiver.receive(head, body, bus.emit) for receiver in (azure, webhook)]
        assert bus.told == []
        assert all(answer.body == b"" for answer in answers)
        return {answer.status for answer in answers}

    assert asyncio.run(both()) <= {204, 400}


@given(
    st.dictionaries(
        st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature", "authorization"]), st.text()
    )
)
def test_any_proof_but_the_right_one_is_refused(headers: dict[str, str]) -> None:
    """No header that is not made with a key passes."""

    async def proved() -> set[int]:
        receiver = WebhookReceiver(Keys(given=KEY), Keys(given=KEY), 1000, Heard("webhook"))
        head = Head("POST", {**headers, "content-type": cloudevents.STRUCTURED})
        refusal = await receiver.refusal(head)
        answer = await receiver.receive(head, b"{}", Bus().emit) if refusal is None else refusal
        return {answer.status}

    assert asyncio.run(proved()) == {401}


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The example of the Standard Webhooks specification gives its signature."""
    secret = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    header = signatures.sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert header == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
