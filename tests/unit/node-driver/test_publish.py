from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from keyferry.errors import (
    FailedToMount,
    FileWriteError,
    InternalError,
    InvalidSecretProviderClass,
    KeyferryError,
    ProviderUnavailable,
    RequestExpired,
    VolumeBusy,
    VolumeConflict,
)
from keyferry.resources import Content, File, ObjectVersion, Pod
from node_driver import mounts
from node_driver.publish import Limits, Publisher
from node_driver.published import Published
from node_driver.records import Record, Records
from node_driver.volume import Credentials, Volume

pytestmark = pytest.mark.root

SECRET = b"tiger"
CONTENT = Content("vault", "k", b"digest", 1_000, (ObjectVersion("db", "3"),), (File("password", SECRET, 0o640),))
CREDENTIALS = Credentials({"keyferry": "t1"}, {})


@dataclass
class Asking:
    """Answers what it is told to, as soon as the gate is open."""

    answers: list[Content | KeyferryError] = field(default_factory=list)
    asked: list[tuple[Volume, Credentials, float]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def for_mount(self, volume: Volume, credentials: Credentials, deadline: float) -> Content:
        """See `node_driver.ask.Asking`."""
        self.asked.append((volume, credentials, deadline))
        await self.gate.wait()
        answer = self.answers.pop(0) if self.answers else CONTENT
        if isinstance(answer, KeyferryError):
            raise answer
        return answer


@dataclass
class Announcer:
    """Notes what it should tell."""

    told: list[Record | str] = field(default_factory=list)

    def published(self, record: Record) -> None:
        """See `node_driver.announce.Announcer`."""
        self.told.append(record)

    def unpublished(self, volume_id: str) -> None:
        """See `node_driver.announce.Announcer`."""
        self.told.append(volume_id)


@dataclass
class Refresher:
    """Notes what it is told of."""

    republishes: list[Published] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def republished(self, known: Published) -> None:
        """See `node_driver.refresh.Refresher`."""
        self.republishes.append(known)

    async def leave(self, volume_id: str) -> None:
        """See `node_driver.refresh.Refresher`."""
        self.left.append(volume_id)


@dataclass
class Node:
    """A publisher on a folder of its own, and what stands around it."""

    folder: Path
    asking: Asking = field(default_factory=Asking)
    announcer: Announcer = field(default_factory=Announcer)
    refresher: Refresher = field(default_factory=Refresher)
    limits: Limits = field(default_factory=lambda: Limits(1024 * 1024, 64))

    def __post_init__(self) -> None:
        self.records = Records(self.folder / "records")
        self.asking.gate.set()
        self.publisher = self.restarted()

    def restarted(self, **changed: Any) -> Publisher:
        """Another publisher on the same folder."""
        return Publisher(
            published={},
            refresher=cast("Any", self.refresher),
            asking=cast("Any", self.asking),
            records=self.records,
            announcer=cast("Any", self.announcer),
            limits=changed.pop("limits", self.limits),
            **changed,
        )

    def volume(self, number: int = 1) -> Volume:
        """A volume as kubelet asks for it."""
        target = self.folder / f"pod-{number}" / "mount"
        return Volume(f"csi-{number}", str(target), Pod("shop", "web-0", "u-1", "web"), "db", {}, None)

    async def publish(self, volume: Volume, *, seconds: float = 30.0) -> Path:
        """Publish it, and say where it is."""
        await self.publisher.publish(volume, CREDENTIALS, time.time() + seconds)
        return Path(volume.target_path)

    async def began(self, flights: int) -> None:
        """Wait until so many flights have asked."""
        async with asyncio.timeout(10):
            while len(self.asking.asked) < flights:  # noqa: ASYNC110 - the fakes have no bell
                await asyncio.sleep(0)

    def left(self, volume: Volume) -> list[str]:
        """What there is of it."""
        target = Path(volume.target_path)
        saved = [record.volume_id for record in self.records.load_all() if record.volume_id == volume.volume_id]
        return saved + [str(target) for _ in range(target.exists())]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    node = Node(tmp_path)
    yield node
    unmount_all(tmp_path)


def unmount_all(folder: Path) -> None:
    for target in folder.glob("*/mount"):
        mounts.unmount(str(target))


def gauge() -> float | None:
    return REGISTRY.get_sample_value("keyferry_volumes")


async def test_content_is_in_place_before_ok(node: Node) -> None:
    """When publish returns, the files are there, the record is saved, the volume is announced and counted."""
    volume = node.volume()
    target = await node.publish(volume)

    assert (target / "password").read_bytes() == SECRET
    (record,) = node.records.load_all()
    assert node.announcer.told == [record]
    assert (record.volume_id, record.target_path, record.pod) == (volume.volume_id, volume.target_path, volume.pod)
    assert (record.provider, record.content_key, record.digest) == ("vault", "k", b"digest")
    assert (record.fetched_at_ms, record.versions) == (1_000, CONTENT.versions)
    assert gauge() == 1


FAILURES: dict[str, tuple[Content | KeyferryError, type[KeyferryError], str]] = {
    "no answer": (ProviderUnavailable("vault is down"), ProviderUnavailable, "vault is down"),
    "no files": (replace(CONTENT, files=None), InternalError, "has no files"),
    "escaping file": (
        replace(CONTENT, files=(File("../x", SECRET),)),
        InvalidSecretProviderClass,
        "file '../x': an element is empty",
    ),
    "two of a name": (
        replace(CONTENT, files=(File("x", SECRET), File("x", SECRET))),
        InvalidSecretProviderClass,
        "two objects have this name",
    ),
    "too much": (replace(CONTENT, files=(File("x", b"x" * 2_000_000),)), FileWriteError, "it holds at most"),
    "too many": (
        replace(CONTENT, files=tuple(File(f"x{n}", b"x") for n in range(64))),
        FileWriteError,
        "it holds at most",
    ),
}


@pytest.mark.parametrize(("answer", "kind", "text"), FAILURES.values(), ids=FAILURES)
async def test_failure_leaves_nothing(
    node: Node, answer: Content | KeyferryError, kind: type[KeyferryError], text: str
) -> None:
    """A first publish that fails says for which pod and why, leaves nothing, and the next try succeeds."""
    node.asking.answers = [answer]
    volume = node.volume()
    with pytest.raises(kind) as raised:
        await node.publish(volume)

    assert raised.value.message.startswith("failed to mount secrets store objects for pod shop/web-0, err: ")
    assert text in raised.value.message
    assert SECRET.decode() not in raised.value.message
    assert (node.left(volume), node.announcer.told) == ([], [])
    target = await node.publish(volume)
    assert (target / "password").read_bytes() == SECRET


def occupied(path: str) -> Path:
    target = Path(path)
    target.parent.mkdir()
    target.write_text("somebody's")
    return target


async def test_target_that_is_a_file(node: Node) -> None:
    """A file in the target's place is refused, and nothing is mounted over it."""
    volume = node.volume()
    target = occupied(volume.target_path)
    with pytest.raises(FailedToMount, match="not a directory"):
        await node.publish(volume)

    assert not list(target.parent.glob("*/*"))
    assert mounted(target) == 0


async def test_parents_are_made(node: Node) -> None:
    """Kubelet makes the target's parent; where it has not, the driver does."""
    volume = replace(node.volume(), target_path=str(node.folder / "a" / "mount"))

    assert (await node.publish(volume) / "password").exists()


async def test_retry_joins_the_flight(node: Node) -> None:
    """Calls for a volume that is under way share one request and one outcome."""
    node.asking.gate.clear()
    volume = node.volume()
    calls = [asyncio.create_task(node.publisher.publish(volume, CREDENTIALS, time.time() + 30)) for _ in range(5)]
    await node.began(1)
    node.asking.gate.set()
    outcomes = await asyncio.gather(*calls)

    assert len(node.asking.asked) == 1
    assert all(outcome is outcomes[0] for outcome in outcomes)


async def test_failure_of_a_shared_flight(node: Node) -> None:
    """A failure reaches every call that joined, and is told once for each in the same words."""
    node.asking.answers = [ProviderUnavailable("down")]
    node.asking.gate.clear()
    calls = [asyncio.create_task(node.publish(node.volume())) for _ in range(3)]
    await node.began(1)
    node.asking.gate.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)

    texts = {outcome.message for outcome in outcomes if isinstance(outcome, ProviderUnavailable)}
    assert texts == {"failed to mount secrets store objects for pod shop/web-0, err: down"}


