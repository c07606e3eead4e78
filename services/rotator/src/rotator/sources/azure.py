"""Takes what Event Grid pushes of Azure Key Vault."""

from __future__ import annotations

import json
from collections.abc import Sequence

from keyferry.errors import AccessDenied, KeyferryError
from rotator.sources import azure_events
from rotator.sources.document import Malformed
from rotator.sources.entra import EntraTokens
from rotator.sources.heard import Heard
from rotator.sources.keys import Keys
from rotator.sources.limits import Bucket
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
from rotator.sources.source import Change, Emit

_MEDIA_TYPES = {"application/json", "application/cloudevents+json", "application/cloudevents-batch+json"}
_AGREED = {
    origin: Answer(200, headers={"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "120", "Allow": "POST"})
    for origin in ("eventgrid.azure.net", "eventgrid.azure.us", "eventgrid.azure.cn")
}


class AzureReceiver:
    """Event Grid sends again, for a day, whatever is not answered with 2xx; 400 and 413 it gives up on.

    Args:
        keys: One of which it shows in ``?key=`` or ``X-Keyferry-Key``.
        tokens: Verify its tokens; None asks for none. Where both are set, both must hold.
        rate: Requests a second.
        heard: For metrics and the log.
    """

    path = "/events/azure"

    def __init__(self, keys: Keys, tokens: EntraTokens | None, rate: float, heard: Heard) -> None:
        self._keys, self._tokens, self._heard = keys, tokens, heard
        self._bucket = Bucket(rate)

    async def refusal(self, head: Head) -> Answer | None:
        """See `Receiver`."""
        if head.method not in {"POST", "OPTIONS"}:
            return NOT_ALLOWED
        try:
            await self._prove(head)
        except AccessDenied as error:
            self._heard.refuse("unauthorized", error.message)
            return UNAUTHORIZED
        except KeyferryError as error:
            self._heard.refuse("failed", error.message)
            return UNAVAILABLE
        if not self._bucket.take():
            self._heard.refuse("limited", "more requests than KEYFERRY_WEBHOOK_RATE")
            return TOO_MANY
        return self._handshake(head) if head.method == "OPTIONS" else self._unsupported(head)

    def _handshake(self, head: Head) -> Answer:
        # CloudEvents' abuse protection (HTTP 1.1 Web Hooks for Event Delivery, section 4).
        return _AGREED.get(head.headers.get("webhook-request-origin", ""), NOT_ALLOWED)

    def _unsupported(self, head: Head) -> Answer | None:
        if head.media_type in _MEDIA_TYPES and "content-encoding" not in head.headers:
            return None
        self._heard.refuse("malformed", "a request of Event Grid is no plain JSON")
        return UNSUPPORTED

    async def _prove(self, head: Head) -> None:
        if self._tokens:
            await self._tokens.verify(head.headers.get("authorization", ""))
        shown = head.headers.get("x-keyferry-key") or head.query.get("key", "")
        if self._keys.configured and not self._keys.holds(shown):
            raise AccessDenied("no key, or a wrong one")

    async def receive(self, head: Head, body: bytes, emit: Emit) -> Answer:
        """See `Receiver`."""
        del head
        try:
            events = azure_events.events(body)
            for event in events:
                if code := azure_events.validation_code(event):
                    return Answer(200, json.dumps({"validationResponse": code}).encode())
            changes = [azure_events.change(event) for event in events]
        except Malformed as error:
            self._heard.refuse("malformed", f"a request of Event Grid is no event: {error}")
            return MALFORMED
        return await self._tell(changes, emit)

    async def _tell(self, changes: Sequence[Change | None], emit: Emit) -> Answer:
        for change in changes:
            if change is None:
                self._heard.count("irrelevant")
            elif not await self._heard.tell(emit, "azure", change):
                return UNAVAILABLE  # all of them come again; those told already are known by their id
        return TAKEN
