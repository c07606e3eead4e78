"""Volumes, words and pods as the tests of the command line need them."""

from __future__ import annotations

from typing import Any

from keyferry.cli.cluster import ClassSeen, PodSeen, PodVolume
from keyferry.cli.schedule import Member, Scheduled
from keyferry.events import RefreshFailed, VolumePublished
from keyferry.explain.words import Told
from keyferry.resources import ObjectVersion, Pod

NOW = 1_800_000_000_000
"""Unix milliseconds."""

POD = Pod("shop", "web-0", "uid-0", "web")
VOLUME = PodVolume("secrets", "vol-0", "db", "", {"secretProviderClass": "db"})


def volume(volume_id: str = "vol-0", *, ago: float = 60.0, **about: Any) -> VolumePublished:
    """A volume that was confirmed some seconds ago."""
    return VolumePublished(
        volume_id=volume_id,
        node=about.pop("node", "n1"),
        pod=about.pop("pod", POD),
        secret_provider_class=about.pop("class_name", "db"),
        target_path="/t",
        provider=about.pop("provider", "vault"),
        content_key=about.pop("key", "k"),
        digest=b"never shown",
        fetched_at_ms=NOW - int(ago * 1000),
        versions=(ObjectVersion("password", "3"),),
        **about,
    )


def told(volume_id: str = "vol-0", **about: Any) -> Told:
    """A node's good word."""
    return Told(volume(volume_id, **about), "refreshed", NOW - 60_000)


def failed(
    volume_id: str = "vol-0", reason: str = "AccessDenied", code: str = "PERMISSION_DENIED", **about: Any
) -> Told:
    """A node's word that a refresh failed a minute ago."""
    known = volume(volume_id, **about)
    return Told(known, "failed", NOW - 60_000, RefreshFailed(known, NOW - 70_000, code, reason, "may not read db"))


def scheduled(
    key: str = "k", *, due_in: float | None = 60.0, members: tuple[Member, ...] = (), **about: Any
) -> Scheduled:
    """A content that is due in some seconds, or never."""
    usual: dict[str, Any] = {
        "provider": "vault",
        "interval_ms": 120_000,
        "refresh_by_ms": 0,
        "newest_ms": NOW - 60_000,
        "asked_ms": 0,
        "forced_ms": 0,
        "empty_since_ms": 0,
        "claimed": False,
        "members": len(members) or 1,
        "sources": ("secret/data/db",),
        "classes": ("shop/db",),
    }
    due_ms = 0 if due_in is None else NOW + int(due_in * 1000)
    return Scheduled(key=key, due_ms=due_ms, volumes=members, **{**usual, **about})


def member(volume_id: str = "vol-0", **about: Any) -> Member:
    """A member that was fetched a minute ago and has nothing to do."""
    usual: dict[str, Any] = {
        "told_ms": NOW - 60_000,
        "fetched_ms": NOW - 60_000,
        "hinted_ms": 0,
        "misses": 0,
        "state": "",
    }
    return Member(volume_id, "n1", **{**usual, **about})


def pod(**about: Any) -> PodSeen:
    """A running pod that mounts the class."""
    usual: dict[str, Any] = {"node": "n1", "phase": "Running", "is_leaving": False, "volumes": (VOLUME,)}
    return PodSeen(POD, **{**usual, **about})


def spc(provider: Any = "vault", parameters: Any = None, **about: Any) -> ClassSeen:
    """A class."""
    given = {"roleName": "app", "objects": "- objectName: password"} if parameters is None else parameters
    return ClassSeen("shop", "db", provider, given, **about)
