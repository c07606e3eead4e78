"""Several fetchers' coalescers on one real Valkey, and a backend that counts who asks."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from fetcher import contents
from fetcher.alone import Alone
from fetcher.boxes import Boxes
from fetcher.budgets import Budgets, Grant, Spending
from fetcher.claims import Claims
from fetcher.coalesce import Coalescer
from fetcher.kept import Kept
from fetcher.provider import Answer, Lease, Secret
from fetcher.shared import Shared
from keyferry import keymaking
from keyferry.keys import FetcherKeys, KeyFile
from keyferry.store import Store, connect_store
from keyferry.testing.valkey import Valkey, valkey_server

KEY = hashlib.sha256(b"a content").hexdigest()[:32]
CANARY = "canary-swordfish"


def now_ms() -> int:
    """Unix milliseconds."""
    return int(time.time() * 1000)


@dataclass
class Backend:
    """One backend of all fetchers; answers once its gate is open, with the number of the call."""

    keys: KeyFile[FetcherKeys] = field(repr=False)
    calls: int = 0
    failures: list[Exception] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    lease: Lease | None = None
    renewals: list[Lease | Exception | None] = field(default_factory=list)
    renewed: int = 0
    held: list[Kept | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()

    async def begun(self, calls: int) -> None:
        """Returns once it has been called so often."""
        async with asyncio.timeout(10):
            while self.calls < calls:  # noqa: ASYNC110 - the fake has no bell
                await asyncio.sleep(0.001)


@dataclass
class Asking:
    """A request of one fetcher: a `fetcher.leases.Source`."""

    backend: Backend
    key: str = KEY
    spending: Spending = field(default_factory=lambda: Spending("backend"))
    keep_ms: int = 3_600_000
    stale_ms: int = 0

    async def fetch(self, fetched_at_ms: int, held: Kept | None, grant: Grant) -> Kept:
        """See `fetcher.leases.Source`."""
        grant.check("vault")
        await asyncio.sleep(grant.wait)
        backend = self.backend
        backend.calls += 1
        backend.held.append(held)
        secret = Secret("password", f"{CANARY}-{backend.calls}".encode(), "db", str(backend.calls), source="secret/db")
        await backend.gate.wait()
        if backend.failures:
            raise backend.failures.pop(0)
        answer = Answer((secret,), ("extra",), backend.lease)
        return contents.build(
            backend.keys.keys, answer, provider="vault", key=self.key, fetched_at_ms=fetched_at_ms, mode=0o600
        )

    async def renew(self, _kept: Kept, grant: Grant) -> Lease | None:
        """See `fetcher.leases.Source`."""
        grant.check("vault")
        self.backend.renewed += 1
        outcome = self.backend.renewals.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@dataclass
class Fetcher:
    """What one fetcher shares contents with."""

    store: Store
    shared: Shared
    alone: Alone
    coalescer: Coalescer
    skew: float = 0.0

    def now(self) -> float:
        """Its clock."""
        return time.time() + self.skew


NewFetcher = Callable[..., Awaitable[Fetcher]]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Valkey]:
    """A server of the test's own."""
    with valkey_server(tmp_path / "valkey") as running:
        yield running


@pytest.fixture
def private(tmp_path: Path) -> KeyFile[FetcherKeys]:
    """The fetchers' keys."""
    keymaking.create(tmp_path / "keys")
    return KeyFile.fetcher(tmp_path / "keys")


@pytest.fixture
def backend(private: KeyFile[FetcherKeys]) -> Backend:
    return Backend(private)


@pytest.fixture
def asking(backend: Backend) -> Asking:
    return Asking(backend)


@pytest.fixture
async def new(own: Valkey, private: KeyFile[FetcherKeys]) -> AsyncIterator[NewFetcher]:
    """Starts fetchers."""
    async with AsyncExitStack() as running:

        async def start(*, window: float = 5.0, skew: float = 0.0) -> Fetcher:
            store = await running.enter_async_context(connect_store(own.url, name="test"))
            shared, alone = Shared(store, Boxes(private)), Alone(Budgets(), 1_000_000)
            claims = Claims(shared, alone)
            fetcher = Fetcher(store, shared, alone, Coalescer(claims, window=window, max_bytes=1_000_000), skew)
            fetcher.coalescer = Coalescer(
                replace(claims, now=fetcher.now), window=window, max_bytes=1_000_000, now=fetcher.now
            )
            return fetcher

        yield start


@pytest.fixture
async def three(new: NewFetcher) -> list[Fetcher]:
    return [await new() for _ in range(3)]


def password(kept: Kept) -> str:
    """What a pod would read, without the canary."""
    (file,) = kept.content.files or ()
    return file.contents.decode().removeprefix(f"{CANARY}-")
