"""What a term of the syncer does of words that come early, late, twice, forged or not at all."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from keyferry.events import RefreshFailed, VolumeRefreshed
from keyferry.subjects import sync_subject, volume_subject

from .conftest import STATUSES, Term, entry


async def test_all_is_known_before_anything_is_written(term: Term) -> None:
    """A term that begins among many volumes never writes a Secret for those owners alone that it has read so far."""
    await term.make_class("db", entry())
    await term.hand_over(pw=b"tiger")
    for n in range(30):
        await term.mount(await term.pod(f"pod-{n}", owner=f"owner-{n % 3}"))
    seen: set[int] = set()

    async def whole() -> bool:
        seen.add(len(await term.owners()))
        return 3 in seen

    term.start()
    await term.until(whole)

    assert seen <= {0, 3}


async def test_a_pod_that_the_cache_shows_later(term: Term) -> None:
    """A volume of a pod that is not there decides nothing; when the pod is seen, it does."""
    await term.make_class("db", entry())
    await term.hand_over(pw=b"tiger")
    pod = await term.pod("web", owner="one")
    early = term.volume(pod)
    await term.kube.call("DELETE", f"{term.path}/pods/web", query={"gracePeriodSeconds": "0"})
    term.start()
    await term.tell(early)
    await term.idle()
    assert await term.secret() is None

    again = await term.pod("web", owner="one")
    await term.mount(again)

    await term.until_secret({"password": b"tiger"})


async def test_a_content_that_comes_later(term: Term) -> None:
    """It is taken up the moment it comes, without anybody having asked for it again and again."""
    await term.make_class("db", entry())
    await term.mount(await term.pod("web", owner="one"))
    term.start()
    await term.idle()
    assert (await term.secret(), await term.events()) == (None, [])

    await term.hand_over(pw=b"tiger")

    await term.until_secret({"password": b"tiger"})
    await term.until_told("SecretCreated", "app")


async def test_a_class_that_comes_later_or_again(term: Term) -> None:
    """Deleted, it leaves its Secrets to their owners; made anew, it keeps them in step again."""
    await term.hand_over(pw=b"tiger")
    await term.mount(await term.pod("web", owner="one"))
    term.start()
    await term.make_class("db", entry())
    await term.until_secret({"password": b"tiger"})

    await term.kube.call(
        "DELETE",
        f"/apis/secrets-store.csi.x-k8s.io/v1/namespaces/{term.namespace}/secretproviderclasses/db",
    )
    await term.hand_over(pw=b"lion")
    await term.idle()
    assert await term.secret() == {"password": b"tiger"}
    await term.make_class("db", entry())

    await term.until_secret({"password": b"lion"})


async def test_an_older_fetch_changes_nothing(term: Term) -> None:
    """Of two fetchers, the one that fetched earlier may hand over later."""
    await term.make_class("db", entry())
    await term.hand_over(at=term.at + 1000, pw=b"lion")
    await term.mount(await term.pod("web", owner="one"))
    term.start()
    await term.until_secret({"password": b"lion"})

    await term.hand_over(at=term.at, pw=b"tiger")
    await term.idle()

    assert await term.secret() == {"password": b"lion"}


async def test_two_accounts_do_not_make_a_secret_go_to_and_fro(term: Term) -> None:
    """Of two contents of one class, the one that was used stays in use for as long as somebody mounts it."""
    await term.make_class("db", entry())
    await term.hand_over("k1", pw=b"tiger")
    await term.hand_over("k2", pw=b"lion")
    one, two = await term.pod("one", owner="one"), await term.pod("two", owner="two")
    first = await term.mount(one, "k1")
    term.start()
    await term.until_secret({"password": b"tiger"})

    second = await term.mount(two, "k2")
    await term.until_owners("one", "two")
    version = await term.version()
    for _ in range(3):
        for volume in (first, second):
            await term.tell(VolumeRefreshed(volume, changed=False))
        await term.hand_over("k1", pw=b"tiger")
        await term.hand_over("k2", pw=b"lion")
    await term.idle()
    assert (await term.version(), await term.secret()) == (version, {"password": b"tiger"})
    await term.kube.call("DELETE", f"{term.path}/pods/one", query={"gracePeriodSeconds": "0"})

    await term.until_secret({"password": b"lion"})


async def test_what_is_told_again_is_not_written_again(term: Term) -> None:
    """Neither Secret nor status, by this term nor by the next."""
    await term.make_class("db", entry())
    await term.hand_over(pw=b"tiger")
    volume = await term.mount(await term.pod("web", owner="one"))
    term.start()
    await term.until_secret({"password": b"tiger"})

    async def noted() -> bool:
        found = await term.kube.get(STATUSES.format(term.namespace)) or {}
        return [each["metadata"].get("annotations") for each in found["items"]] == [{"keyferry.io/secrets": "app"}]

    await term.until(noted)
    revision = await revision_of(term)
    await term.hand_over(pw=b"tiger")
    await term.tell(volume)
    await term.idle()
    await term.end()
    term.start()
    await term.idle(1.5)

    assert await revision_of(term) == revision


async def revision_of(term: Term) -> list[str]:
    """The versions of all Secrets and statuses, and how many Events there are."""
    statuses = await term.kube.get(STATUSES.format(term.namespace)) or {}
    found = await term.kube.get(f"{term.path}/secrets") or {}
    versions = [each["metadata"]["resourceVersion"] for each in [*statuses["items"], *found["items"]]]
    return [*versions, str(len(await term.events()))]


@pytest.mark.parametrize(
    "about",
    [{"node": "node-b"}, {"secret_provider_class": "other"}, {"volume_id": "x"}],
    ids=["another node's pod", "a class that the pod does not mount", "another volume"],
)
async def test_a_node_that_lies(term: Term, about: dict[str, str]) -> None:
    """What a node tells of pods that are not on it, or of classes that its pods do not mount, decides nothing."""
    await term.make_class("db", entry())
    await term.make_class("other", entry("other"))
    await term.hand_over("theirs", pw=b"stolen")
    pod = await term.pod("web", owner="one")
    lie = replace(term.volume(pod, "theirs"), **about)  # type: ignore[arg-type]  # they are texts
    term.start()
    await term.tell(lie, subject=volume_subject(lie.node, f"csi-{pod['metadata']['uid']}-db"))
    await term.idle()

    assert (await term.secret(), await term.secret("other")) == (None, None)


async def test_forged_contents(term: Term) -> None:
    """What no fetcher signed, or lies under another's subject, becomes no Secret; the true one does."""
    await term.make_class("db", entry())
    await term.mount(await term.pod("web", owner="one"))
    term.start()
    await term.hand_over("other", pw=b"theirs")
    stored = await term.bus.last("SYNC", sync_subject(term.namespace, "other"))
    assert stored is not None
    for payload in (b"", b"\xff" * 40, stored.payload[:-8] + b"\x00" * 8, stored.payload):
        await term.bus.publish(sync_subject(term.namespace, "k"), payload, destination="keyferry.sync")
        await term.idle(0.3)
        assert await term.secret() is None

    await term.hand_over(pw=b"tiger")

    await term.until_secret({"password": b"tiger"})


