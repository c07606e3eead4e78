from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fetcher.provider import Secret
from keyferry.bus import Delivery
from keyferry.errors import (
    AccessDenied,
    IdentityRefused,
    KeyferryError,
    KubernetesUnavailable,
    ProviderUnavailable,
    RateLimited,
    SecretProviderClassNotFound,
    UntrustedMessage,
)
from keyferry.resources import File, Pod

from .conftest import CLASS, POD, Desk, token


async def test_content(desk: Desk) -> None:
    """The node gets the class's files, sealed to it and signed."""
    request = desk.request()
    await desk.deliver(request)
    content = desk.answer(request)

    assert content.files == (File("password", b"tiger", 0o644),)
    assert content.provider == "vault"
    assert abs(content.fetched_at_ms / 1000 - time.time()) < 10


async def test_what_the_backend_is_asked(desk: Desk) -> None:
    """The class's parameters with the pod's identity; nothing that the pod's author wrote."""
    attributes = {"secretProviderClass": "db", "roleName": "admin", "vaultAddress": "http://evil"}
    await desk.deliver(desk.request(attributes=attributes, node_publish_secret={"clientsecret": "s"}))

    (asked,) = desk.backend.requests
    assert asked.parameters == CLASS.parameters
    assert (asked.pod, asked.token("vault")) == (POD, token())
    assert asked.service_account_annotations == {"eks.amazonaws.com/role-arn": "role of web"}
    assert asked.node_publish_secret == {"clientsecret": "s"}
    assert 0 < asked.deadline - time.time() <= 30


async def test_who_is_verified(desk: Desk) -> None:
    """The token for Keyferry must prove the pod on the node that the subject belongs to."""
    await desk.deliver(desk.request())

    assert desk.cluster.verified == [(token(), POD, "node.a")]


async def test_unchanged(desk: Desk) -> None:
    """A node that has the content already is told so without files."""
    first = desk.request()
    await desk.deliver(first)
    digest = desk.answer(first).digest
    again = desk.request(known_digest=digest)
    await desk.deliver(again)

    assert desk.answer(again).files is None


async def test_shared(desk: Desk) -> None:
    """Another pod of the same account shares the content; a refresh with a later hint has the backend asked."""
    await desk.deliver(desk.request())
    other = Pod("shop", "web-1", "u-2", "web")
    tokens = {"keyferry": token(name="web-1", uid="u-2"), "vault": token(name="web-1", uid="u-2")}
    await desk.deliver(desk.request(pod=other, tokens=tokens))
    assert len(desk.backend.requests) == 1

    await asyncio.sleep(0.002)
    await desk.deliver(desk.request(not_before_ms=int(time.time() * 1000)))
    assert len(desk.backend.requests) == 2


FINAL: dict[str, tuple[Callable[[Desk], object], type[KeyferryError], str]] = {
    "no class": (
        lambda d: setattr(d.cluster, "trouble", SecretProviderClassNotFound.named("shop", "db")),
        SecretProviderClassNotFound,
        "",
    ),
    "refused identity": (lambda d: setattr(d.cluster, "refusal", IdentityRefused("no")), IdentityRefused, ""),
    "denied": (lambda d: d.backend.outcomes.append(AccessDenied("no")), AccessDenied, "vault"),
    "throttled for long": (
        lambda d: d.backend.outcomes.append(RateLimited("slower", retry_after=30.0)),
        RateLimited,
        "vault",
    ),
}


@pytest.mark.parametrize(("arrange", "kind", "provider"), FINAL.values(), ids=FINAL)
async def test_failure_is_answered(
    desk: Desk, arrange: Callable[[Desk], object], kind: type[KeyferryError], provider: str
) -> None:
    """What no short wait can mend is answered at once, with the backend that it was about."""
    arrange(desk)
    request = desk.request()
    await desk.deliver(request)
    failure = desk.failure(request)

    assert (type(failure), failure.provider) == (kind, provider)


PASSING = {
    "backend": lambda d: d.backend.outcomes.append(ProviderUnavailable("away")),
    "api server": lambda d: setattr(d.cluster, "trouble", KubernetesUnavailable("away")),
}


@pytest.mark.parametrize("arrange", PASSING.values(), ids=PASSING)
async def test_short_outage(desk: Desk, arrange: Callable[[Desk], object]) -> None:
    """What may pass soon goes back to the queue, and the node hears nothing of it yet."""
    arrange(desk)
    with pytest.raises(KeyferryError, match="away"):
        await desk.deliver(desk.request())

    assert desk.bus.replies == []


@pytest.mark.parametrize("how", [{"attempt": 3}, {"last": True}, {"seconds": 2.9}])
async def test_outage_that_lasts(desk: Desk, how: dict[str, Any]) -> None:
    """At the third try, the last delivery, or when the deadline is near, the node is told instead."""
    desk.backend.outcomes.append(ProviderUnavailable("away"))
    request = desk.request()
    await desk.deliver(request, **how)

    assert desk.failure(request).message == "away"


async def test_slow_backend(desk: Desk) -> None:
    """Half a second before the deadline the node is told which backend is slow; the fetch goes on for the next try."""
    desk.backend.gate.clear()
    request = desk.request()
    await desk.deliver(request, seconds=0.6)
    failure = desk.failure(request)
    desk.backend.gate.set()
    again = desk.request()
    await desk.deliver(again)

    assert isinstance(failure, ProviderUnavailable)
    assert failure.message.startswith("vault has not answered in time")
    assert desk.answer(again).files
    assert len(desk.backend.requests) == 1


