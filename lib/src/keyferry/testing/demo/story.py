"""The demo from beginning to end, as it is told on the terminal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from rich.text import Text

from keyferry.kube import Json
from keyferry.testing.demo import calls, rotating, syncing, volume
from keyferry.testing.demo.cluster import ROTATION_SECONDS, Base, Keyferry, keyferry, servers
from keyferry.testing.demo.guide import set_up
from keyferry.testing.demo.mounting import Mounting
from keyferry.testing.demo.progress import INDENT, Progress
from keyferry.testing.demo.values import Secrets
from keyferry.testing.otlp import Otlp, Span
from keyferry.testing.waterfall import waterfall

Keep = Callable[[Base, Keyferry], Awaitable[None]]


async def tell(directory: Path, progress: Progress, *, keep: Keep | None = None) -> None:
    """Start everything, mount, show, unmount and stop.

    Args:
        directory: Empty; holds everything.
        progress: Where it is told.
        keep: Awaited between showing and unmounting.

    Raises:
        Failure: a part did not do what it should; all is stopped.
    """
    values = Secrets()
    async with AsyncExitStack() as running:
        progress.step("Start the servers, each on a free port")
        base = await running.enter_async_context(servers(directory, progress))
        progress.step("Start Keyferry, and set up what the guide sets up")
        services = await running.enter_async_context(keyferry(base, progress))
        await set_up(base, values, progress)
        mounting = Mounting(base, services, progress)
        pods = await _mount_and_show(mounting, values)
        await _show_secret(mounting, pods, values)
        await _rotate_and_show(mounting, pods, values)
        if keep:
            await keep(base, services)
        progress.step("Unmount, and stop everything")
        for pod in pods:
            await mounting.unpublish(pod)
        mounting.require_nothing_left()
        with progress.item("the synced Secret", needs=[services.syncer.process]) as item:
            item.seconds = await syncing.gone(base.kube, pods)
            item.detail = "gone, with the last of its owners"
        with progress.item("services and servers") as item:
            await running.aclose()
            item.detail = "stopped"


async def _mount_and_show(mounting: Mounting, values: Secrets) -> list[Json]:
    progress, base = mounting.progress, mounting.base
    before = calls.asked(base)
    progress.step("Mount the guide's four classes in a pod, as kubelet does; the time is what kubelet waits for")
    first = await mounting.pod(1)
    targets = await mounting.publish(first, values.files)
    after_first = calls.asked(base)
    progress.step("Mount them in the second pod of the Deployment")
    second = await mounting.pod(2)
    await mounting.publish(second, values.files)
    after_second = calls.asked(base)

    progress.step("What the first pod finds in its volumes")
    _show_volumes(progress, targets)
    progress.step("Where the time of its first mount went, from kubelet's call to the files: one trace")
    with progress.item("trace", needs=mounting.services.processes) as item:
        spans = await _trace(base.otlp)
        item.detail = "came over OTLP from both services"
    progress.say(waterfall(spans, width=progress.width - INDENT))
    progress.step("What the backends were asked")
    _show_calls(progress, after_first - before, after_second - after_first)
    return [first, second]


async def _show_secret(mounting: Mounting, pods: Sequence[Json], values: Secrets) -> None:
    progress = mounting.progress
    progress.step("The Kubernetes Secret that aws-secrets asks for (secretObjects), owned by both pods")
    with progress.item("the synced Secret", needs=[mounting.services.syncer.process]) as item:
        secret = await syncing.made(mounting.base.kube, values, len(pods))
        item.detail = "type, label, values and owners as they should be"
    progress.say(syncing.shown(secret))


async def _rotate_and_show(mounting: Mounting, pods: Sequence[Json], values: Secrets) -> None:
    progress, base = mounting.progress, mounting.base
    volumes = [(str(pod["metadata"]["name"]), *each) for pod in pods for each in mounting.targets(pod).items()]
    progress.step("Change a secret in each backend, and watch both pods' volumes")
    columns = {}
    with progress.item("no event, the schedule alone", needs=mounting.services.processes) as item:
        written = await rotating.write(base, values)
        columns["by the schedule"] = await rotating.arrivals(volumes, values, written)
        item.detail = f"every {ROTATION_SECONDS} s here; two minutes by default"
    before = calls.asked(base)
    with progress.item("with a change event", needs=mounting.services.processes) as item:
        written = await rotating.write(base, values)
        await rotating.announce(mounting.services)
        columns["by an event"] = await rotating.arrivals(volumes, values, written)
        item.detail = "by webhook here; docs/change-events.md"
    with progress.item("the synced Secret", needs=[mounting.services.syncer.process]) as item:
        await syncing.made(base.kube, values, len(pods))
        item.detail = "holds the new values too"
    progress.say(rotating.table(columns))
    progress.say(" ")
    progress.say(calls.table([("for both pods, by the event", calls.asked(base) - before)]))


def _show_volumes(progress: Progress, targets: Mapping[str, Path]) -> None:
    for class_name, target in targets.items():
        files = volume.contents(target)
        progress.say(Text.assemble((class_name, "bold"), "\n", (str(Path(*target.parts[-7:])), "dim")))
        progress.say(volume.tree(target))
        progress.say(volume.shown(files))
        progress.say(" ")


async def _trace(otlp: Otlp) -> Sequence[Span]:
    """The trace of the mount that asked Vault."""

    def is_whole(spans: Sequence[Span]) -> bool:
        ids = {span.span_id for span in spans}
        roots = [span for span in spans if span.parent_id not in ids]
        return len(roots) == 1 and {span.service for span in spans} == {"node-driver", "fetcher"}

    return await otlp.trace("fetch vault", where=is_whole)


def _show_calls(progress: Progress, first: calls.Calls, second: calls.Calls) -> None:
    progress.say(calls.table([("first pod", first), ("second pod", second)]))
    if second.total():
        said = "The second pod came too late to share what was fetched (KEYFERRY_SHARING_WINDOW)."
    else:
        said = (
            "The second pod cost the backends nothing, and neither would the thousandth: pods of one workload that "
            "start together share what is fetched, each once its own token has proved that it may have it. That is "
            "the point of Keyferry."
        )
    progress.say(" ")
    progress.say(said)
