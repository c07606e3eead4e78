"""Why a volume's secret is old or its mount fails, out of what cluster, bus and schedule say: pure, for `explain`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from keyferry.cli.cluster import ClassSeen, EventSeen, PodSeen, PodVolume
from keyferry.cli.findings import WRONG, Finding, ok, unknown, warning, wrong
from keyferry.cli.needs import misshapen
from keyferry.cli.output import span
from keyferry.cli.schedule import Member, Scheduled
from keyferry.events import VolumeUnpublished
from keyferry.explain.fixes import FIXES, fix, mount_fix, step
from keyferry.explain.words import Told

_LATE_MS = 30_000  # a content that is due for longer is worked on by nobody
_GRACE_MS = 60_000  # beyond two intervals, until a volume that nothing was said of is called old
_IN_VAIN = 2  # hints; one may just be on its way
_SYNC_FAILED, _SYNCED = ("FailedToCreateSecret", "SecretRotationFailed"), ("SecretCreated", "SecretRotationComplete")
_NAMED = re.compile(r'for volume "([^"]*)"')
_DOCTOR = "`keyferry doctor {pod}` looks at what a mount needs"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one volume of a pod.

    Attributes:
        pod: The pod.
        volume: The volume.
        spc: Its class, if there is one.
        events: About the pod, the newest first.
        word: What its node last said.
        is_built: Whether the schedule is whole; None if it cannot be read.
        no_schedule: Why it cannot be read; else empty.
        content: What the schedule has for the volume.
    """

    pod: PodSeen
    volume: PodVolume
    spc: ClassSeen | None
    events: tuple[EventSeen, ...]
    word: Told | VolumeUnpublished | None
    is_built: bool | None
    no_schedule: str
    content: Scheduled | None

    @property
    def member(self) -> Member | None:
        """The volume in the schedule."""
        members = self.content.volumes if self.content else ()
        return next((each for each in members if each.volume_id == self.volume.volume_id), None)

    @property
    def told(self) -> Told | None:
        """The word, if the volume is there."""
        return self.word if isinstance(self.word, Told) else None


def of_pod(pod: PodSeen) -> list[Finding]:
    """What is to be said of the pod itself."""
    if not pod.volumes:
        return [warning("pod", f"pod {pod.pod} mounts no class: none of its volumes is of our CSI driver")]
    if not pod.node:
        text = f"pod {pod.pod} runs on no node yet, so nothing is mounted"
        return [wrong("pod", text, f"`kubectl -n {pod.pod.namespace} describe pod {pod.pod.name}` says why")]
    leaving = ", and is being deleted" if pod.is_leaving else ""
    return [ok("pod", f"pod {pod.pod} ({pod.phase}) is on node {pod.node}{leaving}")]


def of_volume(facts: Facts, now_ms: int) -> list[Finding]:
    """What is to be said of one volume, along the way: class, mount, schedule, hint, failure, sync, content."""
    found = [_class(facts), _mount(facts)]
    if facts.told is not None:
        found += [_schedule(facts, now_ms), *_hint(facts, now_ms), *_failure(facts.told, now_ms)]
    found += _sync(facts)
    if facts.told is not None:
        is_well = all(each.state != WRONG for each in found)
        found.append(_content(facts, facts.told, now_ms, is_well=is_well))
    return found


def _class(facts: Facts) -> Finding:
    namespace, name = facts.pod.pod.namespace, facts.volume.secret_provider_class
    if not name:
        return wrong(
            "class",
            f"volume {facts.volume.name} names no class",
            "set volumeAttributes.secretProviderClass in the pod's volume",
        )
    if facts.spc is None:
        return wrong(
            "class", f"there is no SecretProviderClass {namespace}/{name}", FIXES["SecretProviderClassNotFound"]
        )
    problem = misshapen(facts.spc)
    if problem:
        return wrong("class", f"{namespace}/{name}: {problem}", FIXES["InvalidSecretProviderClass"])
    return ok("class", f"{namespace}/{name} asks {facts.spc.provider}")


def _mount(facts: Facts) -> Finding:
    failed = _failed_mount(facts)
    if facts.told is not None:
        # An event is told to the second, and may be about a republish that a later one made good.
        if failed and failed.at * 1000 > facts.told.told_ms:
            return warning("mount", f"is mounted, but kubelet said since: {failed.message}", mount_fix(failed.message))
        return ok("mount", f"is mounted on {facts.told.volume.node}")
    if failed:
        return wrong("mount", f"kubelet has tried {failed.count} times: {failed.message}", mount_fix(failed.message))
    if isinstance(facts.word, VolumeUnpublished):
        return warning("mount", "was unmounted by kubelet; the pod is going, or about to start anew")
    doctor = _DOCTOR.format(pod=facts.pod.pod)
    if facts.pod.phase == "Running":
        text = "the pod runs, but its node has not told of the volume for a day: NATS forgot it, or it was never ours"
        return warning("mount", text, f"check the node-driver on {facts.pod.node}; {doctor}")
    return wrong("mount", "nothing was mounted yet, and kubelet has not said why", f"if it goes on: {doctor}")