async def test_no_deadline(desk: Desk) -> None:
    """A request without a deadline is answered, too."""
    request = desk.request()
    await desk.deliver(request, seconds=float("inf"))

    assert desk.answer(request).files


async def test_defect(desk: Desk) -> None:
    """A defect is left to the bus; at the last delivery the node is told its place, and never its text."""
    desk.backend.outcomes += [ValueError("tiger"), ValueError("tiger")]
    request = desk.request()
    with pytest.raises(ValueError, match="tiger"):
        await desk.deliver(request)
    assert desk.bus.replies == []
    with pytest.raises(ValueError, match="tiger"):
        await desk.deliver(request, last=True)
    failure = desk.failure(request)

    assert failure.code == "INTERNAL"
    assert "ValueError at conftest.py" in failure.message
    assert "tiger" not in failure.message


async def test_unknown_provider(desk: Desk) -> None:
    """A class of a provider that is not offered is refused, with those that are."""
    desk.cluster.spc = replace(CLASS, provider="hal")
    request = desk.request()
    await desk.deliver(request)
    failure = desk.failure(request)

    assert failure.message == ('provider not found: provider "hal" of class shop/db: spec.provider is one of vault')
    assert (failure.code, failure.provider) == ("INVALID_ARGUMENT", "hal")


async def test_long_text(desk: Desk) -> None:
    """A text that no status and no event could carry is cut, also amid a character."""
    desk.backend.outcomes.append(AccessDenied("ü" * 5000))
    request = desk.request()
    await desk.deliver(request)
    message = desk.failure(request).message

    assert message == "ü" * 512 + "… (all of it is in the fetcher's log)"


STRANGERS = {
    "pod": {"name": "web-1", "uid": "u-2"},
    "pod of the same name": {"uid": "u-2"},
    "account": {"account": "admin"},
    "namespace": {"namespace": "kube-system"},
}


@pytest.mark.parametrize("stranger", STRANGERS.values(), ids=STRANGERS)
async def test_backend_token_of_somebody_else(desk: Desk, stranger: dict[str, str]) -> None:
    """A backend's token that is not the pod's own is refused before anything is asked with it."""
    request = desk.request(tokens={"keyferry": token(), "vault": token(**stranger)})
    await desk.deliver(request)
    failure = desk.failure(request)

    assert isinstance(failure, IdentityRefused)
    assert failure.message.startswith('the service account token for audience "vault": token claim')
    assert desk.backend.requests == []


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "e30.e30.x", "e30..x", "." * 20, "e30.W10.x", "x" * 20_000])
async def test_backend_token_that_is_none(desk: Desk, text: str) -> None:
    """What is no token at all is refused, and not quoted."""
    request = desk.request(tokens={"keyferry": token(), "vault": text})
    await desk.deliver(request)

    assert isinstance(desk.failure(request), IdentityRefused)
    assert desk.backend.requests == []


async def test_no_token(desk: Desk) -> None:
    """A request without a token for Keyferry has the empty one verified, which proves nobody."""
    await desk.deliver(desk.request(tokens={}))

    assert desk.cluster.verified == [("", POD, "node.a")]


async def test_anothers_subject(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """A request on another node's subject is refused without an answer, and logged as a security event."""
    with pytest.raises(IdentityRefused):
        await desk.deliver(desk.request(), subject="keyferry.fetch.mount.node_b")

    assert desk.bus.replies == []
    assert [(record.name, record.message) for record in caplog.records] == [
        ("keyferry.security", "a node asked in another's name"),
        ("keyferry.audit", "content refused"),
    ]


async def test_seal_of_another_request(desk: Desk) -> None:
    """An Ask that was sealed for another request, node or volume does not open."""
    for other in (replace(desk.request(), request_id="r9"), replace(desk.request(), volume_id="csi-2")):
        await desk.deliver(other)

        assert desk.failure(other).reason == UntrustedMessage.reason
    assert desk.backend.requests == []


async def test_unknown_key(desk: Desk, tmp_path: Path) -> None:
    """A request that is sealed to keys of before, or of another cluster, is answered with the key's id."""
    other = Desk(tmp_path / "other")
    request = other.request()
    await desk.deliver(request)
    desk.node_key = other.node_key

    assert "which is not among the fetchers' keys" in desk.failure(request).message


async def test_garbage(desk: Desk) -> None:
    """A payload that is no request is refused; there is nobody to answer."""
    with pytest.raises(UntrustedMessage):
        await desk.fetch(Delivery("keyferry.fetch.mount.node_a", b"\xff", time.time() + 9, attempt=1, last=False))

    assert desk.bus.replies == []


async def test_logs(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever comes of a request, no token, secret or value is logged."""
    caplog.set_level(logging.DEBUG)
    desk.backend.outcomes += [[Secret("password", b"tiger", "db", None)], AccessDenied("no")]
    for _ in range(2):
        await desk.deliver(desk.request(node_publish_secret={"clientsecret": "swordfish"}))
        await asyncio.sleep(0.002)
    await desk.deliver(desk.request(not_before_ms=int(time.time() * 1000)))

    said = caplog.text + str([vars(record) for record in caplog.records])
    assert "content delivered" in said
    assert "request failed: no" in said
    assert not [secret for secret in ("tiger", "swordfish", token()) if secret in said]
