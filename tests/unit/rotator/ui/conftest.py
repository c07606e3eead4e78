"""Volumes as the page knows them."""

from __future__ import annotations

from typing import Any

from rotator.ui.volumes import Failure, Volume

NOW = 1_800_000_000_000


def volume(name: str, namespace: str = "shop", **about: Any) -> Volume:
    """A volume that is well, of a pod of the same name."""
    plain: dict[str, Any] = {
        "name": f"n1 {namespace}-{name}",
        "namespace": namespace,
        "pod": name,
        "class_name": "db",
        "node": "n1",
        "provider": "vault",
        "state": "ok",
        "content_key": "k1",
        "told_ms": NOW,
        "fetched_ms": NOW,
        "stale_ms": 0,
        "refresh_by_ms": 0,
        "objects": (("password", "7"),),
        "more_objects": 0,
        "left_out": (),
        "failure": None,
    }
    return Volume(**plain | about)


def failing(name: str, namespace: str = "shop", reason: str = "SecretNotFound", **about: Any) -> Volume:
    """A volume whose last refresh went wrong."""
    return volume(name, namespace, state="failing", failure=Failure("NOT_FOUND", reason, f"{name} is away"), **about)
