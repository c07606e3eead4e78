"""Vault's notifications and audit entries in our words."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.sources.document import Malformed
from rotator.sources.vault_events import audited, notified


def notification(kind: str, mount: str = "secret/", **metadata: Any) -> str:
    data = {"event": {"id": "e-1", "metadata": metadata}, "event_type": kind, "plugin_info": {"mount_path": mount}}
    return json.dumps({"id": "e-1", "specversion": "1.0", "data": data, "time": "2026-11-24T12:00:00.123456789Z"})


def entry(operation: str, path: str, mount: str, **more: Any) -> bytes:
    request = {"id": "r-1", "operation": operation, "path": path, "mount_point": mount, "mount_type": "kv"}
    return json.dumps({"type": "response", "request": {**request, **more.pop("request", {})}, **more}).encode()


NOTIFIED = {
    "a write": (notification("kv-v2/data-write", data_path="secret/data/app/db"), "secret/data/app/db"),
    "a patch": (notification("kv-v2/data-patch", data_path="secret/data/a"), "secret/data/a"),
    "as Vault 1.13 wrote paths": (notification("kv-v2/data-write", path="data/app/db"), "secret/data/app/db"),
    "an undelete": (notification("kv-v2/undelete", path="secret/undelete/app/db"), "secret/data/app/db"),
    "the end of all versions": (notification("kv-v2/metadata-delete", path="secret/metadata/a"), "secret/data/a"),
    "version 1": (notification("kv-v1/write", "kv/", data_path="kv/app/db"), "kv/app/db"),
    "a rotation": (notification("database/rotate", "db/", name="app"), "db/static-creds/app"),
    "an engine two levels deep": (
        notification("kv-v2/data-write", "team/kv/", data_path="team/kv/data/a"),
        "team/kv/data/a",
    ),
}
AUDITED = {
    "a first write": (entry("create", "secret/data/app/db", "secret/"), "secret/data/app/db"),
    "a write": (entry("update", "secret/data/app/db", "secret/"), "secret/data/app/db"),
    "a patch": (entry("patch", "secret/data/app/db", "secret/"), "secret/data/app/db"),
    "a delete": (entry("delete", "secret/data/app/db", "secret/"), "secret/data/app/db"),
    "versions destroyed": (entry("update", "secret/destroy/app/db", "secret/"), "secret/data/app/db"),
    "version 1": (entry("create", "kv1/a/b", "kv1/"), "kv1/a/b"),
    "version 1, in a folder named data": (entry("create", "kv1/data/b", "kv1/"), "kv1/data/b"),
    "a write in a namespace": (
        entry("update", "kv/data/a", "team-a/kv/", request={"namespace": {"id": "x", "path": "team-a/"}}),
        "kv/data/a",
    ),
    "a write in a namespace, read by its whole path": (
        entry("update", "kv/data/a", "team-a/kv/", request={"namespace": {"id": "x", "path": "team-a/"}}),
        "team-a/kv/data/a",
    ),
    "a rotation in a namespace": (
        entry(
            "update",
            "db/rotate-role/app",
            "team-a/db/",
            request={"mount_type": "database", "namespace": {"path": "team-a/"}},
        ),
        "db/static-creds/app",
    ),
    "a rotation": (
        entry("update", "db/rotate-role/app", "db/", request={"mount_type": "database"}),
        "db/static-creds/app",
    ),
}


@pytest.mark.parametrize("case", NOTIFIED)
def test_a_notification_is_told_by_the_path_it_is_read_at(case: str) -> None:
    """Every notification that changes a value gives the path that classes read."""
    body, source = NOTIFIED[case]
    told = notified(body)
    assert told
    assert source in told.sources
    assert told.event_id == "e-1"


@pytest.mark.parametrize("case", AUDITED)
def test_an_audit_entry_is_told_by_the_path_it_is_read_at(case: str) -> None:
    """Every entry that changes a value gives the path that classes read."""
    line, source = AUDITED[case]
    told = audited(line)
    assert told
    assert source in told.sources


@pytest.mark.parametrize(
    "line",
    [
        entry("read", "secret/data/a", "secret/"),
        entry("update", "secret/data/a", "secret/", error="permission denied"),
        entry("update", "auth/token/create", "auth/token/", request={"mount_type": "token"}),
        b'{"time":"2026","type":"request","request":{"operation":"update","path":"secret/data/a"}}',
    ],
    ids=["a read", "a refusal", "another engine", "a request that has no answer yet"],
)
def test_entries_that_change_nothing_are_passed_over(line: bytes) -> None:
    """What was only read, refused or asked changes nothing."""
    assert audited(line) is None


@pytest.mark.parametrize(
    "body",
    [
        notification("kv-v2/config-write", path="secret/config"),
        notification("kv-v2/metadata-read", path="secret/metadata/a"),
        notification("kv-v2/data-write", path="secret/data/a", modified="false"),
        notification("identity/entity-update", path="a"),
    ],
    ids=["settings of an engine", "a read", "nothing modified", "another engine"],
)
def test_notifications_that_change_nothing_are_passed_over(body: str) -> None:
    """What leaves every value as it was tells nothing."""
    assert notified(body) is None


@pytest.mark.parametrize("body", ["", "[]", "{}", "null", notification("kv-v2/data-write"), "[" * 100_000])
def test_what_is_no_notification_is_malformed(body: str) -> None:
    """Anything else on the stream is refused as malformed."""
    with pytest.raises(Malformed):
        notified(body)


@pytest.mark.parametrize("line", [b"", b"{}", b"GET / HTTP/1.1", b"\xff\xfe", b'{"type":"response"}', b"[" * 100_000])
def test_what_is_no_audit_entry_is_malformed(line: bytes) -> None:
    """Anything else on the socket is refused as malformed."""
    with pytest.raises(Malformed):
        audited(line)


@given(st.binary(max_size=200))
def test_any_bytes_are_told_passed_over_or_malformed(line: bytes) -> None:
    """No line does anything else."""
    try:
        audited(line)
    except Malformed:
        return


@given(
    operation=st.sampled_from(["create", "update"]),
    path=st.text(max_size=60),
    mount=st.text(max_size=20),
    identifier=st.text(max_size=150),
    time=st.text(max_size=30),
)
def test_any_entry_can_be_sent_on(operation: str, path: str, mount: str, identifier: str, time: str) -> None:
    """Whatever paths and ids say, a change that is told fits into a message."""
    try:
        told = audited(entry(operation, path, mount, time=time, request={"id": identifier}))
    except Malformed:
        return
    assert told is None or told.changed("vault", 1.0).to_bytes()
