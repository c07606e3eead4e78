"""What every backend of the table must do alike, on the server that stands for it here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fetcher import contents
from fetcher.provider import Answer, Provider, Secret
from fetcher.providers import TABLE
from keyferry import keymaking
from keyferry.errors import (
    AccessDenied,
    ContentTooLarge,
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


async def test_an_optional_object_that_is_missing_is_left_out(backend: Backend, provider: Provider) -> None:
    """What is there is mounted, and what is not there is named."""
    answer = await provider.fetch(asks(backend, "db", "gone", fields={"optional": True}))

    assert [secret.path for secret in answer] == ["db"]
    assert isinstance(answer, Answer)
    assert len(answer.left_out) == 1
    assert "gone" in answer.left_out[0]


async def test_optional_is_not_forbidden(backend: Backend, provider: Provider) -> None:
    """A pod that may not read an object must not start as if there were none."""
    await backend.hide("closed")

    with pytest.raises(AccessDenied):
        await provider.fetch(asks(backend, "closed", fields={"optional": True}))


async def test_every_key_of_a_document_is_a_file(backend: Backend, provider: Provider) -> None:
    """In a folder of the object's name; what is no text is written as JSON."""
    await backend.put("db", '{"user": "app", "ports": [1, 2]}')

    answer = await provider.fetch(asks(backend, "db", fields={"expand": "json"}))

    assert {secret.path: secret.contents for secret in answer} == {"db/user": b"app", "db/ports": b"[1, 2]"}


@pytest.mark.parametrize("field", ["extractJSONKey", "extractYAMLKey"])
async def test_one_key_of_a_document_is_the_file(backend: Backend, provider: Provider, field: str) -> None:
    """Under the object's own path, and with its version."""
    await backend.put("db", '{"user": "app", "password": "horse"}')

    (found,) = await provider.fetch(asks(backend, "db", fields={field: "user"}))

    assert (found.path, found.contents) == ("db", b"app")
    assert found.version


async def test_an_object_above_its_limit_is_refused(backend: Backend, provider: Provider) -> None:
    """The class's author has said what is too much; the value stays out of the text."""
    with pytest.raises(ContentTooLarge, match="maxBytes allows 5") as refused:
        await provider.fetch(asks(backend, "db", fields={"maxBytes": 5}))

    assert CANARY not in refused.value.message


async def test_an_option_that_makes_no_sense_is_refused_before_any_call(backend: Backend, provider: Provider) -> None:
    """By its field's name, with the others that make none."""
    with pytest.raises(InvalidSecretProviderClass) as refused:
        await provider.fetch(asks(backend, "db", fields={"optional": "perhaps", "maxBytes": "plenty"}))

    assert "optional" in refused.value.message
    assert "maxBytes" in refused.value.message


async def test_an_empty_class_is_refused_before_any_call(backend: Backend, provider: Provider) -> None:
    """Nothing to fetch is the class author's mistake."""
    with pytest.raises(InvalidSecretProviderClass):
        await provider.fetch(asks(backend))


@pytest.fixture
def own(tmp_path: Path) -> FetcherKeys:
    """Keys of a cluster."""
    keymaking.create(tmp_path / "keys")
    return KeyFile.fetcher(tmp_path / "keys").keys


def built(own: FetcherKeys, backend: Backend, secrets: Sequence[Secret]) -> Content:
    """The content of an answer."""
    return contents.build(own, secrets, provider=backend.name, key="k", fetched_at_ms=1, mode=0o644).content
