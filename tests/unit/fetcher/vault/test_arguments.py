"""What `objects` and `secretArgs` mean: as Go reads them, whatever stands there, and in time."""

import json
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fetcher.document import LONGEST, DocumentError, Scalar, read
from fetcher.providers.vault.arguments import to_json

BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{after}: &{after} [{','.join([f'*{before}'] * 10)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGE_BOMB = "a: &a {k: v}\n" + "".join(
    f"{after}: &{after} {{<<: [{','.join([f'*{before}'] * 10)}], {after}: v}}\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("# nothing", None),
        ("~", None),
        ("a: 1", {"a": 1}),
        ("a: 0644", {"a": 0o644}),
        ("a: -0x1F", {"a": -31}),
        ("a: 1_000", {"a": 1000}),
        ("a: 1.50", {"a": 1.5}),
        ("a: 8.0", {"a": 8}),
        ("a: 0o17", {"a": 15}),
        ("a: -017", {"a": -15}),
        ("a: 089", {"a": 89}),
        ("a: 0b101", {"a": 5}),
        ("a: 18446744073709551615", {"a": 18446744073709551615}),
        ("a: 18446744073709551617", {"a": 18446744073709551616}),
        ("a: 1e30", {"a": 1e30}),
        ("a: 1e999", {"a": "1e999"}),
        ("a: 0x_", {"a": "0x_"}),
        ("a: true", {"a": True}),
        ("a: yes", {"a": "yes"}),
        ("a: off", {"a": "off"}),
        ("a: 2024-01-01", {"a": "2024-01-01"}),
        ("a: 12:30", {"a": "12:30"}),
        ("a: .inf", {"a": ".inf"}),
        ("a: '1'", {"a": "1"}),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
        ("- a\n- [b, {c: d}]", ["a", ["b", {"c": "d"}]]),
        ("yes: 1", {"yes": 1}),
        ("- &x {a: 1}\n- *x", [{"a": 1}, {"a": 1}]),
        ("- &x {a: 1, b: 2}\n- {<<: *x, b: 3}", [{"a": 1, "b": 2}, {"a": 1, "b": 3}]),
        ("- &x {a: 1}\n- &y {a: 2, b: 2}\n- <<: [*x, *y]", [{"a": 1}, {"a": 2, "b": 2}, {"a": 1, "b": 2}]),
    ],
)
def test_documents_mean_what_they_mean_to_go(text: str, expected: Any) -> None:
    """By YAML 1.2's types, with YAML 1.1's octal numbers, as upstream's reader has it; anchors and merges work."""
    assert to_json(read(text)) == expected


@pytest.mark.parametrize("text", ["0123", "yes", "1.10", "2024-01-01", "1_000"])
def test_a_scalar_keeps_its_text(text: str) -> None:
    """A field that wants a text gets what the author wrote."""
    found = read(text)

    assert isinstance(found, Scalar)
    assert found.text == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", "is not valid YAML at line"),
        ("a: b: c", "is not valid YAML at line 1, column 5"),
        ("a: *nowhere", "is not valid YAML at line 1"),
        ("a\n---\nb", "is not valid YAML at line 2"),
        ("a: \x00", "is not valid YAML"),
        ("a: \ud800", "is not valid YAML"),
        ("a: 1\na: 2", "has a mapping key twice at line 2, column 1"),
        ("[1]: 2", "has a mapping key that is no text"),
        ("<<: 1", "merges something that is no mapping"),
        ("!!python/object/apply:os.system ['true']", "has a tag that is not supported"),
        ("a: !!python/name:os.system x", "has a tag that is not supported"),
        ("!own {a: b}", "has a tag that is not supported"),
        ("a: !own x", "has a tag that is not supported"),
        ("a: !!binary aGk=", "has a tag that is not supported"),
        ("[" * 50 + "]" * 50, "is nested deeper than 32 levels"),
        ("- " * 50, "is nested deeper than 32 levels"),
        ("[" * 200_000, "is nested deeper than 32 levels"),
        ("x" * (LONGEST + 1), "characters long"),
        (BOMB, "stands for more than 20000 values"),
        (MERGE_BOMB, "stands for more than 20000 values"),
        ("&a [*a]", "nests too deep where it refers to itself"),
        ("&a {b: *a}", "nests too deep where it refers to itself"),
    ],
)
def test_what_is_wrong_is_said_by_place(text: str, problem: str) -> None:
    """Bombs and cycles end as quickly as a misplaced colon."""
    with pytest.raises(DocumentError, match=problem):
        read(text)


@given(
    st.text(alphabet=st.characters(), max_size=200) | st.text(alphabet="-[]{}:,&*!#|>'\"%@` \n\tab01<~", max_size=60)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    """No other error comes out of the YAML library, and what was read can be written as JSON."""
    with suppress(DocumentError):
        json.dumps(to_json(read(text)), allow_nan=False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_what_a_yaml_writer_writes_is_read_back(value: Any) -> None:
    """JSON's types survive; in quotes, for unquoted some texts are numbers to Go that are none to PyYAML."""
    assert to_json(read(yaml.safe_dump(value, default_style='"'))) == value
