"""How long it is remembered that nobody is to be asked for a version, and how often anybody is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from google.cloud.secretmanager_v1.types import resources as messages

from fetcher.providers.gcp.faults import TokenRefused
from fetcher.providers.gcp.reading import Reader
from fetcher.providers.gcp.resources import PARAMETER, SECRET, Resource
from fetcher.providers.gcp.versions import Versions
from keyferry.errors import AccessDenied, KeyferryError, ProviderUnavailable, RateLimited

DB = Resource("projects/demo/secrets/db/versions/latest", SECRET, "")
REGIONAL = Resource("projects/demo/locations/eu/secrets/db/versions/latest", SECRET, "eu")
VERSION = "projects/1/secrets/db/versions/7"


@dataclass
class Asked:
    """Stands for the calls of one identity; notes them, and answers or fails."""

    identity: str = "shop/web"
    error: KeyferryError | None = None
    answer: Any = field(default_factory=lambda: messages.SecretVersion(name=VERSION, state="ENABLED"))
    count: int = 0

    @property
    def access(self) -> Asked:
        """Itself, for the identity in it."""
        return self

    async def once(self, method: object, resource: Resource) -> Any:
        """One call."""
        del method, resource
        self.count += 1
        if self.error:
            raise self.error
        return self.answer


class Clock:
    """Seconds, as the test says."""

    now = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


async def is_current(versions: Versions, asked: Asked, resource: Resource = DB) -> bool:
    """Whether the version that is held is said to be the newest."""
    return await versions.is_current(cast("Reader", asked), resource, VERSION)


@pytest.mark.parametrize(
    ("name", "state", "meant"),
    [
        (VERSION, "ENABLED", True),
        (VERSION, "DISABLED", False),
        (VERSION, "DESTROYED", False),
        (VERSION, "STATE_UNSPECIFIED", False),
        (VERSION.replace("7", "8"), "ENABLED", False),
        ("", "ENABLED", False),
    ],
)
async def test_only_the_same_enabled_version_is_current(name: str, state: str, *, meant: bool) -> None:
    """Anything else is read."""
    answer = messages.SecretVersion(name=name, state=state)

    assert await is_current(Versions(10, Clock()), Asked(answer=answer)) is meant


@pytest.mark.parametrize(
    ("error", "seconds", "others"),
    [
        (AccessDenied("no"), 600, True),
        (RateLimited("less"), 60, False),
        (TokenRefused("who"), 0, True),
        (ProviderUnavailable("away"), 0, True),
    ],
)
async def test_a_refusal_is_remembered_for_a_while(error: KeyferryError, seconds: float, *, others: bool) -> None:
    """A denial of the identity, an exhausted quota of the project and location, and nothing else."""
    clock = Clock()
    versions = Versions(10, clock)
    refused, other = Asked(error=error), Asked("shop/other")
    assert not await is_current(versions, refused)
    refused.error = None

    clock.now += max(0.0, seconds - 1)
    assert await is_current(versions, refused) is (seconds == 0)
    assert await is_current(versions, other) is others
    assert await is_current(versions, Asked("shop/other"), REGIONAL)
    clock.now += 1
    assert await is_current(versions, refused)


async def test_a_project_is_asked_so_often_a_minute() -> None:
    """By whomever; another location has a quota of its own, and the next minute another."""
    clock = Clock()
    versions, first, second = Versions(2, clock), Asked("shop/one"), Asked("shop/two")

    assert [await is_current(versions, each) for each in (first, second, first, second)] == [True, True, False, False]
    assert await is_current(versions, first, REGIONAL)
    clock.now += 60
    assert await is_current(versions, second)
    assert (first.count, second.count) == (2, 2)


async def test_zero_asks_nobody() -> None:
    """Nor is anybody asked about a parameter."""
    asked = Asked()

    assert not await is_current(Versions(0, Clock()), asked)
    assert not await is_current(Versions(10, Clock()), asked, Resource("projects/demo/x", PARAMETER, ""))
    assert asked.count == 0


async def test_what_is_remembered_is_bounded() -> None:
    """Identities come and go; the oldest are forgotten first."""
    versions = Versions(20_000, Clock())
    for number in range(10_001):
        await is_current(versions, Asked(f"pod{number}", AccessDenied("no")))

    assert await is_current(versions, Asked("pod0"))
    assert not await is_current(versions, Asked("pod1"))
