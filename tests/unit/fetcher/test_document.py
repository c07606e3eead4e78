"""The YAML reader of classes and secrets: what it takes, and what it refuses, soon and without quoting it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fetcher.document import DocumentError, Scalar, Value, read

GROWING = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{after}: &{after} [{','.join([f'*{before}'] * 10)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGING = "a: &a {k: v}\n" + "".join(
    f"{after}: &{after} {{<<: [{','.join([f'*{before}'] * 10)}], {after}: v}}\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)


def plain(value: Value) -> Any:
    """A document in Python's own types, scalars as pairs."""
    if isinstance(value, Scalar):
        return (value.kind, value.text)
    return (
        [plain(item) for item in value]
        if isinstance(value, list)
        else {key: plain(item) for key, item in value.items()}
    )


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("v", "str"),
        ("yes", "str"),
        ("off", "str"),
        ("1:30", "str"),
        ("=", "str"),
        ("'1'", "str"),
        ("!!str 1", "str"),
        ("1", "int"),
        ("+1", "int"),
        ("0400", "int"),
        ("0o17", "int"),
        ("0x1f", "int"),
        ("-0b1", "int"),
        ("1_000", "int"),
        ("08", "float"),
        ("0E0", "float"),
        ("1.50", "float"),
        ("1e3", "float"),
        (".inf", "float"),
        (".NaN", "float"),
        ("true", "bool"),
        ("False", "bool"),
        ("2026-01-01", "timestamp"),
        ("2026-01-01T10:00:00Z", "timestamp"),
        ("~", "null"),
        ("null", "null"),
    ],
)
def test_a_scalar_has_the_kind_that_gos_reader_gives_it(text: str, kind: str) -> None:
    """Which YAML 1.1's types, PyYAML's own, are not; its text stays as it is written."""
    found = read(f"k: {text}")

    assert plain(found) == {"k": (kind, text.removeprefix("!!str ").strip("'"))}


