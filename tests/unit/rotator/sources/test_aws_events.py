"""EventBridge's events in our words."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.sources.aws_events import change, secret_names
from rotator.sources.document import Malformed
from rotator.sources.source import Change

ARN = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:app/db-a1B2c3"


def event(origin: str, kind: str, detail: dict[str, Any], **more: Any) -> str:
    about = {"version": "0", "id": "e-1", "time": "2026-11-24T12:00:00Z", "resources": [], **more}
    return json.dumps({**about, "source": origin, "detail-type": kind, "detail": detail})


def call(name: str, **detail: Any) -> str:
    return event("aws.secretsmanager", "AWS API Call via CloudTrail", {"eventName": name, **detail})


UNDERSTOOD = {
    "label": (
        event("aws.secretsmanager", "Secret Label Updated", {"name": "app/db", "labelUpdated": "AWSCURRENT"}),
        ("secretsmanager/app/db",),
    ),
    "label, by its resource": (
        event("aws.secretsmanager", "Secret Label Updated", {}, resources=[ARN]),
        ("secretsmanager/app/db", "secretsmanager/app/db-a1B2c3"),
    ),
    "put": (
        call("PutSecretValue", requestParameters={"secretId": "app/db"}, responseElements=None),
        ("secretsmanager/app/db",),
    ),
    "put, by its answer": (
        call("PutSecretValue", requestParameters={"secretId": "x"}, responseElements={"arn": ARN}),
        ("secretsmanager/app/db", "secretsmanager/app/db-a1B2c3"),
    ),
    "update, as reported before 2024": (
        call("UpdateSecret", requestParameters={"secretId": "x"}, responseElements={"aRN": ARN}),
        ("secretsmanager/app/db", "secretsmanager/app/db-a1B2c3"),
    ),
    "stage": (call("UpdateSecretVersionStage", requestParameters={"secretId": "a"}), ("secretsmanager/a",)),
    "restore": (call("RestoreSecret", requestParameters={"secretId": "a"}), ("secretsmanager/a",)),
    "rotation": (
        event(
            "aws.secretsmanager",
            "AWS Service Event via CloudTrail",
            {"eventName": "RotationSucceeded", "additionalEventData": {"SecretId": ARN}},
        ),
        ("secretsmanager/app/db", "secretsmanager/app/db-a1B2c3"),
    ),
    "parameter": (
        event("aws.ssm", "Parameter Store Change", {"operation": "Update", "name": "/app/db", "type": "String"}),
        ("ssm/app/db",),
    ),
    "label of a parameter": (
        event("aws.ssm", "Parameter Store Change", {"operation": "LabelParameterVersion", "name": "db"}),
        ("ssm/db",),
    ),
    "parameter by its ARN": (
        event(
            "aws.ssm",
            "AWS API Call via CloudTrail",
            {"eventName": "PutParameter", "requestParameters": {"name": "arn:aws:ssm:e:1:parameter/app/db"}},
        ),
        ("ssm/app/db",),
    ),
}

IRRELEVANT = {
    "a read": call("GetSecretValue", requestParameters={"secretId": "app/db"}),
    "a call that was refused": call("PutSecretValue", errorCode="AccessDenied", requestParameters={"secretId": "a"}),
    "a rotation that failed": event(
        "aws.secretsmanager", "AWS Service Event via CloudTrail", {"eventName": "RotationFailed"}
    ),
    "another service": event("aws.ec2", "EC2 Instance State-change Notification", {}),
    "a policy of a parameter": event("aws.ssm", "Parameter Store Policy Action", {"parameter-name": "a"}),
}

MALFORMED = {
    "no JSON": "hello",
    "a list": "[]",
    "no event": "{}",
    "no name": call("PutSecretValue"),
    "a name that cannot be sent on": call("PutSecretValue", requestParameters={"secretId": "\ud800"}),
    "no id": event("aws.ssm", "Parameter Store Change", {"operation": "Update", "name": "/a"}, id=""),
    "only slashes": event("aws.ssm", "Parameter Store Change", {"operation": "Update", "name": "///"}),
    "deep": "[" * 100_000,
    "a number too long": '{"a":' + "9" * 10_000 + "}",
}


@pytest.mark.parametrize("case", UNDERSTOOD)
def test_what_changes_a_value_is_told_by_its_canonical_name(case: str) -> None:
    """Every kind of event that changes a value gives the names that contents are known by."""
    body, sources = UNDERSTOOD[case]
    assert change(body) == Change(sources, "e-1", 1795521600.0)


@pytest.mark.parametrize("case", IRRELEVANT)
def test_what_changes_no_value_tells_nothing(case: str) -> None:
    """Events that are well-formed and change nothing are passed over."""
    assert change(IRRELEVANT[case]) is None


@pytest.mark.parametrize("case", MALFORMED)
def test_what_cannot_be_understood_is_malformed(case: str) -> None:
    """Anything else is refused as malformed, whatever it is."""
    with pytest.raises(Malformed):
        change(MALFORMED[case])


@given(st.text(min_size=1, max_size=200))
def test_an_arn_gives_the_name_without_its_suffix(name: str) -> None:
    """The name that a class writes is among the names of the secret's full ARN, whatever the name."""
    assert f"secretsmanager/{name}" in secret_names(f"arn:aws:secretsmanager:r:1:secret:{name}-a1B2c3")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "id": JSON,
            "time": JSON,
            "source": st.sampled_from(["aws.secretsmanager", "aws.ssm"]) | JSON,
            "detail-type": st.sampled_from(
                ["Secret Label Updated", "AWS API Call via CloudTrail", "Parameter Store Change"]
            )
            | JSON,
            "resources": JSON,
            "detail": st.fixed_dictionaries(
                {},
                optional={
                    "eventName": st.sampled_from(["PutSecretValue", "PutParameter"]) | JSON,
                    "operation": st.just("Update") | JSON,
                    "name": JSON,
                    "requestParameters": JSON,
                    "responseElements": JSON,
                },
            )
            | JSON,
        },
    )
    | JSON
)
def test_anything_is_told_passed_over_or_malformed(value: Any) -> None:
    """No shape of event does anything else, and what is told can be sent on."""
    try:
        told = change(json.dumps(value))
    except Malformed:
        return
    assert told is None or told.changed("aws", 1.0).to_bytes()
