"""A fetch and all that it works with, faked at its seams, and the node that asks."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from fetcher.alone import Alone
from fetcher.announce import Announcer
from fetcher.backends import Calling
from fetcher.boxes import Boxes
from fetcher.budgets import Budgets
from fetcher.claims import Claims
from fetcher.coalesce import Coalescer
from fetcher.fetch import Fetch
from fetcher.provider import ProviderRequest, Secret
from fetcher.shared import Shared
from fetcher.stale import LastKnown
from fetcher.turns import Turns
from keyferry import keymaking, keys
from keyferry.bus import Delivery
from keyferry.errors import (
    BusUnavailable,
    KeyferryError,
)
from keyferry.keys import FetcherKeys, KeyFile
from keyferry.messages import REPLY, Ask, FetchRequest, SignedReply
from keyferry.resources import Content, Pod, SecretProviderClass
from keyferry.sealing import OpeningKey
from keyferry.store import Store

POD = Pod("shop", "web-0", "u-1", "web")
CLASS = SecretProviderClass("shop", "db", "vault", {"objects": "x", "roleName": "r"}, {}, syncs=False)
NOW = time.time()


def token(**changed: str) -> str:
    """Claims that say whose token it is; no test here verifies a signature."""
    who = {"namespace": POD.namespace, "name": POD.name, "uid": POD.uid, "account": POD.service_account, **changed}
    claims = {
        "sub": f"system:serviceaccount:{who['namespace']}:{who['account']}",
        "kubernetes.io": {
            "namespace": who["namespace"],
            "pod": {"name": who["name"], "uid": who["uid"]},
            "serviceaccount": {"name": who["account"]},
        },
    }
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b'=').decode()}.c2ln"


@dataclass
class Bus:
    """Keeps replies."""

    replies: list[tuple[str, bytes]] = field(default_factory=list)
    published: list[tuple[str, bytes, dict[str, Any]]] = field(default_factory=list)
    away: bool = False
    told: asyncio.Event = field(default_factory=asyncio.Event)

    async def publish(self, subject: str, payload: bytes, **how: Any) -> None:
        """See `keyferry.bus.Bus`."""
        self.told.set()
        if self.away:
            raise BusUnavailable("away")
        self.published.append((subject, payload, how))

    async def reply(self, subject: str, payload: bytes) -> None:
        """See `keyferry.bus.Bus`."""
        self.replies.append((subject, payload))


@dataclass
class Backend:
    """A provider that answers or fails as it is told to, once its gate is open."""

    outcomes: list[Exception | Sequence[Secret]] = field(default_factory=list)
    requests: list[ProviderRequest] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def fetch(self, request: ProviderRequest) -> Sequence[Secret]:
        """See `fetcher.provider.Provider`."""
        self.requests.append(request)
        await self.gate.wait()
        outcome = self.outcomes.pop(0) if self.outcomes else [Secret("password", b"tiger", "db", "3")]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def close(self) -> None:
        """See `fetcher.provider.Provider`."""


@dataclass
class Cluster:
    """Tokens, classes and service accounts: all as they should be, or the error it is told."""

    spc: SecretProviderClass = CLASS
    refusal: KeyferryError | None = None
    trouble: KeyferryError | None = None
    verified: list[tuple[str, Pod, str]] = field(default_factory=list)

    async def verify(self, token: str, *, pod: Pod, node: str) -> None:
        """See `fetcher.identity.TokenVerifier`."""
        self.verified.append((token, pod, node))
        if self.refusal:
            raise self.refusal

    async def get(self, namespace: str, name: str) -> SecretProviderClass:
        """See `fetcher.classes.Classes`."""
        if self.trouble:
            raise self.trouble
        return replace(self.spc, namespace=namespace, name=name)

    async def annotations(self, _namespace: str, name: str) -> Mapping[str, str]:
        """See `fetcher.classes.ServiceAccounts`."""
        return {"eks.amazonaws.com/role-arn": f"role of {name}"}

    async def region(self, node: str) -> str:
        """See `fetcher.nodes.Nodes`."""
        return f"region of {node}"


@dataclass
class Desk:
    """A fetch and all that it works with, and the node that asks."""

    folder: Path
    bus: Bus = field(default_factory=Bus)
    backend: Backend = field(default_factory=Backend)
    cluster: Cluster = field(default_factory=Cluster)
    node_key: OpeningKey = field(default_factory=lambda: OpeningKey.generate("node-1"))
    serial: int = 0

    def __post_init__(self) -> None:
        keymaking.create(self.folder)
        self.private: KeyFile[FetcherKeys] = KeyFile.fetcher(self.folder)
        self.public = KeyFile.public(self.folder)
        fakes = cast("Any", self.cluster)
        shared, alone = Shared(Store(None), Boxes(self.private)), Alone(Budgets(), 1_000_000)
        self.announcer = Announcer(cast("Any", self.bus), self.private, self.public)
        self.fetch = Fetch(
            bus=cast("Any", self.bus),
            keys=self.private,
            tokens=fakes,
            classes=fakes,
            accounts=fakes,
            nodes=fakes,
            providers={"vault": self.backend},
            coalescer=Coalescer(Claims(shared, alone), window=5.0, max_bytes=1_000_000),
            calling=Calling(self.private, Turns(128), 0.0, 30.0),
            last_known=LastKnown(shared, alone),
            announcer=self.announcer,
        )

    def request(self, **changed: Any) -> FetchRequest:
        """What the node would send; the fields of the Ask can be changed."""
        self.serial += 1
        usual = Ask(POD, "db", self.node_key.recipient, tokens={"keyferry": token(), "vault": token()})
        return FetchRequest.seal(
            replace(usual, **changed),
            to=self.public.keys.fetcher.current(NOW),
            request_id=f"r{self.serial}",
            node="node.a",
            volume_id="csi-1",
        )

    async def deliver(
        self, request: FetchRequest, *, subject: str = "keyferry.fetch.mount.node_a", seconds: float = 60.0, **how: Any
    ) -> None:
        """Hand it over as the bus does."""
        about = {"attempt": 1, "last": False, **how}
        await self.fetch(Delivery(subject, request.to_bytes(), time.time() + seconds, **about))

    def answer(self, request: FetchRequest) -> Content:
        """What the node makes of the only reply."""
        ((subject, payload),) = self.bus.replies
        self.bus.replies.clear()
        assert subject == f"_INBOX.node.node_a.{request.request_id}"
        signed = SignedReply.from_bytes(payload)
        self.public.keys.verify(signed.key_id, REPLY, signed.body, signed.signature)
        return signed.content(request, self.node_key)

    def syncer(self) -> OpeningKey:
        """The syncers' private key."""
        entry = json.loads((self.folder / keys.SYNCER).read_text())["syncer"][0]
        return OpeningKey.from_seed(entry["id"], base64.b64decode(entry["seed"]))

    def failure(self, request: FetchRequest) -> KeyferryError:
        """The failure that the node is answered with."""
        with pytest.raises(KeyferryError) as raised:
            self.answer(request)
        return raised.value


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)
