from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from keyferry import keymaking
from keyferry.errors import AccessDenied, UntrustedMessage
from keyferry.keys import FetcherKeys, KeyFile
from keyferry.messages import Ask, FetchRequest, failed_reply, fetched_reply
from keyferry.resources import Content, File, ObjectVersion, Pod
from keyferry.sealing import OpeningKey, SigningKey
from node_driver.ask import Asking
from node_driver.volume import Credentials, Volume

CONTENT = Content("vault", "k", b"digest", 1_000, (ObjectVersion("db", "3"),), (File("password", b"tiger", 0o640),))
VOLUME = Volume("csi-1", "/pods/u/mount", Pod("shop", "web-0", "u-1", "web"), "db", {"secretProviderClass": "db"}, None)
CREDENTIALS = Credentials({"keyferry": "token-for-keyferry", "vault": "token-for-vault"}, {"clientsecret": "swordfish"})
NOW = 2_000_000_000.0

Reply = Callable[[FetchRequest, Ask, FetcherKeys], bytes]


@dataclass
class Bus:
    """A fetcher at the other end, who answers by a function of the test."""

    private: FetcherKeys
    reply: Reply
    sent: list[tuple[str, bytes, dict[str, Any]]] = field(default_factory=list)

    async def request(
        self, subject: str, payload: bytes, *, accept: Callable[[bytes], Content], **about: Any
    ) -> Content:
        """See `keyferry.bus.Bus`."""
        self.sent.append((subject, payload, about))
        request = FetchRequest.from_bytes(payload)
        ask = request.open(self.private.opener(request.ask))
        return accept(self.reply(request, ask, self.private))


def content(request: FetchRequest, ask: Ask, private: FetcherKeys) -> bytes:
    return fetched_reply(request, CONTENT, to=ask.reply_to, sign=private.signing.current(NOW))


@pytest.fixture
def asking(tmp_path: Path) -> Callable[[Reply], tuple[Asking, Bus]]:
    keymaking.create(tmp_path)

    def make(reply: Reply) -> tuple[Asking, Bus]:
        bus = Bus(KeyFile.fetcher(tmp_path).keys, reply)
        own_key = OpeningKey.generate("node-1")
        return Asking(cast("Any", bus), KeyFile.public(tmp_path), "node.a", own_key, now=lambda: NOW), bus

    return make


Make = Callable[[Reply], tuple[Asking, Bus]]


async def test_content(asking: Make) -> None:
    """What the fetcher sealed to this node comes out as it went in."""
    node, _ = asking(content)

    assert await node.for_mount(VOLUME, CREDENTIALS, NOW + 30) == CONTENT


async def test_what_is_asked(asking: Make) -> None:
    """The request names node and volume in the clear; the rest only the fetchers can read."""
    seen: list[Ask] = []

    def reply(request: FetchRequest, ask: Ask, private: FetcherKeys) -> bytes:
        seen.append(ask)
        return content(request, ask, private)

    node, bus = asking(reply)
    await node.for_mount(VOLUME, CREDENTIALS, NOW + 30)

    ((subject, payload, about),) = bus.sent
    request = FetchRequest.from_bytes(payload)
    assert subject == "keyferry.fetch.mount.node_a"
    assert (request.node, request.volume_id) == ("node.a", "csi-1")
    assert about == {"destination": "keyferry.fetch.mount", "request_id": request.request_id, "deadline": NOW + 30}
    (ask,) = seen
    assert (ask.pod, ask.secret_provider_class, ask.attributes) == (VOLUME.pod, "db", VOLUME.attributes)
    assert (ask.tokens, ask.node_publish_secret) == (CREDENTIALS.tokens, CREDENTIALS.node_publish_secret)
    assert (ask.known_digest, ask.not_before_ms) == (b"", 0)
    assert ask.reply_to.raw == node.own_key.recipient.raw
    assert not any(secret in payload for secret in (b"token-for-keyferry", b"token-for-vault", b"swordfish", b"web-0"))


