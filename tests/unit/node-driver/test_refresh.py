from __future__ import annotations

import asyncio
import math
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from keyferry.changes import Due, RefreshVolumes
from keyferry.errors import AccessDenied, KeyferryError, ProviderUnavailable, UntrustedMessage
from keyferry.resources import Content, File, ObjectVersion, Pod
from node_driver import files, mounts
from node_driver.published import Published, record_of
from node_driver.records import Record, Records
from node_driver.refresh import AT_ONCE, Refresher
from node_driver.volume import Credentials, Volume

pytestmark = pytest.mark.root

NOW = 1_800_000_000.0  # a multiple of the interval below
NOW_MS = int(NOW * 1000)
OLD = Content(
    provider="vault",
    content_key="k1",
    digest=b"old",
    fetched_at_ms=NOW_MS - 60_000,
    versions=(ObjectVersion("db", "3"),),
    files=(File("password", b"tiger", 0o640),),
)
NEW = replace(
    OLD,
    digest=b"new",
    fetched_at_ms=NOW_MS,
    versions=(ObjectVersion("db", "4"),),
    files=(File("password", b"lion", 0o640),),
    sources=("secret/data/db",),
)
SAME = replace(OLD, fetched_at_ms=NOW_MS, files=None)
TOKENS = Credentials({"keyferry": "t1"}, {}, expires_at=NOW + 3600)


@dataclass
class Asking:
    """Answers what it is told to, as soon as the gate is open."""

    answers: list[Content | Exception] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    most: int = 0
    under_way: int = 0

    async def for_refresh(self, volume: Volume, credentials: Credentials, deadline: float, **known: Any) -> Content:
        """See `node_driver.ask.Asking`."""
        self.asked.append({"volume": volume, "credentials": credentials, "deadline": deadline, **known})
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.gate.wait()
        finally:
            self.under_way -= 1
        answer = self.answers.pop(0) if self.answers else NEW
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def not_before(self) -> list[int]:
        """What was asked for, in order."""
        return [each["not_before_ms"] for each in self.asked]


@dataclass
class Announcer:
    """Notes what it should tell."""

    told: list[tuple[Any, ...]] = field(default_factory=list)

    def refreshed(self, record: Record, *, changed: bool) -> None:
        """See `node_driver.announce.Announcer`."""
        self.told.append(("refreshed", record, changed))

    def confirmed(self, record: Record) -> None:
        """See `node_driver.announce.Announcer`."""
        self.told.append(("confirmed", record))

    def failed(self, record: Record, asked_for_ms: int, error: KeyferryError) -> None:
        """See `node_driver.announce.Announcer`."""
        self.told.append(("failed", record, asked_for_ms, error.code, error.reason, error.message))


@dataclass
class Node:
    """A refresher, volumes on a folder of its own, and what stands around them."""

    folder: Path
    tasks: asyncio.TaskGroup
    asking: Asking = field(default_factory=Asking)
    announcer: Announcer = field(default_factory=Announcer)
    published: dict[str, Published] = field(default_factory=dict)
    now: float = NOW

    def __post_init__(self) -> None:
        self.records = Records(self.folder / "records")
        self.asking.gate.set()
        self.refresher = self.set_to()

    def set_to(self, interval: float = 120.0, pause: float = 0.0) -> Refresher:
        """Another refresher on the same volumes."""
        self.refresher = Refresher(
            published=self.published,
            asking=cast("Any", self.asking),
            records=self.records,
            announcer=cast("Any", self.announcer),
            tasks=self.tasks,
            interval=interval,
            now=lambda: self.now,
            pause=pause,
        )
        return self.refresher

    def mounted(self, number: int = 1, content: Content = OLD, credentials: Credentials | None = TOKENS) -> Published:
        """A volume that is in place."""
        target = self.folder / f"pod-{number}" / "mount"
        target.mkdir(parents=True)
        mounts.mount_tmpfs(str(target), size_bytes=65536, inodes=64, mode=0o755)
        files.write(str(target), content.files or ())
        volume = Volume(f"csi-{number}", str(target), Pod("shop", "web-0", "u-1", "web"), "db", {}, None)
        known = Published(record_of(volume, content), volume, credentials)
        self.published[volume.volume_id] = known
        return known

    async def hint(self, *volume_ids: str, not_before_ms: int = NOW_MS, key: str = "k1", spread_ms: int = 0) -> None:
        """Tell it what is due."""
        await self.refresher.hear(RefreshVolumes((Due(key, not_before_ms, volume_ids, spread_ms),)).to_bytes())

    async def asked(self, times: int) -> None:
        """Wait until it has asked so often."""
        async with asyncio.timeout(10):
            while len(self.asking.asked) < times:  # noqa: ASYNC110 - the fakes have no bell
                await asyncio.sleep(0)

    async def settled(self) -> None:
        """Wait until nothing is under way any more."""
        async with asyncio.timeout(10):
            while self.refresher._running or self.refresher._timers:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.001)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with asyncio.TaskGroup() as tasks:
        node = Node(tmp_path, tasks)
        yield node
        for volume_id in tuple(node.published):
            await node.refresher.leave(volume_id)
    unmount_all(tmp_path)