async def test_other_arguments_meanwhile(node: Node) -> None:
    """While a volume is under way, a call for it with other arguments is VolumeBusy."""
    node.asking.gate.clear()
    first = asyncio.create_task(node.publish(node.volume()))
    await node.began(1)
    with pytest.raises(VolumeBusy, match="with other arguments"):
        await node.publish(replace(node.volume(), secret_provider_class="other"))
    node.asking.gate.set()

    assert (await first / "password").exists()


@pytest.mark.parametrize("changed", [{"secret_provider_class": "other"}, {"target_path": "/elsewhere/mount"}])
async def test_other_arguments_afterwards(node: Node, changed: dict[str, Any]) -> None:
    """A published volume is not changed by a call with other arguments; after unpublish they are fine."""
    target = await node.publish(node.volume())
    with pytest.raises(VolumeConflict, match="unpublish it first"):
        await node.publish(replace(node.volume(), **changed))

    assert (target / "password").exists()
    assert len(node.asking.asked) == 1


async def test_republish(node: Node) -> None:
    """A published volume is OK without asking, whatever else kubelet sends; its fresh tokens are kept, and offered."""
    await node.publish(node.volume())
    fresh, again = Credentials({"keyferry": "t2"}, {}), replace(node.volume(), attributes={"new": "one"})
    published = await node.publisher.publish(again, fresh, time.time() + 30)

    assert (published.volume, published.credentials) == (again, fresh)
    assert node.refresher.republishes == [published]
    assert len(node.asking.asked) == 1
    assert len(node.announcer.told) == 1


