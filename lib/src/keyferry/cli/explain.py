"""``keyferry explain POD``: why is this pod's secret old, or why does its mount fail."""

from __future__ import annotations

import argparse
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass

from keyferry.bus import Bus
from keyferry.cli import findings, story
from keyferry.cli.cluster import EventSeen, PodSeen, PodVolume, named, read_class, read_events, read_pod
from keyferry.cli.findings import Finding
from keyferry.cli.lacking import Lacking
from keyferry.cli.output import Output
from keyferry.cli.reach import Reach
from keyferry.cli.schedule import content_of, is_built, read_content
from keyferry.errors import AccessDenied, KeyferryError
from keyferry.explain.words import last_word
from keyferry.kube import Kube
from keyferry.store import Store


@dataclass(frozen=True)
class Asking:
    """Whom is asked. Without a store, ``no_store`` says why there is none."""

    kube: Kube
    bus: Bus
    store: Store | None
    no_store: str = ""


async def run(asked: argparse.Namespace) -> int:
    """Tell.

    Raises:
        Lacking: there is no such pod, or cluster or bus cannot be reached.
        KeyferryError: they do not answer.
    """
    out, reach = Output(as_json=asked.json, no_color=asked.no_color), Reach.asked(asked)
    namespace, name = named(asked.pod, asked.namespace)
    async with reach.kube() as kube, reach.bus() as bus, AsyncExitStack() as stack:
        pod = await read_pod(kube, namespace, name)
        if pod is None:
            raise Lacking(f"there is no pod {namespace}/{name}: name it as NAMESPACE/NAME, or say -n NAMESPACE")
        try:
            asking = Asking(kube, bus, await stack.enter_async_context(reach.store()))
        except Lacking as lacking:
            asking = Asking(kube, bus, None, str(lacking).partition("\n")[0])
        events: list[EventSeen] = []
        of_pod = story.of_pod(pod)
        try:
            events = await read_events(kube, namespace, "Pod", name)
        except AccessDenied as error:  # the bus tells enough to go on with
            of_pod.append(
                findings.unknown("events", error.message, "kubelet's FailedMount events say why a mount fails")
            )
        volumes = [(each, await _volume(asking, pod, each, tuple(events))) for each in pod.volumes]
    return _show(out, pod, of_pod, volumes)


async def _volume(asking: Asking, pod: PodSeen, volume: PodVolume, events: tuple[EventSeen, ...]) -> list[Finding]:
    namespace, name = pod.pod.namespace, volume.secret_provider_class
    built, content, no_schedule = None, None, asking.no_store
    if asking.store is not None:
        try:
            built = await is_built(asking.store)
            key = await content_of(asking.store, pod.node, volume.volume_id)
            content = await read_content(asking.store, key) if key else None
        except KeyferryError as error:
            no_schedule = error.message
    facts = story.Facts(
        pod=pod,
        volume=volume,
        spc=await read_class(asking.kube, namespace, name) if name else None,
        events=events,
        word=await last_word(asking.bus, pod.node, volume.volume_id) if pod.node else None,
        is_built=built,
        no_schedule=no_schedule,
        content=content,
    )
    return story.of_volume(facts, int(time.time() * 1000))


def _show(out: Output, pod: PodSeen, of_pod: list[Finding], volumes: list[tuple[PodVolume, list[Finding]]]) -> int:
    everything = [*of_pod, *(each for _, found in volumes for each in found)]
    status = findings.status(everything)
    if out.as_json:
        told = [
            {
                "name": volume.name,
                "volume_id": volume.volume_id,
                "secret_provider_class": volume.secret_provider_class,
                "findings": findings.as_json(found),
            }
            for volume, found in volumes
        ]
        about = {"namespace": pod.pod.namespace, "name": pod.pod.name, "node": pod.node, "phase": pod.phase}
        out.json({"well": not status, "pod": about, "findings": findings.as_json(of_pod), "volumes": told})
        return status
    findings.show(out, of_pod)
    for volume, found in volumes:
        out.line()
        out.line(f"volume {volume.name} (class {volume.secret_provider_class or 'none'})", "bold")
        findings.show(out, found)
    return status
