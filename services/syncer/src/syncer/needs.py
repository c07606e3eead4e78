"""Which pods cannot see a new secret by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keyferry.resources import DRIVER_NAME

POLICY, WHEN_NEEDED = "keyferry.io/restart-policy", "when-needed"
"""Annotation of a class, and the value that has workloads rolled for such pods."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Where a pod reads secrets that do not change under it.

    Attributes:
        env: Names of the Secrets that its environment variables come from.
        sub_paths: Names of the classes of which it mounts single files by ``subPath``.
    """

    env: frozenset[str] = frozenset()
    sub_paths: frozenset[str] = frozenset()


NOTHING = Needs()


def needs(spec: Mapping[str, Any]) -> Needs:
    """What a pod's spec says of it; any shape that the API server takes."""
    env: set[str] = set()
    by_sub_path: set[str] = set()
    for kind in ("initContainers", "containers"):
        for container in _list(spec.get(kind)):
            for variable in _list(container.get("env")):
                env.add(_text(_mapping(_mapping(variable.get("valueFrom")).get("secretKeyRef")).get("name")))
            for source in _list(container.get("envFrom")):
                env.add(_text(_mapping(source.get("secretRef")).get("name")))
            mounts = _list(container.get("volumeMounts"))
            by_sub_path |= {
                _text(each.get("name")) for each in mounts if each.get("subPath") or each.get("subPathExpr")
            }
    classes = {
        _text(_mapping(_mapping(volume.get("csi")).get("volumeAttributes")).get("secretProviderClass"))
        for volume in _list(spec.get("volumes"))
        if _text(volume.get("name")) in by_sub_path and _mapping(volume.get("csi")).get("driver") == DRIVER_NAME
    }
    found = Needs(frozenset(env - {""}), frozenset(classes - {""}))
    return NOTHING if found == NOTHING else found


def _list(told: Any) -> list[Mapping[str, Any]]:
    return [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []


def _mapping(told: Any) -> Mapping[str, Any]:
    return told if isinstance(told, dict) else {}


def _text(told: Any) -> str:
    return told if isinstance(told, str) else ""
