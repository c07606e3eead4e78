from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from keyferry.changes import BackendChanged, RefreshRequested
from keyferry.events import RefreshFailed, VolumePublished, VolumeRefreshed, VolumeUnpublished
from keyferry.resources import Pod
from keyferry.store import Store, connect_store
from keyferry.testing.valkey import Valkey
from rotator.schedule import PREFIX, Claim, Policy, Schedule, Taken
from rotator.words import Change, Word

START = 1_800_000_000_000
"""Unix milliseconds at which tests begin."""

POLICY = Policy()


def volume(
    name: str, *, key: str = "k", node: str = "n1", fetched: int = START, class_: str = "db", **about: Any
) -> VolumePublished:
    """A volume of a pod of the same name."""
    return VolumePublished(
        volume_id=name,
        node=node,
        pod=Pod("shop", f"pod-{name}", f"uid-{name}", "web"),
        secret_provider_class=class_,
        target_path="/t",
        provider=about.pop("provider", "vault"),
        content_key=key,
        digest=b"d",
        fetched_at_ms=fetched,
        versions=(),
        **about,
    )


@dataclass
class Desk:
    """A schedule, a clock that stands still, and what nodes and backends tell it.

    Attributes:
        now: Unix milliseconds.
    """

    schedule: Schedule
    store: Store
    prefix: str
    now: int = START
    told_us: int = START * 1000
    tokens: list[str] = field(default_factory=list)

    async def tell(self, event: Any, *, at_us: int | None = None) -> str:
        """A node's word; a later one than all before, unless it says when it was told."""
        self.told_us = max(self.told_us + 1, self.now * 1000)
        outcome, _ = await self.schedule.tell(Word(event, self.told_us if at_us is None else at_us), self.now)
        return outcome

    async def publish(self, *volumes: VolumePublished) -> None:
        """Volumes were published."""
        for each in volumes:
            await self.tell(each)

    async def answer(self, claims: tuple[Claim, ...], volumes: dict[str, VolumePublished]) -> None:
        """Nodes do as they were told."""
        for claim in claims:
            for name in names(claim):
                volumes[name] = replaced(volumes[name], max(self.now, claim.asked_ms))
                await self.tell(VolumeRefreshed(volumes[name], changed=False))

    async def gone(self, name: str, node: str = "n1", *, at_us: int | None = None) -> str:
        """A volume was unpublished."""
        return await self.tell(VolumeUnpublished(name, node), at_us=at_us)

    async def fail(self, what: VolumePublished, code: str = "UNAVAILABLE", asked_for: int | None = None) -> str:
        """A refresh failed."""
        failed = RefreshFailed(what, self.now if asked_for is None else asked_for, code, "ProviderUnavailable", "away")
        return await self.tell(failed)

    async def change(self, *sources: str, provider: str = "vault", id: str = "", at: int = 0) -> int | None:  # noqa: A002
        """A backend changed."""
        return await self.schedule.change(Change.of(BackendChanged(provider, sources, at, id)), self.now)

    async def request(self, namespace: str, class_: str) -> int | None:
        """Somebody asked for a refresh."""
        return await self.schedule.change(Change.of(RefreshRequested(namespace, class_, self.now)), self.now)

    async def take(self, *, limit: int = 1000, settle: bool = True) -> tuple[Claim, ...]:
        """What is due; its hints go out unless the rotator dies on the way."""
        taken = await self.look(limit=limit)
        if settle:
            await self.schedule.settle(self.tokens[-1], [claim.key for claim in taken.claims], self.now)
        return taken.claims

    async def look(self, *, limit: int = 1000) -> Taken:
        """What is due, and what else is said of it; nothing is settled."""
        self.tokens.append(secrets.token_hex(4))
        return await self.schedule.take(self.tokens[-1], self.now, limit=limit)

    async def run_until(self, until: int, *, step: int = 500) -> list[tuple[int, Claim]]:
        """Take as rotators do until a time; when each claim was taken."""
        found = []
        while self.now < until:
            found += [(self.now, claim) for claim in await self.take()]
            self.now += step
        return found


def replaced(what: VolumePublished, fetched: int) -> VolumePublished:
    """The same volume with a later fetch."""
    return VolumePublished(**{name: getattr(what, name) for name in what.__slots__} | {"fetched_at_ms": fetched})


def names(claim: Claim) -> list[str]:
    """The volumes of a claim."""
    return sorted(name for volumes in claim.nodes.values() for name in volumes)


@asynccontextmanager
async def a_desk(valkey: Valkey, policy: Policy = POLICY, *, built: bool = True) -> AsyncIterator[Desk]:
    """A desk with a schedule of its own."""
    prefix = f"{PREFIX}{secrets.token_hex(6)}:"
    async with connect_store(valkey.url, name="test") as store:
        schedule = Schedule(store, policy, prefix)
        if built:
            await store.call("SET", f"{prefix}built", "stream-1")
        yield Desk(schedule, store, prefix)


@pytest.fixture
async def desk(valkey: Valkey) -> AsyncIterator[Desk]:
    """A desk as operators get it by default."""
    async with a_desk(valkey) as running:
        yield running
