"""What every backend of the table must do alike, on the server that stands for it here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fetcher import contents
from fetcher.provider import Provider, Secret
from fetcher.providers import TABLE
from keyferry import keys
from keyferry.errors import (
    AccessDenied,
    InvalidSecretProviderClass,
    KeyferryError,
    ProviderUnavailable,
    RateLimited,
    SecretNotFound,
)
from keyferry.keys import FetcherKeys, KeyFile
from keyferry.resources import Content

from .backends import ALL, POD, RETRY_AFTER, Backend, asks, opened

CANARY = "canary-9d1f"


@pytest.fixture(params=sorted(ALL))
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    """Each backend in turn, with one secret in it."""
    async with ALL[request.param](tmp_path) as running:
        await running.put("db", CANARY)
        yield running


@pytest.fixture
async def provider(backend: Backend) -> AsyncIterator[Provider]:
    async with opened(backend) as running:
        yield running


def test_the_suite_knows_every_backend_of_the_table() -> None:
    """A backend that is added to the table is held to this suite, each module under one of its names."""
    assert {TABLE[name] for name in ALL} == set(TABLE.values())


async def test_a_secret_is_read_with_its_version(backend: Backend, provider: Provider) -> None:
    """The file holds the value and nothing else; the version is there for people to see, and the source for events."""
    (found,) = await provider.fetch(asks(backend, "db"))

    assert (found.path, found.contents) == ("db", CANARY.encode())
    assert found.object_id
    assert found.version
    assert found.source.endswith("db")


async def test_missing_is_not_found(backend: Backend, provider: Provider) -> None:
    """It names what is missing, and does not hide behind what is there."""
    with pytest.raises(SecretNotFound, match="gone") as refused:
        await provider.fetch(asks(backend, "db", "gone"))

    assert refused.value.code == "NOT_FOUND"
    assert refused.value.retry_after is None


async def test_denied_is_permission_denied(backend: Backend, provider: Provider) -> None:
    """A secret that is there but not for this pod is refused, with no retry."""
    await backend.hide("closed")

    with pytest.raises(AccessDenied, match="closed") as refused:
        await provider.fetch(asks(backend, "closed"))

    assert refused.value.code == "PERMISSION_DENIED"
    assert refused.value.retry_after is None


async def test_throttled_is_resource_exhausted_with_the_backends_own_delay(
    backend: Backend, provider: Provider
) -> None:
    """Whoever asks again waits as long as the backend asked, or at least some seconds."""
    backend.throttle()

    with pytest.raises(RateLimited) as refused:
        await provider.fetch(asks(backend, "db"))

    assert refused.value.code == "RESOURCE_EXHAUSTED"
    assert refused.value.retry_after == RETRY_AFTER


async def test_down_is_unavailable_until_it_is_up(backend: Backend, provider: Provider) -> None:
    """A backend that drops connections is told as such, and asked again with success when it is back."""
    backend.fail()
    with pytest.raises(ProviderUnavailable) as refused:
        await provider.fetch(asks(backend, "db"))
    backend.mend()

    (found,) = await provider.fetch(asks(backend, "db"))

    assert refused.value.code == "UNAVAILABLE"
    assert refused.value.retry_after
    assert found.contents == CANARY.encode()


async def test_the_same_content_has_the_same_version_and_digest(
    backend: Backend, provider: Provider, own: FetcherKeys
) -> None:
    """Two pods' fetches of what has not changed cannot be told apart, so that no file is touched for nothing."""
    first = built(own, backend, await provider.fetch(asks(backend, "db")))
    async with opened(backend) as another:
        second = built(own, backend, await another.fetch(asks(backend, "db", pod=replace(POD, name="web-2", uid="2"))))

    assert (first.digest, first.versions) == (second.digest, second.versions)


async def test_nothing_shows_a_value_or_a_token(backend: Backend, provider: Provider) -> None:
    """Neither the request nor what comes of it gives anything away when it is printed."""
    request = asks(backend, "db")
    answer = await provider.fetch(request)

    printed = f"{request!r} {answer!r} {list(answer)!r}"

    assert CANARY not in printed
    assert request.tokens[backend.audience] not in printed


async def test_no_error_shows_a_value_or_a_token(backend: Backend, provider: Provider) -> None:
    """What fails is told without what was sent or received."""
    request = asks(backend, "db", "gone")

    with pytest.raises(KeyferryError) as refused:
        await provider.fetch(request)

    chain = f"{refused.value!r} {refused.value.message} {refused.value.__cause__!r} {refused.value.__context__!r}"
    assert CANARY not in chain
    assert request.tokens[backend.audience] not in chain


async def test_another_audience_is_refused(backend: Backend, provider: Provider) -> None:
    """A token that was made for somebody else opens nothing."""
    with pytest.raises(AccessDenied):
        await provider.fetch(asks(backend, "db", audience="somebody.else"))


@pytest.mark.parametrize(
    "other", [replace(POD, service_account="other"), replace(POD, namespace="elsewhere")], ids=["account", "namespace"]
)
async def test_another_subject_is_refused(backend: Backend, provider: Provider, other: object) -> None:
    """The same class in the hands of another service account, or of its namesake elsewhere, opens nothing."""
    await provider.fetch(asks(backend, "db"))  # whose tokens and credentials are now kept

    with pytest.raises(AccessDenied):
        await provider.fetch(asks(backend, "db", pod=other))  # type: ignore[arg-type] # a Pod


async def test_a_pod_without_the_audience_is_told_what_to_configure(backend: Backend, provider: Provider) -> None:
    """The CSIDriver object is named, since it is what must change."""
    with pytest.raises(InvalidSecretProviderClass, match="tokenRequests"):
        await provider.fetch(asks(backend, "db", tokens={}))


async def test_an_empty_class_is_refused_before_any_call(backend: Backend, provider: Provider) -> None:
    """Nothing to fetch is the class author's mistake."""
    with pytest.raises(InvalidSecretProviderClass):
        await provider.fetch(asks(backend))


@pytest.fixture
def own(tmp_path: Path) -> FetcherKeys:
    """Keys of a cluster."""
    keys.create(tmp_path / "keys")
    return KeyFile.fetcher(tmp_path / "keys").keys


def built(own: FetcherKeys, backend: Backend, secrets: object) -> Content:
    """The content of an answer."""
    found: list[Secret] = list(secrets)  # type: ignore[call-overload] # an answer
    return contents.build(own, found, provider=backend.name, key="k", fetched_at_ms=1, mode=0o644)