async def test_hostile_words_do_not_stop_the_term(term: Term) -> None:
    """Bytes that are no event, on any subject, before and after the term has begun."""
    for n, payload in enumerate((b"", b"\x00", b"\xff" * 100)):
        await term.bus.publish(f"keyferry.volume.{'n' * (n + 1)}.x", payload, destination="keyferry.volume")
    term.start()
    for n, payload in enumerate((b"", b"\x00", b"\xff" * 100)):
        await term.bus.publish(f"keyferry.volume.{'m' * (n + 1)}.x", payload, destination="keyferry.volume")
    await term.make_class("db", entry())
    await term.hand_over(pw=b"tiger")
    await term.mount(await term.pod("web", owner="one"))

    await term.until_secret({"password": b"tiger"})


async def test_the_same_class_twice_in_a_pod(term: Term) -> None:
    """Two statuses; when one volume is gone while its pod stays, so is its status."""
    await term.make_class("db", entry())
    await term.hand_over(pw=b"tiger")
    pod = await term.pod("web", owner="one")
    one = await term.mount(pod, target_path="/a")
    two = await term.mount(pod, volume_id="csi-2", target_path="/b")
    term.start()

    async def statuses(count: int) -> bool:
        found = await term.kube.get(STATUSES.format(term.namespace)) or {}
        return len(found["items"]) == count

    await term.until(lambda: statuses(2))
    await term.unmount(one)
    await term.until(lambda: statuses(1))
    (left,) = (await term.kube.get(STATUSES.format(term.namespace)) or {})["items"]

    assert (left["metadata"]["name"], left["status"]["targetPath"]) == (
        f"web-{term.namespace}-db",
        two.target_path,
    )


async def test_a_pod_that_was_made_anew(term: Term) -> None:
    """A StatefulSet's pod has the same name and another uid: its status belongs to the new one."""
    await term.make_class("db", entry())
    old = await term.pod("web-0", owner="set")
    await term.mount(old)
    term.start()

    async def of(pod: object) -> bool:
        found = await term.kube.get(STATUSES.format(term.namespace)) or {}
        return [each["metadata"]["ownerReferences"][0]["uid"] for each in found["items"]] == [pod]

    await term.until(lambda: of(old["metadata"]["uid"]))
    await term.kube.call("DELETE", f"{term.path}/pods/web-0", query={"gracePeriodSeconds": "0"})
    new = await term.pod("web-0", owner="set")
    await term.mount(new)

    await term.until(lambda: of(new["metadata"]["uid"]))