@pytest.mark.parametrize("damage", ["unmounted", "emptied"])
async def test_republish_of_what_is_gone(node: Node, damage: str) -> None:
    """A volume that lost its mount or its content behind our back is not OK: it is published anew."""
    target = await node.publish(node.volume())
    {"unmounted": lambda: mounts.unmount(str(target)), "emptied": (target / "..data").unlink}[damage]()
    await node.publish(node.volume())

    assert (target / "password").read_bytes() == SECRET
    assert len(node.asking.asked) == 2


async def test_short_call_leaves_a_long_flight(node: Node) -> None:
    """A call whose time is up is told to come back; the flight goes on, and the next call finds its result."""
    node.asking.gate.clear()
    first = asyncio.create_task(node.publish(node.volume(), seconds=30))
    await node.began(1)
    with pytest.raises(RequestExpired, match="the next try joins it"):
        await node.publish(node.volume(), seconds=1.0)
    node.asking.gate.set()
    await first
    await node.publish(node.volume())

    assert len(node.asking.asked) == 1


async def test_caller_that_hangs_up(node: Node) -> None:
    """A call that is cancelled does not take the flight with it."""
    node.asking.gate.clear()
    first, second = (asyncio.create_task(node.publish(node.volume())) for _ in range(2))
    await node.began(1)
    first.cancel()
    await asyncio.wait({first})
    node.asking.gate.set()

    assert first.cancelled()
    assert (await second / "password").exists()


@pytest.mark.parametrize(("seconds", "given"), [(30.0, 29.0), (120.0, 119.0), (float("inf"), 119.0)])
async def test_deadline(node: Node, seconds: float, given: float) -> None:
    """A request ends a second before kubelet stops listening, and after two minutes at the latest."""
    publisher = node.restarted(now=lambda: 1_000.0)
    await publisher.publish(node.volume(), CREDENTIALS, 1_000.0 + seconds)

    assert [deadline for _, _, deadline in node.asking.asked] == [1_000.0 + given]


