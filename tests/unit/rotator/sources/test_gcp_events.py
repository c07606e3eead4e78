"""Secret Manager's notifications and audit log entries in our words."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.sources.document import Malformed
from rotator.sources.gcp_events import change

SECRET = {"eventType": "SECRET_VERSION_ADD", "secretId": "projects/1234/secrets/db", "versionId": "x"}


def logged(service: str, method: str, resource: str, **payload: Any) -> bytes:
    about = {"serviceName": service, "methodName": method, "resourceName": resource, **payload}
    return json.dumps({"protoPayload": about, "timestamp": "2026-11-24T12:00:00.123456789Z"}).encode()


PARAMETER = "projects/shop/locations/global/parameters/settings"
METHOD = "google.cloud.parametermanager.v1.ParameterManager."

UNDERSTOOD = {
    "a version": (SECRET, b"{}", "secrets/db"),
    "a regional one": ({**SECRET, "secretId": "projects/1/locations/europe-west3/secrets/db"}, b"{}", "secrets/db"),
    "a version enabled": ({**SECRET, "eventType": "SECRET_VERSION_ENABLE"}, b"{}", "secrets/db"),
    "other aliases": ({**SECRET, "eventType": "SECRET_UPDATE"}, b"{}", "secrets/db"),
    "a parameter's version": (
        {},
        logged("parametermanager.googleapis.com", f"{METHOD}CreateParameterVersion", f"{PARAMETER}/versions/2"),
        "parameters/settings",
    ),
    "a logged secret": (
        {},
        logged("secretmanager.googleapis.com", "x.AddSecretVersion", "projects/1/secrets/db"),
        "secrets/db",
    ),
}

IRRELEVANT: dict[str, tuple[dict[str, str], bytes]] = {
    "a reminder": ({**SECRET, "eventType": "SECRET_ROTATE"}, b"{}"),
    "a test message": ({"eventType": "TOPIC_CONFIGURED"}, b""),
    "a logged read": ({}, logged("parametermanager.googleapis.com", f"{METHOD}RenderParameterVersion", PARAMETER)),
    "a logged refusal": (
        {},
        logged("parametermanager.googleapis.com", f"{METHOD}CreateParameterVersion", PARAMETER, status={"code": 7}),
    ),
    "another service": ({}, logged("compute.googleapis.com", "v1.compute.instances.insert", "projects/1/x")),
}

MALFORMED: dict[str, tuple[dict[str, str], bytes]] = {
    "nothing": ({}, b""),
    "no JSON": ({}, b"\xff"),
    "no entry": ({}, b"{}"),
    "no secret": ({"eventType": "SECRET_VERSION_ADD"}, b"{}"),
    "a name cut short": ({**SECRET, "secretId": "projects/1234"}, b"{}"),
    "another kind of name": ({**SECRET, "secretId": "projects/1/topics/db"}, b"{}"),
}


@pytest.mark.parametrize("case", UNDERSTOOD)
def test_what_changes_a_value_is_told_by_its_canonical_name(case: str) -> None:
    """Every kind of message that changes a value gives the name that contents are known by, without the project."""
    attributes, data, source = UNDERSTOOD[case]
    told = change(attributes, data, "m-1")
    assert told
    assert (told.sources, told.event_id) == ((source,), "m-1")


@pytest.mark.parametrize("case", IRRELEVANT)
def test_what_changes_no_value_tells_nothing(case: str) -> None:
    """Messages that are well-formed and change nothing are passed over."""
    assert change(*IRRELEVANT[case], "m-1") is None


@pytest.mark.parametrize("case", MALFORMED)
def test_what_cannot_be_understood_is_malformed(case: str) -> None:
    """Anything else is refused as malformed."""
    with pytest.raises(Malformed):
        change(*MALFORMED[case], "m-1")


@given(
    st.dictionaries(st.sampled_from(["eventType", "secretId", "timestamp", "other"]), st.text(max_size=40)),
    st.binary(max_size=60),
    st.text(max_size=20),
)
def test_anything_is_told_passed_over_or_malformed(attributes: dict[str, str], data: bytes, message_id: str) -> None:
    """No message does anything else, and what is told can be sent on."""
    try:
        told = change(attributes, data, message_id)
    except Malformed:
        return
    assert told is None or told.changed("gcp", 1.0).to_bytes()


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_name_is_kept_or_malformed(project: str, name: str) -> None:
    """A secret's id is told as it is, or not at all."""
    attributes = {"eventType": "SECRET_VERSION_ADD", "secretId": f"projects/{project}/secrets/{name}"}
    try:
        told = change(attributes, b"", "m-1")
    except Malformed:
        return
    assert told
    assert name.startswith(told.sources[0].removeprefix("secrets/")) or "/" in project
