"""A secret changes in OpenBao, and every pod of the cluster that mounts it has it: by the clock, or at once."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

import pytest

from keyferry.changes import PodFinished, RefreshRequested
from keyferry.events import RefreshFailed, VolumeRefreshed
from keyferry.resources import Pod
from keyferry.subjects import change_subject

if TYPE_CHECKING:
    from tests.e2e.rotating.conftest import Mounted, Scene

pytestmark = pytest.mark.root


async def test_one_read_a_content_and_interval(scene: Scene) -> None:
    """Six pods on two nodes, three fetchers and two rotators: OpenBao is read once at each moment that is due."""
    await scene.make_class(every="2s")
    mounted = await scene.mount_all(each=3)
    before = scene.reads()
    async with scene.watched() as watcher:
        await scene.rotate(1)
        await scene.shows(1)
        await scene.until(lambda: len(scene.moments(scene.key(mounted[0]))) >= 3)
        reads = scene.reads() - before

    assert watcher.problems == []
    assert {scene.key(each) for each in mounted} == {scene.key(mounted[0])}
    assert 2 <= reads <= len(scene.moments(scene.key(mounted[0])))


async def test_a_change_is_not_waited_for(scene: Scene) -> None:
    """A change event brings the new bytes to both nodes by one read, though the class never rotates by itself."""
    await scene.make_class(every="0")
    await scene.mount_all()
    before = scene.reads()
    for number in (1, 2):
        await scene.rotate(number)
        await scene.change("db")
        await scene.shows(number)

    assert scene.reads() == before + 2


async def test_a_change_of_everything(scene: Scene) -> None:
    """A source that has missed events says so, and everything of its backend is asked for again."""
    await scene.make_class(every="0")
    await scene.mount_all(each=1)
    await scene.rotate(1)
    await scene.change()

    await scene.shows(1)


async def test_never_means_never(scene: Scene) -> None:
    """A class with interval 0 is left alone while others go round; a new annotation counts from the next refresh on."""
    await scene.make_class("never", every="0")
    await scene.make_class("often", "password=other:password", every="1s")
    await scene.rotate(0, "other")
    never, often = await scene.mount("never"), await scene.mount("often", node=1)
    await scene.rotate(1)
    await scene.until(lambda: len(scene.told(often, VolumeRefreshed)) >= 4)
    assert (never.password, scene.reads()) == ("v000000", 1)

    await scene.annotate("never", rotation_interval="1s")
    await request(scene, "never")
    await scene.shows(1, never)
    await scene.rotate(2)
    await scene.shows(2, never)


async def request(scene: Scene, class_name: str) -> None:
    """Ask for a refresh, as the annotation of a class does."""
    event = RefreshRequested(scene.world.namespace, class_name, int(time.time() * 1000))
    await scene.client.jetstream().publish(change_subject("kubernetes"), event.to_bytes())


async def test_refresh_requested(scene: Scene) -> None:
    """Only the class that somebody asks for is refreshed, on all nodes."""
    await scene.make_class(every="0")
    await scene.make_class("other", "password=db:password", every="0")
    mounted, other = await scene.mount_all(), await scene.mount("other")
    await scene.rotate(1)
    await request(scene, "secrets")
    await scene.shows(1, *mounted)

    assert scene.told(other, VolumeRefreshed) == []


async def test_a_finished_pod_is_left_alone(scene: Scene) -> None:
    """Nobody reads its volume any more; its neighbour of the same content goes on."""
    await scene.make_class(every="1s")
    done, goes_on = await scene.mount(), await scene.mount()
    await scene.until(lambda: scene.told(done, VolumeRefreshed) and scene.told(goes_on, VolumeRefreshed))
    await scene.client.jetstream().publish(change_subject("kubernetes"), PodFinished(pod_of(done)).to_bytes())
    await quiet(scene, done, goes_on)
    heard = len(scene.told(done))
    await scene.rotate(1)
    await scene.shows(1, goes_on)
    await quiet(scene, done, goes_on)

    assert len(scene.told(done)) == heard
    assert done.password == "v000000"


def pod_of(volume: Mounted) -> Pod:
    metadata = volume.pod["metadata"]
    return Pod(metadata["namespace"], metadata["name"], metadata["uid"], "app")


async def quiet(scene: Scene, volume: Mounted, beside: Mounted) -> None:
    """Wait until nothing is told of a volume while another is told of twice."""

    def told() -> tuple[int, int]:
        return len(scene.told(volume)), len(scene.told(beside))

    start = told()

    def is_quiet() -> bool:
        nonlocal start
        now = told()
        if now[0] != start[0]:
            start = now
        return now[1] >= start[1] + 2

    await scene.until(is_quiet)


async def test_an_edited_class(scene: Scene) -> None:
    """Other parameters are another content: it comes with the next refresh, and what was there before ends."""
    await scene.make_class(every="1s")
    await scene.rotate(7, "newer")
    mounted = await scene.mount_all()
    await scene.until(lambda: all(scene.told(each) for each in mounted))
    before = scene.key(mounted[0])
    await scene.make_class("model", "password=newer:password", "user=newer:user")
    model = await scene.world.kube.get(scene.path("model"))
    assert model is not None
    await scene.patch("secrets", {"spec": {"parameters": model["spec"]["parameters"]}})
    await scene.shows(7)

    await scene.until(lambda: before in scene.ended)
    assert {scene.key(each) for each in mounted} & {before} == set()
    assert len({scene.key(each) for each in mounted}) == 1


async def test_a_deleted_class(scene: Scene) -> None:
    """The old content stays on every node, and what is told of the volumes says why; a new class is taken up."""
    await scene.make_class(every="1s")
    mounted = await scene.mount_all(each=1)
    await scene.world.kube.call("DELETE", scene.path("secrets"))
    await scene.rotate(1)
    await scene.until(lambda: all(scene.told(each, RefreshFailed) for each in mounted))
    failed = [scene.told(each, RefreshFailed)[-1] for each in mounted]

    assert {each.reason for each in failed} == {"SecretProviderClassNotFound"}
    assert all("failed to get secretproviderclass" in each.message for each in failed)
    assert {each.password for each in mounted} == {"v000000"}


async def test_events_that_come_twice(scene: Scene) -> None:
    """The same event from two listeners is one read."""
    await scene.make_class(every="0")
    mounted = await scene.mount_all(each=1)
    await scene.until(lambda: all(scene.told(each) for each in mounted))
    before = scene.reads()
    await scene.rotate(1)
    event = scene.event("db", event_id=uuid.uuid4().hex)
    for _ in range(3):
        await scene.client.jetstream().publish(change_subject("vault"), event.to_bytes())
    await scene.shows(1)
    await scene.rotate(2)
    await scene.change("db")
    await scene.shows(2)

    assert scene.reads() == before + 2
