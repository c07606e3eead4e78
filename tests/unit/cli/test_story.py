"""What `explain` makes of what it was told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from keyferry.cli.cluster import EventSeen, PodVolume
from keyferry.cli.findings import OK, UNKNOWN, WARNING, WRONG, Finding
from keyferry.cli.story import Facts, of_pod, of_volume
from keyferry.events import VolumeUnpublished
from tests.unit.cli import samples
from tests.unit.cli.samples import NOW, VOLUME, failed, member, pod, scheduled, spc, told

NO_CLASS = (
    'MountVolume.SetUp failed for volume "secrets" : rpc error: code = NotFound desc = failed to mount secrets store '
    "objects for pod shop/web-0, err: failed to get secretproviderclass shop/db, error: not found"
)


def facts(**about: Any) -> Facts:
    """A volume that is well."""
    usual: dict[str, Any] = {
        "pod": pod(),
        "volume": VOLUME,
        "spc": spc(),
        "events": (),
        "word": told(),
        "is_built": True,
        "no_schedule": "",
        "content": scheduled(members=(member(),)),
    }
    return Facts(**{**usual, **about})


def event(message: str, *, reason: str = "FailedMount", ago: float = 10.0) -> EventSeen:
    return EventSeen("Warning", reason, message, 3, NOW / 1000 - ago)


def found(about: Facts) -> dict[str, Finding]:
    return {each.check: each for each in of_volume(about, NOW)}


def states(about: Facts) -> dict[str, str]:
    return {check: each.state for check, each in found(about).items()}


def test_a_volume_that_is_well() -> None:
    """Class, mount, schedule and content are in order, and nothing else is said."""
    assert states(facts()) == {"class": OK, "mount": OK, "schedule": OK, "content": OK}
    assert found(facts())["content"].text == "holds password@3, confirmed by vault 60s ago"
    assert found(facts())["schedule"].text == "is due in 60s, every 2m"


def test_everything_wrong_says_what_would_help() -> None:
    """A finding that is wrong has a fix."""
    volume = replace(VOLUME, secret_provider_class="")
    cases = [
        facts(spc=None),
        facts(volume=volume),
        facts(word=failed()),
        facts(word=None, events=(event(NO_CLASS),)),
        facts(content=None),
        facts(is_built=False),
        facts(content=scheduled(due_in=-90, members=(member(),))),
    ]
    wrong = [[each for each in of_volume(case, NOW) if each.state == WRONG] for case in cases]
    assert all(wrong)
    assert all(each.fix for case in wrong for each in case)


@pytest.mark.parametrize(
    ("message", "fix"),
    [
        (NO_CLASS, "create the class in the pod's namespace"),
        (
            "MountVolume.SetUp failed : rpc error: code = PermissionDenied desc = no",
            "give the pod's identity the right",
        ),
        ("driver name secrets-store.csi.k8s.io not found in the list of registered CSI drivers", "node-driver"),
        ("something new", "keyferry doctor"),
    ],
)
def test_a_mount_that_fails(message: str, fix: str) -> None:
    """Kubelet's text is shown, with what would help against it."""
    mount = found(facts(word=None, events=(event(message),)))["mount"]
    assert (mount.state, message in mount.text, fix in mount.fix) == (WRONG, True, True)


def test_an_old_complaint_of_a_mounted_volume_is_history() -> None:
    """What kubelet said before the volume was mounted does not matter; what it said since does."""
    assert states(facts(events=(event(NO_CLASS, ago=600),)))["mount"] == OK
    assert states(facts(events=(event(NO_CLASS, ago=5),)))["mount"] == WARNING


def test_a_complaint_about_another_volume_is_not_this_ones() -> None:
    """Of a pod with two volumes, each is told its own."""
    other = PodVolume("more", "vol-1", "db", "", {})
    both = pod(volumes=(VOLUME, other), phase="Pending")
    text = 'MountVolume.SetUp failed for volume "more" : rpc error: code = NotFound desc = x'
    mine = found(facts(pod=both, word=None, events=(event(text),)))["mount"]
    its = found(facts(pod=both, volume=other, word=None, events=(event(text),)))["mount"]

    assert text not in mine.text
    assert text in its.text


def test_a_complaint_about_a_volume_of_another_kind_is_nobodys() -> None:
    """A service account's token that came late is no reason why a class is not mounted."""
    text = 'MountVolume.SetUp failed for volume "app-token-zm62k" : failed to sync secret cache: timed out'
    assert text not in found(facts(word=None, events=(event(text),)))["mount"].text