def unmount_all(folder: Path) -> None:
    for target in folder.glob("*/mount"):
        mounts.unmount(str(target))


@pytest.fixture(autouse=True)
def no_mounts_left(tmp_path: Path) -> Iterator[None]:
    yield
    assert not [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(tmp_path) in line]


def password(known: Published) -> bytes:
    return Path(known.record.target_path, "password").read_bytes()


def version(known: Published) -> tuple[Path, int]:
    """Which version of the files is in place, and since when."""
    target = Path(known.record.target_path)
    return (target / "..data").readlink(), (target / "password").stat().st_ino


def held(known: Published) -> list[str]:
    """All names in its target."""
    return sorted(path.name for path in Path(known.record.target_path).iterdir())


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_hint_brings_new_content(node: Node) -> None:
    """A hint for a content has each volume with it ask as its pod, and hold, remember and tell what came."""
    known = node.mounted()
    before = counted("rotation_reconcile_total", provider="vault", os_type="linux", rotated="true")
    await node.hint(not_before_ms=NOW_MS - 1)
    await node.settled()

    assert password(known) == b"lion"
    assert known.volume is not None
    assert node.asking.asked == [
        {
            "volume": known.volume,
            "credentials": TOKENS,
            "deadline": NOW + 30,
            "known_digest": b"old",
            "not_before_ms": NOW_MS - 1,
        }
    ]
    assert known.record == record_of(known.volume, NEW)
    assert node.records.load_all() == [known.record]
    assert node.announcer.told == [("refreshed", known.record, True)]
    assert counted("rotation_reconcile_total", provider="vault", os_type="linux", rotated="true") == before + 1


async def test_unchanged_content(node: Node) -> None:
    """A content that is as it was moves the volume's time forward and is told; no file is touched."""
    known = node.mounted()
    before = version(known)
    node.asking.answers = [SAME]
    await node.hint()
    await node.settled()

    assert version(known) == before
    assert known.record.fetched_at_ms == NOW_MS
    assert node.announcer.told == [("refreshed", known.record, False)]
    assert node.records.load_all() == [known.record]


async def test_same_files_sent_anew(node: Node) -> None:
    """Files that are there already are not written again, even under another digest."""
    known = node.mounted()
    before = version(known)
    node.asking.answers = [replace(NEW, files=OLD.files)]
    await node.hint()
    await node.settled()

    assert version(known) == before
    assert node.announcer.told == [("refreshed", known.record, False)]


async def test_never_backwards(node: Node) -> None:
    """An answer that is older than what the volume has is counted and changes nothing, not even what is known."""
    known = node.mounted()
    record, before = known.record, counted("keyferry_refresh_outdated_total")
    node.asking.answers = [replace(NEW, fetched_at_ms=OLD.fetched_at_ms - 1)]
    await node.hint()
    await node.settled()

    assert password(known) == b"tiger"
    assert known.record == record
    assert node.announcer.told == []
    assert counted("keyferry_refresh_outdated_total") == before + 1


