"""Answers a node's request: open, verify, resolve the class, share or ask the backend, seal, reply."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from fetcher import contents
from fetcher.announce import Announcer
from fetcher.backends import Asking, Calling
from fetcher.budgets import Spending, backend_id
from fetcher.classes import Classes, ServiceAccounts
from fetcher.coalesce import CONTENTS, Coalescer
from fetcher.identity import TokenVerifier, check_bearer
from fetcher.nodes import Nodes
from fetcher.origin import Traced
from fetcher.policy import read_policy
from fetcher.provider import Provider, ProviderRequest, scope_of
from fetcher.stale import LastKnown
from keyferry import audit, telemetry
from keyferry.bus import Bus, Delivery
from keyferry.errors import (
    IdentityRefused,
    InternalError,
    InvalidSecretProviderClass,
    KeyferryError,
    ProviderUnavailable,
    RateLimited,
    place,
)
from keyferry.keys import FetcherKeys, KeyFile
from keyferry.messages import Ask, FetchRequest, failed_reply, fetched_reply
from keyferry.resources import TOKEN_AUDIENCE, Content, SecretProviderClass
from keyferry.subjects import node_token, reply_subject

log = logging.getLogger(__name__)
security = logging.getLogger("keyferry.security")

_TRIES = 3  # deliveries of one request while a backend is away; then the pod's events shall say so
_LONGEST_PAUSE = 3.0  # seconds between them; for longer ones kubelet waits, who knows of the pod's end
_REPLY_SECONDS = 0.5  # before the deadline, so that the pod's events say which backend is slow
_LONGEST_TEXT = 1024  # bytes; an event holds no more, and a gRPC status not much


@dataclass(frozen=True)
class Fetch:
    """The handler of both FETCH lanes. Its fields are what it works with."""

    bus: Bus
    keys: KeyFile[FetcherKeys]
    tokens: TokenVerifier
    classes: Classes
    accounts: ServiceAccounts
    nodes: Nodes
    providers: Mapping[str, Provider]
    coalescer: Coalescer
    calling: Calling
    last_known: LastKnown
    announcer: Announcer
    now: Callable[[], float] = time.time

    async def __call__(self, delivery: Delivery) -> None:
        """Answer one request.

        Raises:
            KeyferryError: nobody can be answered, or another try before the deadline may yet succeed.
        """
        request = FetchRequest.from_bytes(delivery.payload)
        record = audit.Record(request.node, request.volume_id, request.request_id)
        if delivery.subject.rpartition(".")[2] != node_token(request.node):
            security.warning(
                "a node asked in another's name", extra={"subject": delivery.subject, "node": request.node}
            )
            refusal = IdentityRefused("the request's node is not the one its subject was granted to")
            record.refuse(refusal)
            raise refusal
        try:
            payload = await self._answer(request, delivery, record)
        except KeyferryError as error:
            if self._worth_another_try(error, delivery):
                log.info("request is tried again soon: %s", error.message, extra={"volume_id": request.volume_id})
                raise
            record.refuse(error)
            payload = self._failure(request, error)
        except Exception as error:
            if delivery.last:
                defect = InternalError(f"the fetcher met a defect of its own ({place(error)}): see its log")
                record.refuse(defect)
                await self.bus.reply(reply_subject(request.node, request.request_id), self._failure(request, defect))
            raise
        await self.bus.reply(reply_subject(request.node, request.request_id), payload)

    async def _answer(self, request: FetchRequest, delivery: Delivery, record: audit.Record) -> bytes:
        keys = self.keys.keys
        with telemetry.phase("verify"):
            ask = request.open(keys.opener(request.ask))
            record.pod, record.secret_provider_class = ask.pod, ask.secret_provider_class
            record.purpose = "refresh" if ask.not_before_ms else "mount"
            await self.tokens.verify(ask.tokens.get(TOKEN_AUDIENCE, ""), pod=ask.pod, node=request.node)
            for audience in ask.tokens.keys() - {TOKEN_AUDIENCE}:
                check_bearer(ask.tokens[audience], audience=audience, pod=ask.pod)
        record.verified = True
        spc = await self.classes.get(ask.pod.namespace, ask.secret_provider_class)
        record.of_class(spc)
        try:
            content, origin = await self._content(keys, spc, ask, request.node, delivery.deadline)
        except KeyferryError as error:
            error.provider = spc.provider
            raise
        if spc.syncs:
            self.announcer.tell(spc.namespace, content)
        current = content.digest == ask.known_digest
        with telemetry.phase("seal"):
            answer = replace(content, files=None) if current else content
            payload = fetched_reply(request, answer, to=ask.reply_to, sign=keys.signing.current(self.now()))
        record.deliver(content, origin, unchanged=current)
        return payload

    async def _content(
        self, keys: FetcherKeys, spc: SecretProviderClass, ask: Ask, node: str, deadline: float
    ) -> tuple[Content, audit.Origin]:
        asking = await self._asking(keys, spc, ask, node)
        traced = Traced(asking)
        try:
            try:
                # The fetch itself goes on: others may have joined it, and the pod's next try will.
                async with asyncio.timeout(None if math.isinf(deadline) else deadline - _REPLY_SECONDS - self.now()):
                    kept = await self.coalescer.get(asking.content_key, ask.not_before_ms, traced)
            except TimeoutError:
                raise ProviderUnavailable(
                    f"{spc.provider} has not answered in time: check its load, and the network between it and the "
                    "fetchers"
                ) from None
            content = kept.content
        except (RateLimited, ProviderUnavailable) as error:
            stale = await self.last_known.get(asking.content_key, asking.stale_ms, error) if asking.stale_ms else None
            if stale is None:
                raise
            CONTENTS.labels("stale").inc()
            content = stale
        return replace(content, rotation_ms=asking.policy.rotation_ms), traced.origin

    async def _asking(self, keys: FetcherKeys, spc: SecretProviderClass, ask: Ask, node: str) -> Asking:
        provider = self.providers.get(spc.provider)
        if provider is None:
            raise InvalidSecretProviderClass(
                f'provider not found: provider "{spc.provider}" of class {spc}: '
                f"spec.provider is one of {', '.join(sorted(self.providers))}"
            )
        scope = scope_of(provider, spc.parameters)
        request = ProviderRequest(
            parameters=spc.parameters,
            pod=ask.pod,
            tokens=ask.tokens,
            service_account_annotations=await self.accounts.annotations(ask.pod.namespace, ask.pod.service_account),
            node_publish_secret=ask.node_publish_secret,
            region=await self.nodes.region(node) if scope.by_region else "",
        )
        backend = backend_id(keys, spc.provider, scope.backend)
        return Asking(
            calling=self.calling,
            spc=spc,
            policy=read_policy(spc.annotations)[0],
            provider=provider,
            request=request,
            content_key=contents.content_key(keys, spc, request, scope),
            spending=Spending(backend, self.calling.rate, mount=not ask.not_before_ms),
        )

    def _worth_another_try(self, error: KeyferryError, delivery: Delivery) -> bool:
        pause = error.retry_after
        if pause is None or pause > _LONGEST_PAUSE or delivery.last or delivery.attempt >= _TRIES:
            return False
        return self.now() + pause + 1.0 < delivery.deadline

    def _failure(self, request: FetchRequest, error: KeyferryError) -> bytes:
        log.warning(
            "request failed: %s",
            error.message,
            extra={"node": request.node, "volume_id": request.volume_id, "reason": error.reason},
        )
        error.message = _shortened(error.message)
        return failed_reply(request, error, provider=error.provider, sign=self.keys.keys.signing.current(self.now()))


def _shortened(message: str) -> str:
    told = message.encode()
    if len(told) <= _LONGEST_TEXT:
        return message
    return f"{told[:_LONGEST_TEXT].decode(errors='ignore')}… (all of it is in the fetcher's log)"