def test_nothing_mounted_and_nothing_said() -> None:
    """A pending pod's volume is missing; a running one's may just be forgotten; one that left is going."""
    assert states(facts(word=None, pod=pod(phase="Pending"))) == {"class": OK, "mount": WRONG}
    assert states(facts(word=None))["mount"] == WARNING
    assert states(facts(word=VolumeUnpublished("vol-0", "n1")))["mount"] == WARNING


@pytest.mark.parametrize(
    ("reason", "step"),
    [("AccessDenied", "fetch"), ("RequestExpired", "deliver"), ("FileWriteError", "write"), ("TheirOwn", "fetch")],
)
def test_a_failure_stands_at_its_step(reason: str, step: str) -> None:
    """A refresh that failed is shown where on the way it failed."""
    finding = found(facts(word=failed(reason=reason)))[step]
    assert (finding.state, "may not read db" in finding.text) == (WRONG, True)


@pytest.mark.parametrize(
    ("about", "state", "text"),
    [
        ({"is_built": None, "no_schedule": "no Redis"}, UNKNOWN, "no Redis"),
        ({"is_built": False}, WRONG, "not whole"),
        ({"content": None}, WRONG, "no rotator has heard"),
        ({"content": scheduled(due_in=-90, members=(member(),))}, WRONG, "has been due for 90s"),
        ({"content": scheduled(due_in=-3, members=(member(),))}, OK, "is due in 0s"),
        ({"content": scheduled(due_in=None, members=(member(),))}, OK, "only when the backend tells"),
        ({"content": scheduled(members=(member(state="f"),))}, OK, "has finished"),
        ({"content": scheduled(members=(member(),), forced_ms=NOW + 500)}, OK, "for a change that was heard"),
        ({"content": scheduled(members=(member(),), refresh_by_ms=NOW + 90_000)}, OK, "its lease wants it by 90s"),
    ],
)
def test_the_schedule(about: dict[str, Any], state: str, text: str) -> None:
    """When the volume's content is due, or why nobody knows."""
    finding = found(facts(**about))["schedule"]
    assert (finding.state, text in finding.text) == (state, True)


def test_hints() -> None:
    """One hint may be on its way; several in vain are the node's fault, unless it answers that it fails."""

    def asked(misses: int, **about: Any) -> Facts:
        one = member(hinted_ms=NOW - 5000, misses=misses)
        return facts(content=scheduled(members=(one,), asked_ms=NOW - 1000), **about)

    assert "hint" not in states(facts())
    assert states(asked(1))["hint"] == OK
    assert states(asked(4))["hint"] == WRONG
    assert states(asked(4, word=failed()))["hint"] == OK


def test_an_old_content() -> None:
    """Beyond two intervals it is wrong though nothing failed, but not if its pod is done or never wanted more."""

    def old(**content: Any) -> Facts:
        return facts(word=told(ago=400), content=scheduled(**{"members": (member(),), **content}))

    assert states(old())["content"] == WRONG
    assert states(old(members=(member(state="f"),)))["content"] == OK
    assert states(old(interval_ms=0))["content"] == OK
    assert states(facts(word=failed(ago=400)))["content"] == OK


def test_what_is_stale_or_left_out_is_a_warning() -> None:
    """The pod works, with less than it might have."""
    assert states(facts(word=told(stale_since_ms=NOW - 5000)))["fetch"] == WARNING
    finding = found(facts(word=told(left_out=("extra",))))["content"]
    assert (finding.state, "extra" in finding.text) == (WARNING, True)


def test_secrets_of_kubernetes() -> None:
    """That a Secret could not be made is told, until it was made."""
    failing = event("secret web: somebody else's", reason="FailedToCreateSecret")
    made = event("successfully created", reason="SecretCreated", ago=1)
    assert states(facts(events=(failing,)))["sync"] == WARNING
    assert "sync" not in states(facts(events=(made, failing)))


def test_pods() -> None:
    """A pod without a node has nothing mounted; one without volumes of ours is none of our business."""
    assert [each.state for each in of_pod(pod())] == [OK]
    assert [each.state for each in of_pod(pod(node=""))] == [WRONG]
    assert [each.state for each in of_pod(pod(volumes=()))] == [WARNING]
    assert samples.POD.name in of_pod(pod(is_leaving=True))[0].text