def _failed_mount(facts: Facts) -> EventSeen | None:
    """The newest of kubelet's complaints about this volume, or about one that it does not name."""
    for event in facts.events:
        named = _NAMED.search(event.message)
        if event.reason == "FailedMount" and (named is None or named[1] == facts.volume.name):
            return event
    return None


def _schedule(facts: Facts, now_ms: int) -> Finding:
    content, member = facts.content, facts.member
    if facts.is_built is None:
        return unknown("schedule", facts.no_schedule)
    if not facts.is_built:
        return wrong("schedule", "the schedule is not whole: a rotator has yet to read VOLUMES", _rotators())
    if content is None or member is None:
        return wrong("schedule", "no rotator has heard of the volume", _rotators())
    if member.state == "f":
        return ok("schedule", "the pod has finished: it is not refreshed any more")
    return _due(content, now_ms)


def _due(content: Scheduled, now_ms: int) -> Finding:
    lease = f"; its lease wants it by {span((content.refresh_by_ms - now_ms) / 1000)}" if content.refresh_by_ms else ""
    if not content.due_ms:
        return ok("schedule", f"is asked for again only when the backend tells of a change{lease}")
    if content.due_ms < now_ms - _LATE_MS:
        return wrong("schedule", f"has been due for {span((now_ms - content.due_ms) / 1000)}", _rotators())
    heard = ", for a change that was heard" if content.forced_ms else ""
    every = f", every {span(content.interval_ms / 1000)}" if content.interval_ms else ""
    return ok("schedule", f"is due in {span(max(0, content.due_ms - now_ms) / 1000)}{every}{heard}{lease}")


def _rotators() -> str:
    return "check that a rotator runs and reaches NATS and Redis: `keyferry top` shows the lag of rotator-volumes"


def _hint(facts: Facts, now_ms: int) -> list[Finding]:
    content, member = facts.content, facts.member
    if content is None or member is None or member.fetched_ms >= content.asked_ms or not member.hinted_ms:
        return []
    ago = span((now_ms - member.hinted_ms) / 1000)
    if member.misses < _IN_VAIN:
        return [ok("hint", f"its node was asked {ago} ago to refresh it")]
    text = f"its node was asked {member.misses} times to refresh it, last {ago} ago, in vain"
    if facts.told is not None and facts.told.failure is not None:
        return [ok("hint", f"{text}: it answers, and fails")]
    return [wrong("hint", text, f"check the node-driver on {member.node} and its way to NATS")]


def _failure(told: Told, now_ms: int) -> list[Finding]:
    found, failure, stale = [], told.failure, told.volume.stale_since_ms
    if failure is not None:
        ago = span((now_ms - told.told_ms) / 1000)
        text = f"the refresh {ago} ago failed: {failure.reason} ({failure.code}): {failure.message}"
        found.append(wrong(step(failure.reason), text, fix(failure.reason)))
    if stale:
        text = f"holds the last known content: the backend has failed to confirm it for {span((now_ms - stale) / 1000)}"
        found.append(warning("fetch", text, FIXES["ProviderUnavailable"]))
    return found


def _sync(facts: Facts) -> list[Finding]:
    """What the syncer last said of Secrets."""
    told = next((event for event in facts.events if event.reason in (*_SYNC_FAILED, *_SYNCED)), None)
    if told is None or told.reason in _SYNCED:
        return []
    return [warning("sync", told.message, "mend what the message names; it is tried again by itself")]


def _content(facts: Facts, told: Told, now_ms: int, *, is_well: bool) -> Finding:
    volume = told.volume
    age_ms = now_ms - volume.fetched_at_ms
    versions = ", ".join(f"{each.id}@{each.version}" for each in volume.versions) or "no objects"
    text = f"holds {versions}, confirmed by {volume.provider} {span(age_ms / 1000)} ago"
    interval_ms = facts.content.interval_ms if facts.content else volume.rotation_ms or 0
    is_old = interval_ms and age_ms > 2 * interval_ms + _GRACE_MS
    if is_old and is_well and not (facts.member and facts.member.state == "f"):
        return wrong("content", f"{text}: older than two intervals, though nothing failed", _rotators())
    if volume.left_out:
        return warning("content", f"{text}; left out, as the backend has no such object: {', '.join(volume.left_out)}")
    return ok("content", text)