async def test_stale_content(node: Node) -> None:
    """What the fetchers kept while a backend is down is taken if it is not older, and told as stale."""
    known = node.mounted()
    node.asking.answers = [replace(NEW, fetched_at_ms=OLD.fetched_at_ms, stale_since_ms=NOW_MS)]
    await node.hint()
    await node.settled()

    assert password(known) == b"lion"
    assert node.announcer.told == [("refreshed", known.record, True)]
    assert known.record.stale_since_ms == NOW_MS


async def test_unchanged_that_is_another(node: Node) -> None:
    """An answer that calls a content unchanged which the volume does not have is a failure."""
    known = node.mounted()
    node.asking.answers = [replace(NEW, files=None)]
    await node.hint()
    await node.settled()

    ((kind, record, _, code, _, _),) = node.announcer.told
    assert (kind, record, code) == ("failed", known.record, "INTERNAL")
    assert known.record.digest == b"old"


FAILURES: dict[str, tuple[Content | Exception, str, str]] = {
    "denied": (AccessDenied("no policy: add one"), "AccessDenied", "no policy: add one"),
    "down": (ProviderUnavailable("vault is down"), "ProviderUnavailable", "vault is down"),
    "too much": (replace(NEW, files=(File("password", b"x" * 99_999),)), "FileWriteError", "it holds at most"),
    "escaping": (replace(NEW, files=(File("../x", b"lion"),)), "InvalidSecretProviderClass", "file '../x'"),
    "defect": (ValueError("lion"), "InternalError", "ValueError at test_refresh.py"),
}


