"""Records Kubernetes Events: what happened to a pod's or a class's secrets, once, and counted when it goes on."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn

from prometheus_client import Counter

from keyferry.errors import KeyferryError, place
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
_MOST_WAITING = 1000
_LONGEST_WAIT_SECONDS = 900.0  # for an API server that is away; older news is none
_MOST_PODS = 20  # that are told of one Secret: its class always is, and a thousand pods are a thousand requests


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


@dataclass(frozen=True, slots=True)
class _Text:
    about: About
    kind: str
    reason: str
    message: str


class Reporter:
    """Tells through the API server, beside the work and never in its way. `run` belongs into a task group.

    Args:
        kube: The API server.
        clock: Seconds, monotonic.
        pause: Seconds between two tries while the API server is away.
    """

    def __init__(self, kube: Kube, clock: Callable[[], float] = time.monotonic, pause: float = 5.0) -> None:
        self._kube = kube
        self._clock = clock
        self._pause = pause
        self._told: OrderedDict[_Text, _Told] = OrderedDict()
        self._waiting: dict[_Text, float] = {}  # since when, in the order in which they came
        self._stirred = asyncio.Event()

    def tell(self, about: About, kind: str, reason: str, message: str) -> None:
        """Have an Event recorded soon, or the one that says the same counted up; never waits, never raises.

        Args:
            about: A pod or a class.
            kind: `NORMAL` or `WARNING`.
            reason: CamelCase.
            message: For people; never a value.
        """
        text = _Text(about, kind, reason, message.encode()[:_LONGEST].decode(errors="ignore"))
        told, now = self._told.get(text), self._clock()
        if text in self._waiting or (told is not None and now - told.at < _AGAIN_SECONDS):
            return
        if len(self._waiting) >= _MOST_WAITING:
            REPORTED.labels(reason, "dropped").inc()
            return
        self._waiting[text] = now
        self._stirred.set()

    def tell_pods(self, volumes: Iterable[VolumePublished], kind: str, reason: str, message: str) -> None:
        """The same to some pods of these volumes; to all of them if they are not many."""
        pods = sorted({volume.pod for volume in volumes}, key=lambda pod: (pod.namespace, pod.name, pod.uid))
        for pod in pods[:_MOST_PODS]:
            self.tell(About("v1", "Pod", pod.namespace, pod.name, pod.uid), kind, reason, message)

    def rotation(self, event: VolumeEvent) -> None:
        """What a node has told of a volume, where a person should know it; reasons and texts are upstream's (1.5)."""
        if isinstance(event, VolumeRefreshed) and event.changed:
            text = f"successfully rotated mounted contents for {_of(event.volume)}"
            self.tell_pods([event.volume], NORMAL, "MountRotationComplete", text)
        elif isinstance(event, RefreshFailed):
            text = f"failed to rotate mounted contents for {_of(event.volume)}: {event.message}"
            self.tell_pods([event.volume], WARNING, "MountRotationFailed", text)
        elif isinstance(event, VolumePublished) and event.left_out:
            text = f"{_of(event)}: the backend does not have optional objects: {', '.join(event.left_out)}"
            self.tell_pods([event], NORMAL, "OptionalObjectsMissing", text)

    async def run(self) -> NoReturn:
        """Record what waits, one after the other, until cancelled."""
        while True:
            while not self._waiting:
                self._stirred.clear()
                await self._stirred.wait()
            text, since = next(iter(self._waiting.items()))
            try:
                await self._record(text)
            except KeyferryError as error:
                if error.retry_after is not None and self._clock() - since < _LONGEST_WAIT_SECONDS:
                    await asyncio.sleep(self._pause)  # the API server is away, for the others as well
                    continue
                REPORTED.labels(text.reason, "failed").inc()
                log.warning("event not recorded: %s", error.message, extra={"reason": text.reason})
            except Exception as error:  # noqa: BLE001 - an Event that cannot be told must not silence the others
                log.warning("event not recorded: a defect of ours: %s", place(error), extra={"reason": text.reason})
            del self._waiting[text]

    async def _record(self, text: _Text) -> None:
        told = self._told.get(text)
        if told is None or not await self._count(text.about.namespace, told):
            told = await self._post(text.about, text.kind, text.reason, text.message)
        REPORTED.labels(text.reason, "recorded").inc()
        told.at = self._clock()
        self._told[text] = told
        self._told.move_to_end(text)
        while len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)

    async def _post(self, about: About, kind: str, reason: str, message: str) -> _Told:
        now = _rfc3339()
        name = f"{about.name[:200].rstrip('-.')}.{time.time_ns():x}"
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
