"""Asks the fetchers for a content as a service account, without a pod: as a node does, in a name that no node has."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from keyferry.bus import Bus
from keyferry.keys import KeyFile, PublicKeys
from keyferry.kube import Kube, object_path
from keyferry.messages import REPLY, Ask, FetchRequest, SignedReply
from keyferry.resources import DRIVER_NAME, SYNCER_NODE, TOKEN_AUDIENCE, Content, Pod
from keyferry.sealing import OpeningKey
from keyferry.subjects import refresh_subject
from syncer.desired import SyncRefused

_ACCOUNTS = "/api/v1/serviceaccounts"
_CSI_DRIVER = f"/apis/storage.k8s.io/v1/csidrivers/{DRIVER_NAME}"
_TOKEN_SECONDS = 600  # the least that the API server gives
_ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class Asking:
    """How a syncer asks. Its key lives in memory for one run.

    Attributes:
        kube: Gives tokens.
        bus: Whose inbox is that of `SYNCER_NODE`.
        keys: The fetchers' public keys.
        own_key: The key that replies are sealed to.
        now: Unix seconds.
    """

    kube: Kube
    bus: Bus
    keys: KeyFile[PublicKeys]
    own_key: OpeningKey
    now: Callable[[], float] = time.time

    async def tokens(self, namespace: str, account: str) -> Mapping[str, str]:
        """Tokens of a service account: one for us, and one for each backend that the CSIDriver object names.

        Raises:
            SyncRefused: there is no such account.
            AccessDenied, KubernetesUnavailable: they may not be had, or not now.
        """
        driver = await self.kube.get(_CSI_DRIVER) or {}
        named = [str(each.get("audience", "")) for each in (driver.get("spec") or {}).get("tokenRequests") or ()]
        # Not for "", the API server's own: nobody but the account itself needs such a token.
        audiences = dict.fromkeys([TOKEN_AUDIENCE, *(each for each in named if each)])
        return {audience: await self._token(namespace, account, audience) for audience in audiences}

    async def content(
        self, namespace: str, class_name: str, account: str, tokens: Mapping[str, str], *, not_before_ms: int
    ) -> Content:
        """The content of a class, its files included.

        Raises:
            KeyferryError: the fetcher's failure, or the bus's.
        """
        ask = Ask(
            pod=Pod(namespace, "", "", account),
            secret_provider_class=class_name,
            reply_to=self.own_key.recipient,
            tokens=tokens,
            not_before_ms=not_before_ms,
        )
        request = FetchRequest.seal(
            ask,
            to=self.keys.keys.fetcher.current(self.now()),
            request_id=uuid.uuid4().hex,
            node=SYNCER_NODE,
            volume_id=f"sync-{uuid.uuid4().hex}",
        )

        def accept(payload: bytes) -> Content:
            signed = SignedReply.from_bytes(payload)
            self.keys.keys.verify(signed.key_id, REPLY, signed.body, signed.signature)
            return signed.content(request, self.own_key)

        return await self.bus.request(
            refresh_subject(SYNCER_NODE),
            request.to_bytes(),
            destination="keyferry.fetch.refresh",
            request_id=request.request_id,
            deadline=self.now() + _ANSWER_SECONDS,
            accept=accept,
        )

    async def _token(self, namespace: str, account: str, audience: str) -> str:
        path = object_path(_ACCOUNTS, namespace, account)
        body = {"spec": {"audiences": [audience], "expirationSeconds": _TOKEN_SECONDS}}
        answer = await self.kube.post(f"{path}/token", body) if path else None
        if answer is None:
            raise SyncRefused(f"there is no service account {account} in namespace {namespace}: create it")
        return str(answer["status"]["token"])