@pytest.mark.parametrize(("answer", "reason", "text"), FAILURES.values(), ids=FAILURES)
async def test_failure_keeps_what_is_there(
    node: Node, answer: Content | Exception, reason: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A refresh that fails leaves content and record as they are, is told and counted; the next hint tries again."""
    known = node.mounted()
    record, before = known.record, version(known)
    labels = {"provider": "vault", "error_type": reason, "os_type": "linux", "rotated": "false"}
    count = counted("rotation_reconcile_error_total", **labels)
    node.asking.answers = [answer]
    await node.hint()
    await node.settled()

    assert (password(known), version(known), known.record) == (b"tiger", before, record)
    ((kind, told, asked_for_ms, _, said, message),) = node.announcer.told
    assert (kind, told, asked_for_ms, said) == ("failed", record, NOW_MS, reason)
    assert text in message
    assert "lion" not in message + caplog.text
    assert counted("rotation_reconcile_error_total", **labels) == count + 1
    await node.hint()
    await node.settled()
    assert password(known) == b"lion"


async def test_group_and_modes(node: Node) -> None:
    """New files get the group and modes that the volume was published with."""
    known = node.mounted()
    assert known.volume is not None
    known.volume = replace(known.volume, group=0)
    await node.hint()
    await node.settled()

    target = Path(known.record.target_path)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (target, target / "password")] == [0o2755, 0o640]


async def test_whom_a_hint_is_for(node: Node) -> None:
    """A hint is for all volumes with its content, or for those it names; the others are left alone."""
    node.asking.gate.clear()
    for number, key in enumerate(["k1", "k1", "k2", "k2"]):
        node.mounted(number, replace(OLD, content_key=key))
    await node.hint(key="k1")
    await node.hint("csi-3", "csi-9", key="k1")
    await node.hint(key="k9")
    await node.asked(3)

    assert {each["volume"].volume_id for each in node.asking.asked} == {"csi-0", "csi-1", "csi-3"}


async def test_lost_word(node: Node) -> None:
    """A volume that is as new as the hint wants is told again, without asking anybody."""
    known = node.mounted()
    for at in (OLD.fetched_at_ms, OLD.fetched_at_ms - 1, 0, -1, -(2**63)):
        node.now += 1
        await node.hint(not_before_ms=at)

    assert node.announcer.told == [("confirmed", known.record)] * 5
    assert node.asking.asked == []


async def test_second_hint_joins(node: Node) -> None:
    """Hints for a refresh that is under way are met by it, unless they want something later."""
    node.asking.gate.clear()
    node.mounted()
    node.asking.answers = [replace(NEW, fetched_at_ms=NOW_MS - 10)]
    for _ in range(3):
        await node.hint(not_before_ms=NOW_MS - 10)
    await node.asked(1)
    await node.hint(not_before_ms=NOW_MS - 20)
    await node.hint(not_before_ms=NOW_MS)
    node.asking.gate.set()
    await node.settled()

    assert node.asking.not_before == [NOW_MS - 10, NOW_MS]


async def test_later_hint_before_it_has_asked(node: Node) -> None:
    """A refresh that waits for its turn asks once, for the latest that was hinted."""
    node.mounted()
    await node.hint(not_before_ms=NOW_MS - 10)
    await node.hint(not_before_ms=NOW_MS)
    await node.settled()

    assert node.asking.not_before == [NOW_MS]


async def test_clocks_that_differ(node: Node) -> None:
    """A hint from a clock that is a little ahead is asked for as it is, for all nodes are to ask for the same."""
    node.mounted()
    await node.hint(not_before_ms=NOW_MS + 5_000)
    await node.settled()

    assert node.asking.not_before == [NOW_MS + 5_000]


async def test_hint_for_a_volume_that_was_published_anew(node: Node) -> None:
    """A hint that comes while the volume's former self is asked for is met for the new one."""
    node.asking.gate.clear()
    known = node.mounted()
    await node.hint(not_before_ms=NOW_MS - 10)
    await node.asked(1)
    anew = node.published["csi-1"] = replace(known)
    await node.hint()
    node.asking.gate.set()
    await node.settled()

    assert node.asking.not_before == [NOW_MS - 10, NOW_MS]
    assert (known.record.digest, anew.record.digest) == (b"old", b"new")


async def test_future(node: Node) -> None:
    """A hint for what will be is a hint for now."""
    node.mounted()
    await node.hint(not_before_ms=2**63 - 1)
    await node.settled()

    assert node.asking.not_before == [NOW_MS]


@pytest.mark.parametrize("payload", [b"\xff", b"\x0a\xff", b"x" * 300_000, b"\x0a\x00" * 200_000])
async def test_no_hint(node: Node, payload: bytes) -> None:
    """Bytes that are no hint, or larger than one, are refused and do nothing."""
    node.mounted()
    with pytest.raises(UntrustedMessage):
        await node.refresher.hear(payload)

    assert (node.asking.asked, node.announcer.told) == ([], [])


@pytest.mark.parametrize("due", [Due("", NOW_MS), Due("", -1), Due("", NOW_MS, ("",))])
async def test_senseless_hint(node: Node, due: Due) -> None:
    """A hint about nothing does nothing."""
    node.mounted()
    await node.refresher.hear(RefreshVolumes((due,) * 1000).to_bytes())
    await node.settled()

    assert (node.asking.asked, node.announcer.told) == ([], [])


async def test_flood(node: Node) -> None:
    """However many hints come, a volume is asked for and told of once within the pause, and once more after it."""
    node.set_to(pause=0.2)
    known = node.mounted()
    node.asking.answers = [ProviderUnavailable("down")] * 100
    for _ in range(100):
        await node.hint(not_before_ms=2**60)
        await asyncio.sleep(0)
    for number in range(100):
        node.now += 0.0001
        await node.hint(not_before_ms=NOW_MS + number)
        await node.hint(not_before_ms=0)
        await asyncio.sleep(0)

    assert len(node.asking.asked) == 1
    assert len(node.announcer.told) == 1
    node.now += 0.2
    await node.settled()
    assert len(node.asking.asked) == 2
    assert password(known) == b"tiger"


async def test_at_once(node: Node) -> None:
    """Of a node's many volumes only some are asked for at the same time; all of them are in the end."""
    node.asking.gate.clear()
    for number in range(AT_ONCE + 5):
        node.mounted(number)
    await node.hint()
    await node.asked(AT_ONCE)
    await asyncio.sleep(0.01)
    assert len(node.asking.asked) == AT_ONCE
    node.asking.gate.set()
    await node.settled()

    assert node.asking.most == AT_ONCE
    assert [password(known) for known in node.published.values()] == [b"lion"] * (AT_ONCE + 5)


@pytest.mark.parametrize("credentials", [None, replace(TOKENS, expires_at=NOW + 1), replace(TOKENS, expires_at=0.0)])
async def test_no_tokens(node: Node, credentials: Credentials | None) -> None:
    """A hint that comes while there are no tokens, or none that last, is met when kubelet has brought some."""
    known = node.mounted(credentials=credentials)
    await node.hint(not_before_ms=NOW_MS - 5)
    await node.settled()
    assert (node.asking.asked, node.announcer.told) == ([], [])
    known.credentials = TOKENS
    node.refresher.republished(known)
    await node.settled()

    assert node.asking.not_before == [NOW_MS - 5]
    assert password(known) == b"lion"
    node.refresher.republished(known)
    await node.settled()
    assert len(node.asking.asked) == 1


async def test_tokens_that_expire_while_it_waits(node: Node) -> None:
    """A refresh whose tokens have expired when its turn comes waits for the next ones."""
    node.set_to(pause=0.05)
    known = node.mounted()
    known.touched_at = NOW
    await node.hint()
    node.now += 3600
    await node.settled()
    assert node.asking.asked == []
    known.credentials = replace(TOKENS, expires_at=math.inf)
    node.refresher.republished(known)
    await node.settled()

    assert node.asking.not_before == [NOW_MS]


AGES = {
    "fresh": ({}, 120.0, 10.0, []),
    "missed one": ({}, 120.0, 239.9, []),
    "missed two": ({}, 120.0, 240.0, [240.0]),
    "rounded down": ({}, 120.0, 299.0, [240.0]),
    "off": ({}, 0.0, 1e6, []),
    "the class's own": ({"rotation_ms": 30_000}, 120.0, 65.0, [60.0]),
    "the class's own, longer": ({"rotation_ms": 600_000}, 120.0, 1199.0, []),
    "never, says the class": ({"rotation_ms": 0}, 120.0, 1e6, []),
    "the class's own, where it is off": ({"rotation_ms": 30_000}, 0.0, 65.0, [60.0]),
    "lease ends": ({"refresh_by_ms": NOW_MS + 50_000}, 120.0, 51.0, [50.0]),
    "lease ends, where it is off": ({"refresh_by_ms": NOW_MS + 50_000}, 0.0, 51.0, [50.0]),
    "lease lasts": ({"refresh_by_ms": NOW_MS + 50_000}, 120.0, 49.0, []),
    "lease has ended long ago": ({"refresh_by_ms": NOW_MS + 50_000}, 120.0, 299.0, [240.0]),
    "lease of an earlier fetch": ({"refresh_by_ms": NOW_MS - 1}, 120.0, 10.0, []),
}


@pytest.mark.parametrize(("content", "interval", "age", "asked"), AGES.values(), ids=AGES)
async def test_safety_net(node: Node, content: dict[str, Any], interval: float, age: float, asked: list[float]) -> None:
    """Without hints a volume is asked for at kubelet's republish after two intervals, or when its lease has ended.

    What it asks for is a time that other nodes arrive at too, so that they share one call.
    """
    node.set_to(interval)
    known = node.mounted(content=replace(OLD, fetched_at_ms=NOW_MS, **content))
    node.now += age
    node.asking.answers = [replace(NEW, fetched_at_ms=int(node.now * 1000), **content)]
    node.refresher.republished(known)
    await node.settled()

    assert node.asking.not_before == [NOW_MS + int(seconds * 1000) for seconds in asked]
    assert password(known) == (b"lion" if asked else b"tiger")


async def test_safety_net_leaves_failures_to_the_rotator(node: Node) -> None:
    """A volume that was asked for in vain is not asked for at every republish, but once in an interval."""
    known = node.mounted()
    node.asking.answers = [ProviderUnavailable("down")] * 9
    for _ in range(10):
        node.now += 75
        node.refresher.republished(known)
        await node.settled()

    assert [at - NOW_MS for at in node.asking.not_before] == [120_000, 360_000, 480_000, 600_000]


async def test_republish_during_a_refresh(node: Node) -> None:
    """A republish of a volume that is being asked for adds nothing."""
    node.asking.gate.clear()
    known = node.mounted()
    node.now += 1000
    node.refresher.republished(known)
    await node.asked(1)
    node.now += 1000
    node.refresher.republished(known)
    node.asking.gate.set()
    await node.settled()

    assert len(node.asking.asked) == 1


async def test_leaving(node: Node) -> None:
    """When a volume leaves, its refresh ends, nothing is told of it, and what was hinted is forgotten."""
    node.asking.gate.clear()
    known = node.mounted()
    await node.hint()
    await node.asked(1)
    await node.refresher.leave("csi-1")
    node.asking.gate.set()
    await node.settled()
    node.refresher.republished(known)
    await node.settled()

    assert password(known) == b"tiger"
    assert len(node.asking.asked) == 1
    assert node.announcer.told == []


async def test_leaving_before_it_began(node: Node) -> None:
    """A refresh that has not begun ends as well, and the volume can be refreshed afterwards."""
    known = node.mounted()
    await node.hint()
    await node.refresher.leave("csi-1")
    assert node.asking.asked == []
    await node.hint()
    await node.settled()

    assert password(known) == b"lion"


async def test_a_spread_is_waited_for(node: Node) -> None:
    """Where nobody waits, many volumes ask one after the other, and all of them do."""
    for number in range(8):
        node.mounted(number)
    await node.hint(spread_ms=200)
    assert len(node.refresher._timers) == 8
    assert node.asking.asked == []
    await node.settled()

    assert len(node.asking.asked) == 8


async def test_what_is_urgent_waits_for_no_spread(node: Node) -> None:
    """A change that is told of while a volume waits for its part has it ask at once, and once."""
    node.mounted()
    await node.hint(spread_ms=10_000)
    await node.hint(not_before_ms=NOW_MS + 1)
    await node.settled()

    assert [asked["not_before_ms"] for asked in node.asking.asked] == [NOW_MS + 1]


async def test_leaving_during_a_spread(node: Node) -> None:
    """A volume that goes does not ask any more."""
    node.mounted()
    await node.hint(spread_ms=10_000)
    await node.refresher.leave("csi-1")
    await node.settled()

    assert node.asking.asked == []


async def test_leaving_what_is_not_there(node: Node) -> None:
    """A volume without a refresh leaves at once."""
    await node.refresher.leave("csi-1")


@pytest.mark.parametrize("damage", ["unmounted", "emptied", "gone", "published anew"])
async def test_volume_that_comes_or_goes(node: Node, damage: str) -> None:
    """What happens to a volume while it is asked for decides: nothing is written where it is no longer, or is anew."""
    node.asking.gate.clear()
    known = node.mounted()
    target = Path(known.record.target_path)
    await node.hint()
    await node.asked(1)
    ways: dict[str, Callable[[], object]] = {
        "unmounted": lambda: mounts.unmount(str(target)),
        "emptied": (target / "..data").unlink,
        "gone": node.published.clear,
        "published anew": lambda: node.published.update({"csi-1": replace(known)}),
    }
    ways[damage]()
    left = held(known)
    node.asking.gate.set()
    await node.settled()

    assert held(known) == left
    assert node.announcer.told == []
    assert known.record.digest == b"old"


async def test_volume_that_is_not_in_place(node: Node) -> None:
    """A volume whose mount is gone is not asked for: kubelet's republish publishes it anew."""
    known = node.mounted()
    mounts.unmount(known.record.target_path)
    await node.hint()
    await node.settled()

    assert (node.asking.asked, node.announcer.told) == ([], [])
    assert held(known) == []


async def test_class_that_has_changed(node: Node) -> None:
    """A volume whose class now asks for something else goes by its new content key from then on."""
    known = node.mounted()
    node.asking.answers = [replace(NEW, content_key="k2")]
    await node.hint()
    await node.settled()
    await node.hint(key="k1", not_before_ms=NOW_MS + 1)
    await node.settled()
    assert len(node.asking.asked) == 1
    node.now += 1
    await node.hint(key="k2", not_before_ms=NOW_MS + 1)
    await node.settled()

    assert len(node.asking.asked) == 2
    assert known.record.content_key == "k1"


async def test_clock_set_back(node: Node) -> None:
    """A clock that was set back by a day costs no more than the pause."""
    node.set_to(pause=0.01)
    known = node.mounted()
    known.touched_at = NOW + 86_400
    await node.hint()
    await node.settled()

    assert password(known) == b"lion"
