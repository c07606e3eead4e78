import pytest

from fetcher.providers.aws.parameters import parse
from fetcher.providers.aws.wanted import Parameters
from keyferry.errors import InvalidSecretProviderClass

NAME = "objectName: s, objectType: ssmparameter"


def parsed(objects: str, **parameters: str) -> Parameters:
    return parse({"objects": objects, "region": "eu-west-1", **parameters}, default_region="")


def refusal(objects: str, **parameters: str) -> str:
    with pytest.raises(InvalidSecretProviderClass) as refused:
        parsed(objects, **parameters)
    return refused.value.message


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("", "", "duplicate object name s, no object alias, and no version label"),
        ("objectAlias: a", "objectAlias: a", "duplicate object name s, duplicate object alias a, and no version label"),
        (
            "objectVersionLabel: l",
            "objectVersionLabel: l",
            "duplicate object name s, no object alias, and duplicate version label l",
        ),
        (
            "objectAlias: a, objectVersionLabel: l",
            "objectAlias: a, objectVersionLabel: l",
            "duplicate object name s, duplicate object alias a, and duplicate version label l",
        ),
        (
            "objectAlias: a, objectVersionLabel: l",
            "objectAlias: a, objectVersionLabel: m",
            "found duplicate object alias a",
        ),
    ],
)
def test_two_entries_that_cannot_be_told_apart_are_refused(first: str, second: str, message: str) -> None:
    """The same name twice needs another alias or label; an alias may be used once."""
    assert message in refusal(f"- {{{NAME}, {first}}}\n- {{{NAME}, {second}}}")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("objectAlias: a", "objectAlias: b"),
        ("objectAlias: a", ""),
        ("objectVersionLabel: l", "objectVersionLabel: m"),
        ("objectAlias: a, objectVersionLabel: l", "objectAlias: b, objectVersionLabel: l"),
    ],
)
def test_two_entries_that_can_be_told_apart_are_accepted(first: str, second: str) -> None:
    """Upstream accepts these; so must we."""
    assert len(parsed(f"- {{{NAME}, {first}}}\n- {{{NAME}, {second}}}").objects) == 2


@pytest.mark.parametrize(
    "objects",
    [
        f"- {{{NAME}, objectAlias: a}}\n- {{objectName: t, objectType: ssmparameter, objectAlias: a}}",
        f"- {{{NAME}, objectAlias: a, jmesPath: [{{path: x, objectAlias: a}}]}}",
        f"- {{{NAME}, jmesPath: [{{path: x, objectAlias: a}}, {{path: y, objectAlias: a}}]}}",
        f"[{{{NAME}, jmesPath: [{{path: x, objectAlias: a}}]}}, {{objectName: t, objectType: ssm, objectAlias: a}}]",
    ],
)
def test_an_alias_may_be_used_once_in_the_whole_class(objects: str) -> None:
    """Whether of an object or of a jmesPath entry, a second use of an alias must be refused."""
    assert "found duplicate object alias a" in refusal(objects)


def test_a_file_cannot_also_be_a_directory() -> None:
    """With nested paths `a` and `a/b` cannot both be written."""
    objects = f"- {{{NAME}, objectAlias: a/b/c}}\n- {{objectName: a, objectType: secretsmanager}}"
    assert "objects[1] writes the file a, below which objects[0] writes another" in refusal(
        objects, pathTranslation="False"
    )
