"""Asks the fetchers for a volume's content: sealed on the way there, verified and opened on the way back."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from keyferry import telemetry
from keyferry.bus import Bus
from keyferry.keys import KeyFile, PublicKeys
from keyferry.messages import REPLY, Ask, FetchRequest, SignedReply
from keyferry.resources import Content
from keyferry.sealing import OpeningKey
from keyferry.subjects import mount_subject, refresh_subject
from node_driver.volume import Credentials, Volume


@dataclass(frozen=True)
class Asking:
    """How this node asks. Its own key lives in memory for one run: what was sealed to it cannot be opened later.

    Attributes:
        bus: Whose inbox is this node's.
        keys: The fetchers' public keys.
        node: This node's name.
        own_key: The key that replies are sealed to.
        now: Unix seconds.
    """

    bus: Bus
    keys: KeyFile[PublicKeys]
    node: str
    own_key: OpeningKey
    now: Callable[[], float] = time.time

    async def for_mount(self, volume: Volume, credentials: Credentials, deadline: float) -> Content:
        """The content for a first publish, its files included.

        Raises:
            KeyferryError: the fetcher's failure, or the bus's: unavailable, full, no answer in time.
        """
        ask = self._ask(volume, credentials)
        return await self._request("mount", mount_subject(self.node), ask, volume.volume_id, deadline)

    async def for_refresh(
        self, volume: Volume, credentials: Credentials, deadline: float, *, known_digest: bytes, not_before_ms: int
    ) -> Content:
        """The content for a published volume, without files if it is what the volume has; waits behind all mounts.

        Args:
            volume: As kubelet asks for it.
            credentials: The newest there are.
            deadline: Unix seconds.
            known_digest: Of the content that the volume has.
            not_before_ms: Take nothing that was fetched before this, Unix milliseconds.

        Raises:
            KeyferryError: as of `for_mount`.
        """
        ask = self._ask(volume, credentials, known_digest, not_before_ms)
        return await self._request("refresh", refresh_subject(self.node), ask, volume.volume_id, deadline)

    async def _request(self, lane: str, subject: str, ask: Ask, volume_id: str, deadline: float) -> Content:
        request_id = uuid.uuid4().hex
        with telemetry.phase("seal"):
            request = FetchRequest.seal(
                ask,
                to=self.keys.keys.fetcher.current(self.now()),
                request_id=request_id,
                node=self.node,
                volume_id=volume_id,
            )

        def accept(payload: bytes) -> Content:
            signed = SignedReply.from_bytes(payload)
            self.keys.keys.verify(signed.key_id, REPLY, signed.body, signed.signature)
            return signed.content(request, self.own_key)

        return await self.bus.request(
            subject,
            request.to_bytes(),
            destination=f"keyferry.fetch.{lane}",
            request_id=request_id,
            deadline=deadline,
            accept=accept,
        )

    def _ask(self, volume: Volume, credentials: Credentials, known_digest: bytes = b"", not_before_ms: int = 0) -> Ask:
        return Ask(
            pod=volume.pod,
            secret_provider_class=volume.secret_provider_class,
            reply_to=self.own_key.recipient,
            attributes=volume.attributes,
            node_publish_secret=credentials.node_publish_secret,
            tokens=credentials.tokens,
            known_digest=known_digest,
            not_before_ms=not_before_ms,
        )