async def test_what_is_asked_again(asking: Make) -> None:
    """A refresh goes behind all mounts, and says what the volume has and what is too old for it."""
    seen: list[Ask] = []

    def reply(request: FetchRequest, ask: Ask, private: FetcherKeys) -> bytes:
        seen.append(ask)
        unchanged = replace(CONTENT, files=None)
        return fetched_reply(request, unchanged, to=ask.reply_to, sign=private.signing.current(NOW))

    node, bus = asking(reply)
    answer = await node.for_refresh(VOLUME, CREDENTIALS, NOW + 30, known_digest=b"digest", not_before_ms=77)

    ((subject, payload, about),) = bus.sent
    assert answer == replace(CONTENT, files=None)
    assert subject == "keyferry.fetch.refresh.node_a"
    assert about["destination"] == "keyferry.fetch.refresh"
    (ask,) = seen
    assert (ask.known_digest, ask.not_before_ms) == (b"digest", 77)
    assert (ask.pod, ask.secret_provider_class, ask.attributes) == (VOLUME.pod, "db", VOLUME.attributes)
    assert (ask.tokens, ask.node_publish_secret) == (CREDENTIALS.tokens, CREDENTIALS.node_publish_secret)
    assert not any(secret in payload for secret in (b"token-for-keyferry", b"token-for-vault", b"swordfish", b"web-0"))


async def test_request_ids(asking: Make) -> None:
    """Each request has an id of its own, so that no reply fits another."""
    node, bus = asking(content)
    for _ in range(50):
        await node.for_mount(VOLUME, CREDENTIALS, NOW + 30)

    assert len({about["request_id"] for _, _, about in bus.sent}) == 50


async def test_failure(asking: Make) -> None:
    """A fetcher's failure is raised as what it was, with its text and its backend."""
    node, _ = asking(
        lambda request, _, private: failed_reply(
            request, AccessDenied("no policy"), provider="vault", sign=private.signing.current(NOW)
        )
    )
    with pytest.raises(AccessDenied, match="no policy") as raised:
        await node.for_mount(VOLUME, CREDENTIALS, NOW + 30)

    assert raised.value.provider == "vault"


def forged(request: FetchRequest, ask: Ask, private: FetcherKeys) -> bytes:
    """Signed by somebody who took the name of the fetchers' key."""
    return fetched_reply(
        request, CONTENT, to=ask.reply_to, sign=SigningKey.generate(private.signing.current(NOW).key_id)
    )


def unknown(request: FetchRequest, ask: Ask, _: FetcherKeys) -> bytes:
    return fetched_reply(request, CONTENT, to=ask.reply_to, sign=SigningKey.generate("mine"))


def to_another_request(request: FetchRequest, ask: Ask, private: FetcherKeys) -> bytes:
    other = FetchRequest("another", request.node, request.volume_id, request.ask)
    return content(other, ask, private)


def to_another_volume(request: FetchRequest, ask: Ask, private: FetcherKeys) -> bytes:
    other = FetchRequest(request.request_id, request.node, "csi-2", request.ask)
    return content(other, ask, private)


def to_another_key(request: FetchRequest, _: Ask, private: FetcherKeys) -> bytes:
    stranger = OpeningKey.generate("node-2")
    return fetched_reply(request, CONTENT, to=stranger.recipient, sign=private.signing.current(NOW))


def altered(request: FetchRequest, ask: Ask, private: FetcherKeys) -> bytes:
    payload = bytearray(content(request, ask, private))
    payload[len(payload) // 2] ^= 1
    return bytes(payload)


def cut(request: FetchRequest, ask: Ask, private: FetcherKeys) -> bytes:
    return content(request, ask, private)[:-20]


@pytest.mark.parametrize(
    "reply", [forged, unknown, to_another_request, to_another_volume, to_another_key, altered, cut, lambda *_: b""]
)
async def test_untrusted_reply(asking: Make, reply: Reply) -> None:
    """A reply that no fetcher made for this request is UntrustedMessage: the bus waits on for the true one."""
    node, _ = asking(reply)

    with pytest.raises(UntrustedMessage):
        await node.for_mount(VOLUME, CREDENTIALS, NOW + 30)


def test_repr(asking: Make) -> None:
    """Neither the node's private key nor anybody's credentials show in a repr."""
    node, _ = asking(content)

    assert node.own_key.seed.hex() not in repr(node)
    assert repr(node.own_key.seed)[2:-1] not in repr(node)
    assert "token-for-keyferry" not in repr(CREDENTIALS)
    assert "swordfish" not in repr(CREDENTIALS)
