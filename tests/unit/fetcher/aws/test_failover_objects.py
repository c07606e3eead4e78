import pytest

from fetcher.providers.aws.parameters import parse
from fetcher.providers.aws.wanted import Parameters, Wanted
from keyferry.errors import InvalidSecretProviderClass

ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:app-a1B2c3"
NAME = "objectName: s, objectType: ssmparameter"


def parsed(objects: str, **parameters: str) -> Parameters:
    return parse({"objects": objects, "region": "eu-west-1", **parameters}, default_region="")


def refusal(objects: str, **parameters: str) -> str:
    with pytest.raises(InvalidSecretProviderClass) as refused:
        parsed(objects, **parameters)
    return refused.value.message


@pytest.mark.parametrize(
    ("entry", "failover", "message"),
    [
        ("failoverObject: {objectName: b}", "eu-west-2", "objectAlias must be specified for objects with failover"),
        (
            "objectAlias: x, failoverObject: {objectName: b}",
            "",
            "objects[0].failoverObject failover object allowed only when failover region is defined",
        ),
        (
            "objectAlias: x, objectVersion: 1, failoverObject: {objectName: b}",
            "eu-west-2",
            "object versions must match between primary and failover regions",
        ),
        (
            f"objectAlias: x, failoverObject: {{objectName: '{ARN.replace('secretsmanager', 'ssm')}'}}",
            "eu-west-2",
            "ARN region must match region eu-west-2",
        ),
        (
            "objectAlias: x, failoverObject: {objectName: b, objectVersion: 1, objectVersionLabel: l}",
            "eu-west-2",
            "objects[0].failoverObject.objectVersionLabel ssm parameters can not specify both",
        ),
    ],
)
def test_a_failover_object_follows_upstreams_rules(entry: str, failover: str, message: str) -> None:
    """An object of the failover region needs an alias, a failover region and the primary's version."""
    assert message in refusal(f"- {{{NAME}, {entry}}}", failoverRegion=failover)


def test_what_a_failover_object_leaves_out_is_as_in_the_primary_region() -> None:
    """A failoverObject of a label alone changes the label alone."""
    (only,) = parsed(f"- {{{NAME}, failoverObject: {{objectVersionLabel: l}}}}", failoverRegion="eu-west-2").objects
    assert only.wanted == (Wanted("s"), Wanted("s", label="l"))