async def test_refreshes_are_told_to_the_pod(term: Term) -> None:
    """Done or failed, with the cause."""
    await term.make_class("db")
    volume = await term.mount(await term.pod("web", owner="one"))
    term.start()
    await term.tell(VolumeRefreshed(volume, changed=True))
    await term.until(lambda: told(term, "MountRotationComplete", "successfully rotated mounted contents for spc"))
    await term.tell(RefreshFailed(volume, 1, "UNAVAILABLE", "ProviderUnavailable", "the vault is sealed"))

    await term.until(lambda: told(term, "MountRotationFailed", "the vault is sealed"))


async def told(term: Term, reason: str, text: str) -> bool:
    """Whether an Event about a pod says so."""
    found = await term.kube.get(f"{term.path}/events") or {}
    return any(each["reason"] == reason and text in each["message"] for each in found["items"])


async def test_events_wait_for_an_api_server_that_is_away(term: Term) -> None:
    """They are told when it is back, and nothing else waits for them."""
    await term.make_class("db", entry())
    await term.hand_over(pw=b"tiger")
    pod = await term.pod("web", owner="one")
    undo = term.api.faults.answer(f"{term.path}/events", 503, method="POST")
    term.start()
    await term.mount(pod)
    await term.until_secret({"password": b"tiger"})
    assert await term.events() == []
    undo()

    await term.until_told("SecretCreated", "app")


async def test_conflicts_are_overcome(term: Term) -> None:
    """A Secret that somebody changes all the time is brought in step between two changes."""
    await term.make_class("db", entry())
    await term.hand_over(pw=b"tiger")
    await term.mount(await term.pod("web", owner="one"))
    term.start()
    await term.until_secret({"password": b"tiger"})

    async def disturb() -> None:
        for n in range(100):
            body = {"metadata": {"annotations": {"other": str(n)}}}
            await term.kube.call(
                "PATCH", f"{term.path}/secrets/app", body=body, content_type="application/merge-patch+json"
            )

    disturbing = asyncio.create_task(disturb())
    await term.hand_over(pw=b"lion")
    await term.until_secret({"password": b"lion"})
    await disturbing


@pytest.mark.parametrize(
    ("size", "reason", "text"),
    [
        (1024 * 1024 + 1, "FailedToCreateSecret", "1048576 are the most that a Secret holds"),
        (1024 * 1024, "SecretCreated", "app"),
    ],
)
# aiohttp advises against bodies of a MiB; what it fears is a copy of some microseconds.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_large_secrets(term: Term, size: int, reason: str, text: str) -> None:
    """One byte too many is told with the sizes; the largest that is allowed is made."""
    await term.make_class("db", entry())
    await term.hand_over(pw=b"x" * size)
    await term.mount(await term.pod("web", owner="one"))
    term.start()

    await term.until_told(reason, text)


async def test_an_entry_that_was_dropped_while_nobody_mounted(term: Term) -> None:
    """A Deployment that comes back from zero finds none of the Secrets that its class has given up."""
    await term.make_class("db", entry(), entry("other"))
    await term.hand_over(pw=b"tiger")
    volume = await term.mount(await term.pod("web", owner="one"))
    term.start()
    await term.until_secret({"password": b"tiger"}, "other")
    await term.kube.call("DELETE", f"{term.path}/pods/web", query={"gracePeriodSeconds": "0"})
    await term.unmount(volume)
    await term.change_class("db", entry())
    await term.idle()
    assert await term.secret("other") == {"password": b"tiger"}

    await term.mount(await term.pod("again", owner="one"))

    await term.until_secret(None, "other")
    assert await term.secret() == {"password": b"tiger"}


async def test_an_entry_that_another_class_takes_over_is_not_removed(term: Term) -> None:
    """A Secret moves from one class to another without being away."""
    await term.make_class("db", entry(), entry("moved"))
    await term.hand_over(pw=b"tiger")
    await term.mount(await term.pod("web", owner="one"))
    term.start()
    await term.until_secret({"password": b"tiger"}, "moved")
    uid = (await term.kube.get(f"{term.path}/secrets/moved") or {})["metadata"]["uid"]

    await term.make_class("new", entry("moved"))
    await term.change_class("db", entry())
    await term.hand_over("k2", pw=b"lion")
    await term.mount(await term.pod("web-2", "new", owner="two"), "k2", "new")

    await term.until_secret({"password": b"lion"}, "moved")
    assert (await term.kube.get(f"{term.path}/secrets/moved") or {})["metadata"]["uid"] == uid
