"""Whoever applies a class that could never work is warned, and never refused."""

from pathlib import Path
from typing import Any

import cel
import pytest
import yaml

EXAMPLES = Path(__file__).parents[3] / "deploy" / "examples"
GOOD: dict[str, Any] = {"provider": "vault", "parameters": {"objects": "x"}}
SECRET = {"secretName": "app", "type": "Opaque", "data": [{"objectName": "pw", "key": "pw"}]}


@pytest.fixture
def warned(render: Any) -> Any:
    """The warnings that a class gets."""
    policy = render().one("ValidatingAdmissionPolicy", "keyferry-classes")["spec"]

    def warnings(body: dict[str, Any]) -> list[str]:
        return [
            each["message"] for each in policy["validations"] if not cel.evaluate(each["expression"], {"object": body})
        ]

    return warnings


def test_it_warns_and_no_more(render: Any) -> None:
    """What today's driver takes is taken, also when the policy cannot be evaluated."""
    rendered = render()

    assert rendered.one("ValidatingAdmissionPolicyBinding", "keyferry-classes")["spec"]["validationActions"] == ["Warn"]
    assert rendered.one("ValidatingAdmissionPolicy", "keyferry-classes")["spec"]["failurePolicy"] == "Ignore"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({**GOOD, "provider": ""}, "names no provider"),
        ({**GOOD, "provider": "../vault"}, "names no provider"),
        ({**GOOD, "provider": "x" * 31}, "names no provider"),
        ({"parameters": {"a": "b"}}, "names no provider"),
        ({**GOOD, "parameters": {}}, "spec.parameters is empty"),
        ({"provider": "vault"}, "spec.parameters is empty"),
        ({**GOOD, "secretObjects": [SECRET, {**SECRET, "secretName": ""}]}, "an entry without secretName"),
        ({**GOOD, "secretObjects": [{"secretName": "a", "data": []}]}, "an entry without secretName"),
        ({**GOOD, "secretObjects": [{**SECRET, "type": "bootstrap.kubernetes.io/token"}]}, "gives or takes"),
    ],
)
def test_what_could_never_work(warned: Any, spec: dict[str, Any], words: str) -> None:
    """The field is named, and what to write."""
    (text,) = warned({"spec": spec})

    assert words in text


def test_an_empty_class(warned: Any) -> None:
    """It lacks both."""
    assert len(warned({})) == len(warned({"spec": {}})) == 2


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*-secret-provider.yaml")), ids=lambda path: path.name)
def test_the_guides_classes(warned: Any, path: Path) -> None:
    """None of them gets a warning."""
    assert warned(yaml.safe_load(path.read_text())) == []