async def test_unpublish(node: Node) -> None:
    """An unpublished volume leaves no mount, no folder, no record; it is announced as gone, each time."""
    volume = node.volume()
    await node.publish(volume)
    for _ in range(2):
        await node.publisher.unpublish(volume.volume_id, volume.target_path)

    assert node.left(volume) == []
    assert node.refresher.left == ["csi-1", "csi-1"]
    assert node.announcer.told[1:] == ["csi-1", "csi-1"]
    assert gauge() == 0


async def test_unpublish_of_a_folder_in_use(node: Node) -> None:
    """A target that holds somebody's file is not removed with it: the text says what to look at, the volume is kept."""
    volume = node.volume()
    node.folder.joinpath("pod-1").mkdir()
    theirs = occupied(f"{volume.target_path}/theirs")
    with pytest.raises(FailedToMount, match=r"failed to clean and unmount target path .*: see what is in it"):
        await node.publisher.unpublish(volume.volume_id, volume.target_path)

    assert theirs in theirs.parent.iterdir()
    assert node.announcer.told == []


async def test_unpublish_during_publish(node: Node) -> None:
    """An unpublish ends the flight: its callers are told, nothing is left, and what arrives later is not written."""
    node.asking.gate.clear()
    volume = node.volume()
    publish = asyncio.create_task(node.publish(volume))
    await node.began(1)
    await node.publisher.unpublish(volume.volume_id, volume.target_path)
    node.asking.gate.set()

    with pytest.raises(VolumeBusy, match="was unpublished while"):
        await publish
    assert node.left(volume) == []
    assert (await node.publish(volume) / "password").exists()


async def test_shutdown_during_publish(node: Node) -> None:
    """A driver that ends cancels its flights; their callers are cancelled too, not told of an unpublish."""
    node.asking.gate.clear()
    publish = asyncio.create_task(node.publish(node.volume()))
    await node.began(1)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.wait({publish})

    assert publish.cancelled()


async def test_adoption(node: Node) -> None:
    """A new driver takes live mounts over, without asking; it forgets and announces those that are gone."""
    kept, gone = node.volume(1), node.volume(2)
    for volume in (kept, gone):
        await node.publish(volume)
    mounts.unmount(gone.target_path)
    node.announcer.told.clear()
    node.publisher = node.restarted()
    node.publisher.adopt()

    assert {each if isinstance(each, str) else each.volume_id for each in node.announcer.told} == {"csi-1", "csi-2"}
    assert "csi-2" in node.announcer.told
    assert [record.volume_id for record in node.records.load_all()] == ["csi-1"]
    assert gauge() == 1
    await node.publish(kept)
    assert len(node.asking.asked) == 2
    await node.publish(gone)
    assert len(node.asking.asked) == 3
    for volume in (kept, gone):
        await node.publisher.unpublish(volume.volume_id, volume.target_path)
        assert node.left(volume) == []


async def test_mount_without_record(node: Node) -> None:
    """What a driver that died between mount and record has left is replaced: one mount, the right content."""
    volume = node.volume()
    target = await node.publish(volume)
    (target / "half").touch()
    node.records.forget(volume.volume_id)
    node.publisher = node.restarted()
    node.publisher.adopt()
    await node.publish(volume)

    assert {path.name for path in target.iterdir() if not path.name.startswith("..")} == {"password"}
    assert mounted(target) == 1
    await node.publisher.unpublish(volume.volume_id, volume.target_path)
    assert mounted(target) == 0


def mounted(target: Path) -> int:
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()].count(str(target))


async def test_volumes_do_not_wait_for_each_other(node: Node) -> None:
    """A volume whose content is late holds up no other."""
    node.asking.gate.clear()
    late = asyncio.create_task(node.publish(node.volume(1)))
    await node.began(1)
    node.asking.gate = asyncio.Event()
    node.asking.gate.set()

    assert (await node.publish(node.volume(2)) / "password").exists()
    assert not late.done()
    late.cancel()


@pytest.fixture(autouse=True)
def no_mounts_left(tmp_path: Path) -> Iterator[None]:
    yield
    assert not [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(tmp_path) in line]
