"""Takes CloudEvents from whatever else knows that a backend has changed: pipelines, scripts, cloud functions."""

from __future__ import annotations

from keyferry.errors import AccessDenied
from rotator.sources import cloudevents, signatures
from rotator.sources.document import Malformed
from rotator.sources.heard import Heard
from rotator.sources.keys import Keys
from rotator.sources.limits import Bucket, Seen
from rotator.sources.receiver import (
    MALFORMED,
    NOT_ALLOWED,
    TAKEN,
    TOO_MANY,
    UNAUTHORIZED,
    UNAVAILABLE,
    UNSUPPORTED,
    Answer,
    Head,
)
from rotator.sources.source import Emit

_REMEMBERED = 20_000
_REPLAY_SECONDS = 660.0  # a timestamp may be five minutes early, and holds for five more


class WebhookReceiver:
    """Every sender signs its requests, or shows a bearer token. What was told already is answered as taken.

    Args:
        secrets: That sign; none configured asks for a token instead.
        bearers: Bearer tokens.
        rate: Requests a second.
        heard: For metrics and the log.
    """

    path = "/events"

    def __init__(self, secrets: Keys, bearers: Keys, rate: float, heard: Heard) -> None:
        self._secrets, self._bearers, self._heard = secrets, bearers, heard
        self._bucket = Bucket(rate)
        self._seen = Seen(_REPLAY_SECONDS, _REMEMBERED)

    async def refusal(self, head: Head) -> Answer | None:
        """See `Receiver`."""
        if head.method != "POST":
            return NOT_ALLOWED
        scheme, _, shown = head.headers.get("authorization", "").partition(" ")
        bears = self._bearers.configured and scheme.lower() == "bearer" and self._bearers.holds(shown)
        signs = self._secrets.configured and signatures.SIGNATURE in head.headers
        if not bears and not signs:
            self._heard.refuse("unauthorized", "a request with neither a signature nor a token that holds")
            return UNAUTHORIZED
        if head.media_type not in {cloudevents.STRUCTURED, cloudevents.BATCH, cloudevents.BINARY} or (
            "content-encoding" in head.headers
        ):
            self._heard.refuse("malformed", "a request is no CloudEvent in JSON")
            return UNSUPPORTED
        return None

    async def receive(self, head: Head, body: bytes, emit: Emit) -> Answer:
        """See `Receiver`."""
        try:
            request_id = self._prove(head, body)
        except AccessDenied as error:
            self._heard.refuse("unauthorized", error.message)
            return UNAUTHORIZED
        if not self._bucket.take():
            self._heard.refuse("limited", "more requests than KEYFERRY_WEBHOOK_RATE")
            return TOO_MANY
        if request_id and request_id in self._seen:
            self._heard.count("duplicate")
            return TAKEN
        try:
            events = cloudevents.read(head.media_type, head.headers, body)
        except Malformed as error:
            self._heard.refuse("malformed", f"a request is no CloudEvent of ours: {error}")
            return MALFORMED
        for event in events:
            if not await self._tell(event, emit):
                return UNAVAILABLE
        if request_id:
            self._seen.add(request_id)
        return TAKEN

    def _prove(self, head: Head, body: bytes) -> str:
        """The signed id of the request; empty if a token vouches for it, and was looked at already."""
        if not self._secrets.configured or signatures.SIGNATURE not in head.headers:
            return ""
        signed = signatures.verify(head.headers, body, self._secrets.current(), self._heard.now())
        return f"request {signed}"

    async def _tell(self, event: cloudevents.Told | None, emit: Emit) -> bool:
        if event is None:
            self._heard.count("irrelevant")
            return True
        event_id = f"event {event.change.event_id}"
        if event_id in self._seen:
            self._heard.count("duplicate")
            return True
        if not await self._heard.tell(emit, event.provider, event.change):
            return False
        self._seen.add(event_id)
        return True
