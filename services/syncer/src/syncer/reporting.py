"""Records Kubernetes Events: what happened to a pod's or a class's secrets, once, and counted when it goes on."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client import Counter

from keyferry.errors import KeyferryError
from keyferry.events import RefreshFailed, VolumeEvent, VolumePublished, VolumeRefreshed
from keyferry.kube import Json, Kube, object_path

log = logging.getLogger(__name__)

REPORTED = Counter("keyferry_events_total", "Kubernetes Events recorded.", ["reason", "outcome"])
EVENTS = "/api/v1/events"
NORMAL, WARNING = "Normal", "Warning"
_COMPONENT = "keyferry-syncer"
_LONGEST = 1024  # bytes of a message (kubernetes, pkg/apis/core/validation/events.go)
_REMEMBERED = 4096
_AGAIN_SECONDS = 300.0  # until the same is told once more, as a higher count


@dataclass(frozen=True, slots=True)
class About:
    """What an Event is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


@dataclass
class _Told:
    name: str
    count: int
    at: float


class Reporter:
    """Tells through the API server; failing to is logged and no more.

    Args:
        kube: The API server.
        clock: Seconds, monotonic.
    """

    def __init__(self, kube: Kube, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._clock = clock
        self._told: OrderedDict[tuple[About, str, str], _Told] = OrderedDict()

    async def tell(self, about: About, kind: str, reason: str, message: str) -> None:
        """Record an Event, or count up the one that says the same.

        Args:
            about: A pod or a class.
            kind: `NORMAL` or `WARNING`.
            reason: CamelCase.
            message: For people; never a value.
        """
        message = message.encode()[:_LONGEST].decode(errors="ignore")
        key, now = (about, reason, message), self._clock()
        told = self._told.get(key)
        if told is not None and now - told.at < _AGAIN_SECONDS:
            return
        try:
            if told is None or not await self._count(about.namespace, told):
                told = await self._post(about, kind, reason, message)
        except KeyferryError as error:
            REPORTED.labels(reason, "failed").inc()
            log.warning("event not recorded: %s", error.message, extra={"reason": reason})
            return
        REPORTED.labels(reason, "recorded").inc()
        told.at = now
        self._told[key] = told
        self._told.move_to_end(key)
        while len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)

    async def tell_pods(self, volumes: Iterable[VolumePublished], kind: str, reason: str, message: str) -> None:
        """The same to each pod of some volumes."""
        for pod in {volume.pod for volume in volumes}:
            await self.tell(About("v1", "Pod", pod.namespace, pod.name, pod.uid), kind, reason, message)

    async def rotation(self, event: VolumeEvent) -> None:
        """What a node has told of a volume, where a person should know it; reasons and texts are upstream's (1.5)."""
        if isinstance(event, VolumeRefreshed) and event.changed:
            text = f"successfully rotated mounted contents for {_of(event.volume)}"
            await self.tell_pods([event.volume], NORMAL, "MountRotationComplete", text)
        elif isinstance(event, RefreshFailed):
            text = f"failed to rotate mounted contents for {_of(event.volume)}: {event.message}"
            await self.tell_pods([event.volume], WARNING, "MountRotationFailed", text)
        elif isinstance(event, VolumePublished) and event.left_out:
            text = f"{_of(event)}: the backend does not have optional objects: {', '.join(event.left_out)}"
            await self.tell_pods([event], NORMAL, "OptionalObjectsMissing", text)

    async def _post(self, about: About, kind: str, reason: str, message: str) -> _Told:
        now = _rfc3339()
        name = f"{about.name[:200]}.{time.time_ns():x}"
        body: Json = {
            "metadata": {"name": name, "namespace": about.namespace},
            "involvedObject": {
                "apiVersion": about.api_version,
                "kind": about.kind,
                "namespace": about.namespace,
                "name": about.name,
                "uid": about.uid,
            },
            "type": kind,
            "reason": reason,
            "message": message,
            "source": {"component": _COMPONENT},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        await self._kube.post(f"/api/v1/namespaces/{about.namespace}/events", body)
        return _Told(name, 1, 0.0)

    async def _count(self, namespace: str, told: _Told) -> bool:
        path = object_path(EVENTS, namespace, told.name)
        body: Json = {"count": told.count + 1, "lastTimestamp": _rfc3339()}
        kind = "application/merge-patch+json"
        if path is None or await self._kube.call("PATCH", path, body=body, content_type=kind) is None:
            return False  # the API server keeps Events for an hour
        told.count += 1
        return True


def _of(volume: VolumePublished) -> str:
    return f"spc {volume.pod.namespace}/{volume.secret_provider_class}"


def _rfc3339() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
