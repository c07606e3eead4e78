"""Event Grid as the sender of Key Vault's events: the handshakes, both schemas, and when it sends again.

Shapes from "Endpoint validation with Event Grid event schema", "... with CloudEvents schema" and "Event Grid message
delivery and retry".
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

ORIGIN = "eventgrid.azure.net"
_GIVEN_UP = {400, 403, 404, 413}


@dataclass
class EventGrid:
    """A subscription of a vault's events by a webhook.

    Attributes:
        url: The webhook, its query included.
        headers: Sent with everything, such as a delivery property or a token.
        cloud_events: Whether the subscription is in CloudEvents 1.0.
        retry_seconds: Between tries; Event Grid's own are 10 s and more.
        statuses: What was answered to each delivery.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    cloud_events: bool = False
    retry_seconds: float = 0.05
    statuses: list[int] = field(default_factory=list)

    async def validate(self, session: aiohttp.ClientSession) -> bool:
        """Create the subscription: whether the webhook passes the handshake of its schema."""
        if self.cloud_events:
            asked = {**self.headers, "WebHook-Request-Origin": ORIGIN, "WebHook-Request-Rate": "120"}
            async with session.options(self.url, headers=asked) as answer:
                return answer.ok and answer.headers.get("WebHook-Allowed-Origin") in {ORIGIN, "*"}
        code = str(uuid.uuid4())
        event = {
            "id": str(uuid.uuid4()),
            "topic": "/subscriptions/0/providers/Microsoft.KeyVault/vaults/shop",
            "subject": "",
            "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
            "eventTime": "2026-11-24T12:00:00.0000000Z",
            "data": {"validationCode": code, "validationUrl": "https://rp-eastus.eventgrid.azure.net/validate?id=1"},
            "dataVersion": "2",
            "metadataVersion": "1",
        }
        asked = {**self.headers, "aeg-event-type": "SubscriptionValidation"}
        async with session.post(self.url, json=[event], headers=asked) as answer:
            return answer.status == 200 and (await answer.json()) == {"validationResponse": code}  # noqa: PLR2004

    async def deliver(self, session: aiohttp.ClientSession, event: Mapping[str, Any], *, tries: int = 20) -> bool:
        """Send one event until it is taken; False when Event Grid would give up."""
        kind = "application/cloudevents+json; charset=utf-8" if self.cloud_events else "application/json; charset=utf-8"
        asked = {**self.headers, "Content-Type": kind, "aeg-event-type": "Notification"}
        body: Any = event if self.cloud_events else [event]
        for _ in range(tries):
            async with session.post(self.url, json=body, headers=asked) as answer:
                self.statuses.append(answer.status)
            if answer.ok or answer.status in _GIVEN_UP:
                return answer.ok
            await asyncio.sleep(self.retry_seconds)
        return False

    def new_version(self, vault: str, kind: str, name: str) -> dict[str, Any]:
        """The event of a new version; ``kind`` is Secret, Key or Certificate."""
        identifier, version = str(uuid.uuid4()), uuid.uuid4().hex
        data = {
            "Id": f"https://{vault}.vault.azure.net/{kind.lower()}s/{name}/{version}",
            "VaultName": vault,
            "ObjectType": kind,
            "ObjectName": name,
            "Version": version,
            "NBF": None,
            "EXP": None,
        }
        origin = f"/subscriptions/0/resourceGroups/shop/providers/Microsoft.KeyVault/vaults/{vault}"
        common = {"id": identifier, "subject": name, "data": data}
        kind_of_event = f"Microsoft.KeyVault.{kind}NewVersionCreated"
        at = "2026-11-24T12:00:00.1234567Z"
        if self.cloud_events:
            return {**common, "specversion": "1.0", "source": origin, "type": kind_of_event, "time": at}
        return {
            **common,
            "topic": origin,
            "eventType": kind_of_event,
            "eventTime": at,
            "dataVersion": "1",
            "metadataVersion": "1",
        }