@pytest.mark.parametrize("text", ["", "  ", "# nothing", "---", "null"])
def test_a_document_of_nothing_is_null(text: str) -> None:
    """Whether there is a document or not."""
    assert plain(read(text))[0] == "null"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("- a\n- [b, {c: d}]", ["a", ["b", {"c": "d"}]]),
        ("k: |\n  a\n  b\n", {"k": "a\nb\n"}),
        ("k: >-\n  a\n  b\n", {"k": "a b"}),
        ("- &x {a: b}\n- *x", [{"a": "b"}, {"a": "b"}]),
        ("- &x {a: b, c: d}\n- {<<: *x, c: e}", [{"a": "b", "c": "d"}, {"a": "b", "c": "e"}]),
        ("- &x {a: b}\n- {a: c, <<: *x}", [{"a": "b"}, {"a": "c"}]),
        ("- &x {a: b}\n- &y {a: c, d: e}\n- <<: [*x, *y]", [{"a": "b"}, {"a": "c", "d": "e"}, {"a": "b", "d": "e"}]),
        ("'<<': x", {"<<": "x"}),
        ('"\\u00e9\\0": x', {"é\0": "x"}),
        ("\ufeffa: b", {"a": "b"}),
    ],
)
def test_a_document_means_what_it_means_to_go(text: str, meant: Any) -> None:
    """Anchors, merges and block texts; a mapping's own keys win over merged ones, the first merged over later ones."""

    def texts(value: Value) -> Any:
        if isinstance(value, Scalar):
            return value.text
        return [texts(v) for v in value] if isinstance(value, list) else {k: texts(v) for k, v in value.items()}

    assert texts(read(text)) == meant


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: horse: b", "is not valid YAML at line 1, column 9"),
        ("a: 1\nhorse: [", "is not valid YAML at line 3, column 1"),
        ("horse\n---\nhorse", "is not valid YAML at line"),
        ("a: *horse", "is not valid YAML at line 1, column 4"),
        ("- \x00horse", "characters that YAML does not allow"),
        ("- \ud83dhorse", "characters that YAML does not allow"),
        ('- "\\ud83d"', "is not valid YAML"),
        ("- {horse: 1, horse: 2}", "has a mapping key twice at line 1, column 14"),
        ("- {? [horse] : 2}", "has a mapping key that is no text at line 1, column 6"),
        ("- {<<: horse}", "merges something that is no mapping at line 1, column 8"),
        ("- !!python/object/apply:os.system [horse]", "has a tag that is not supported at line 1, column 3"),
        ("- !horse x", "has a tag that is not supported"),
        ("- !!binary aG9yc2U=", "has a tag that is not supported"),
        ("- <<", "has a tag that is not supported"),
        ("&horse [*horse]", "nests too deep"),
        ("&horse {horse: *horse}", "nests too deep"),
    ],
)
def test_what_is_wrong_is_said_by_place_alone(text: str, problem: str) -> None:
    """The text may be a secret's: neither the error nor what comes along with it quotes it."""
    with pytest.raises(DocumentError) as refused:
        read(text)

    assert problem in str(refused.value)
    assert "horse" not in str(refused.value)
    assert (refused.value.__cause__, refused.value.__context__) == (None, None)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: "[" * 100_000, "deeper than 32"),
        (lambda: "- " * 100_000 + "x", "deeper than 32"),
        (lambda: "{a: " * 40_000, "deeper than 32"),
        (lambda: "x" * 300_000, "is 300000 characters long: 262144 are the most"),
        (lambda: "[" + "a," * 100_000 + "]", "stands for more than 20000 values"),
        (lambda: "- a\n" * 20_000, "stands for more than 20000 values"),
        (lambda: GROWING, "stands for more than 20000 values"),
        (lambda: MERGING, "stands for more than 20000 values"),
        (lambda: f"- &a {'x' * 100_000}\n- *a\n- *a\n", "repeats long texts by reference"),
        (lambda: f"- &a {{? {'x' * 1000} : v}}\n" + "- *a\n" * 500, "repeats long texts by reference"),
    ],
)
def test_a_document_that_would_cost_too_much_is_refused(make: Callable[[], str], problem: str) -> None:
    """Deep, long, or standing for far more than it shows: before it costs much."""
    with pytest.raises(DocumentError, match=problem):
        read(make())


def test_its_limits_can_be_the_callers() -> None:
    """A secret may be longer than a class, and a class's parameters are flat."""
    assert plain(read("x" * 300_000, longest=300_000)) == ("str", "x" * 300_000)
    with pytest.raises(DocumentError, match="deeper than 1 "):
        read("- [a]", deepest=1)


def test_a_value_does_not_show() -> None:
    """It may be a secret's."""
    assert "horse" not in repr(read("- [horse, {k: horse}]"))


@given(st.text(max_size=200) | st.text(alphabet="&*<>!|{}[]:-?,'\"#%@` \nab01~", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but `DocumentError` escapes, whatever somebody wrote."""
    with suppress(DocumentError):
        read(text)


SCALARS = st.text(max_size=20) | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False)
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


@given(DOCUMENTS)
def test_what_a_yaml_writer_writes_is_read_back(document: Any) -> None:
    """Every text, list and mapping as it was; other scalars as texts of their kind."""

    def same(value: Value, meant: Any) -> bool:
        if isinstance(value, Scalar):
            kinds = {bool: "bool", int: "int", type(None): "null", str: "str"}
            return value.kind == kinds.get(type(meant), value.kind) and (
                not isinstance(meant, str) or value.text == meant
            )
        if isinstance(value, list):
            return all(same(*pair) for pair in zip(value, meant, strict=True))
        return value.keys() == meant.keys() and all(same(value[key], meant[key]) for key in value)

    # In quotes: without, PyYAML writes texts that are numbers to Go, such as 0o17 and 0E0.
    assert same(read(yaml.safe_dump(document, default_style='"')), document)
