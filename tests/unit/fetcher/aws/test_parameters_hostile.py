import contextlib
import string

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fetcher.providers.aws.parameters import FAILOVER_FIELDS, JMES_FIELDS, OBJECT_FIELDS, PARAMETERS, parse
from keyferry.errors import InvalidSecretProviderClass

# jmespath warns of literals that its specification deprecates; it is the class author's business.
pytestmark = pytest.mark.filterwarnings("ignore:deprecated string literal syntax:PendingDeprecationWarning")

TEXTS = st.text(max_size=40) | st.text(alphabet="arn:ws/.{}[]@`'\"\\&|<>!?*0123 -~#", max_size=40)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS | st.sampled_from(OBJECT_FIELDS), inner),
    max_leaves=12,
)


def entries(fields: tuple[str, ...], values: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    return st.dictionaries(st.sampled_from(fields), values | SCALARS, max_size=len(fields))


OBJECTS = st.lists(
    entries(
        OBJECT_FIELDS,
        ANYTHING
        | st.lists(entries(JMES_FIELDS, SCALARS), max_size=3)
        | entries(FAILOVER_FIELDS, SCALARS)
        | st.dictionaries(TEXTS, SCALARS, max_size=3)
        | st.sampled_from(["secretsmanager", "ssmparameter", "0644", "arn:aws:ssm:r:1:parameter/x", "json", "64Ki"]),
    ),
    max_size=4,
)


def check(parameters: dict[str, str]) -> None:
    with contextlib.suppress(InvalidSecretProviderClass):
        found = parse(parameters, default_region="eu-west-1")
        files = [each.file for each in found.objects if each.file or not each.selection] + [
            e.file for each in found.objects for e in each.extracts
        ]
        assert all(file and not file.startswith("/") and ".." not in file.split("/") for file in files)


@given(st.dictionaries(st.sampled_from(PARAMETERS), TEXTS))
def test_any_parameters_are_understood_or_refused(parameters: dict[str, str]) -> None:
    """Whatever a class holds, nothing but InvalidSecretProviderClass may escape."""
    check(parameters)


@given(OBJECTS | ANYTHING, st.sampled_from(["", "False", "-", "."]), st.sampled_from(["", "eu-west-2"]))
def test_any_yaml_is_understood_or_refused(objects: object, translation: str, failover: str) -> None:
    """Objects of any shape are understood or refused, and no file name leaves the volume."""
    text = yaml.safe_dump(objects, allow_unicode=True)
    check({"objects": text, "pathTranslation": translation, "failoverRegion": failover})


@given(st.text(alphabet=string.printable, max_size=200))
def test_any_text_is_understood_or_refused(objects: str) -> None:
    """Objects that are not even YAML are refused like any other mistake."""
    check({"objects": objects})
