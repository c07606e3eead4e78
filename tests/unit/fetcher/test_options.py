"""What an object of a class may say for every backend."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fetcher.document import read
from fetcher.options import (
    OPTION_FIELDS,
    PLAIN,
    SELECTION_FIELDS,
    Options,
    Selection,
    files,
    read_options,
    read_selection,
)
from fetcher.provider import Secret
from fetcher.shown import shown
from keyferry.errors import ContentTooLarge, InvalidSecretProviderClass, KeyferryError, SecretNotFound


def entry(text: str) -> dict[str, Any]:
    """The fields of an object, as a class has them."""
    found = read(text)
    assert isinstance(found, dict)
    return found


def options(text: str) -> Options:
    """Those of an object with which nothing is wrong."""
    problems: list[tuple[str, str]] = []
    found = read_options(entry(text), lambda name, problem: problems.append((name, problem)))
    assert not problems
    return found


def wrong(text: str) -> list[str]:
    """What is wrong with an object's options and selection."""
    problems: list[str] = []
    read_options(entry(text), lambda name, problem: problems.append(f"{name} {problem}"))
    read_selection(entry(text), lambda name, problem: problems.append(f"{name} {problem}"))
    return problems


def whole(contents: bytes) -> Secret:
    """An object as one file."""
    return Secret("db", contents, "object", "7", 0o400, "source")


def made(chosen: Options, contents: bytes) -> dict[str, bytes]:
    """The files that an object becomes."""
    return {secret.path: secret.contents for secret in files(chosen, whole(contents), "secret db")}


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("{}", PLAIN),
        ("{optional: ~, expand: '', maxBytes: null}", PLAIN),
        ("{optional: false}", PLAIN),
        ("{optional: true}", Options(optional=True)),
        ("{optional: 'TRUE'}", Options(optional=True)),
        ("{extractJSONKey: k}", Options(json_key="k")),
        ("{extractYAMLKey: 1}", Options(yaml_key="1")),
        ("{expand: json}", Options(expand="json")),
        ("{expand: yaml}", Options(expand="yaml")),
        ("{maxBytes: 65536}", Options(max_bytes=65536)),
        ("{maxBytes: 64Ki}", Options(max_bytes=65536)),
        ("{maxBytes: 4Mi}", Options(max_bytes=4 * 1024 * 1024)),
        ("{other: [1]}", PLAIN),
    ],
)
def test_an_object_says_what_becomes_of_it(text: str, meant: Options) -> None:
    """What it leaves out has no effect."""
    assert options(text) == meant


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{optional: yes}", "optional must be true or false"),
        ("{optional: [true]}", "optional must be a text"),
        ("{extractJSONKey: {a: b}}", "extractJSONKey must be a text"),
        (
            "{extractJSONKey: a, extractYAMLKey: b}",
            "extractJSONKey and extractYAMLKey can't be simultaneously non empty strings",
        ),
        ("{extractJSONKey: a, expand: json}", "expand cannot go with extractJSONKey or extractYAMLKey"),
        ("{extractYAMLKey: a, expand: yaml}", "expand cannot go with extractJSONKey or extractYAMLKey"),
        ("{expand: toml}", "expand must be one of json, yaml"),
        ("{expand: JSON}", "expand must be one of json, yaml"),
        *(
            (f"{{maxBytes: {size}}}", "maxBytes must be a size such as 65536 or 64Ki, of at most 4194304 bytes")
            for size in (
                "0",
                "-1",
                "5Mi",
                "4194305",
                "1Gi",
                "1e3",
                "64 Ki",
                "'\u0661'",
                "999999999999",
                "lots",
                "'1\n'",
            )
        ),
        ("{selectTags: a}", "selectTags must be a mapping of 1 to 64 tags to values"),
        ("{selectTags: {}}", "selectTags must be a mapping of 1 to 64 tags to values"),
        (yaml.safe_dump({"selectTags": {f"t{n}": "v" for n in range(65)}}), "selectTags must be a mapping of 1 to 64"),
        ("{selectTags: {a: [b]}}", "selectTags.a must be a text"),
        ('{selectTags: {"a\\nb": [b]}}', "selectTags.a?b must be a text"),
        ("{selectPrefix: [a]}", "selectPrefix must be a text"),
    ],
)
def test_what_an_object_cannot_say_is_told_by_its_field(text: str, told: str) -> None:
    """With what to write instead."""
    (problem,) = wrong(text)

    assert problem.startswith(told)


def test_all_that_is_wrong_is_told() -> None:
    """An author shall learn of it at once."""
    assert len(wrong("{optional: 1, expand: x, maxBytes: y, selectTags: z, selectPrefix: [], extractJSONKey: k}")) == 6


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("{}", None),
        ("{selectPrefix: '', selectTags: ~}", None),
        ("{selectPrefix: app/}", Selection("app/")),
        ("{selectTags: {b: 1, a: x}}", Selection("", (("a", "x"), ("b", "1")))),
        ("{selectPrefix: p, selectTags: {a: ~}}", Selection("p", (("a", ""),))),
    ],
)
def test_an_entry_may_stand_for_what_has_something_in_common(text: str, meant: Selection | None) -> None:
    """A prefix, tags in any order, or both; a tag of no value is an empty one."""
    assert read_selection(entry(text), lambda *problem: pytest.fail(str(problem))) == meant


def test_a_backend_without_tags_says_so() -> None:
    """A selection that would be understood by half would select too much."""
    problems: list[str] = []

    assert (
        read_selection(entry("{selectPrefix: p, selectTags: {a: b}}"), lambda *p: problems.extend(p), tags=False)
        is None
    )
    assert problems[0] == "selectTags"
    assert read_selection(entry("{selectPrefix: p}"), lambda *_: None, tags=False) == Selection("p")


@pytest.mark.parametrize(
    ("prefix", "name", "rest"),
    [
        ("app/", "app/db/user", "db/user"),
        ("/app", "/app/db", "db"),
        ("app-", "app-db", "db"),
        ("app", "app", "app"),
        ("team/app", "team/app", "app"),
        ("", "team/app", "team/app"),
    ],
)
def test_a_selected_object_is_named_by_the_rest_of_its_name(prefix: str, name: str, rest: str) -> None:
    """Or by its last part, where nothing is left."""
    assert Selection(prefix).rest(name) == rest


def test_an_object_without_options_is_one_file() -> None:
    """Byte for byte, and all else as it was."""
    for contents in (b"", b"\x00\xff", b'{"a": 1}'):
        assert list(files(PLAIN, whole(contents), "secret db")) == [whole(contents)]


def test_what_is_made_of_an_object_keeps_what_is_known_of_it() -> None:
    """Object, version, mode and source."""
    for chosen in (Options(json_key="k"), Options(yaml_key="k"), Options(expand="json"), Options(expand="yaml")):
        (found,) = files(chosen, whole(b'{"k": "v"}'), "secret db")

        assert (found.contents, found.object_id, found.version, found.mode, found.source) == (
            b"v",
            "object",
            "7",
            0o400,
            "source",
        )


def test_an_object_above_its_size_is_refused() -> None:
    """Before anything is taken out of it."""
    contents = b'{"k": "horse"}'

    assert made(Options(json_key="k", max_bytes=len(contents)), contents) == {"db": b"horse"}
    with pytest.raises(ContentTooLarge, match="secret db: 14 bytes, where maxBytes allows 13"):
        made(Options(json_key="k", max_bytes=len(contents) - 1), contents)


@pytest.mark.parametrize(
    ("contents", "value"),
    [
        (b'{"k": "v"}', b"v"),
        (b'{"k": ""}', b""),
        (b'{"k": "one", "k": "two"}', b"two"),
        ('{"k": "é"}'.encode(), "é".encode()),
        (b'{"k": "\\ud83d\\ude00"}', "😀".encode()),
        (b'{"k": "\\ud83d"}', "�".encode()),
        (b'{"k": "\xff"}', "�".encode()),
    ],
)
def test_a_text_is_taken_out_of_json(contents: bytes, value: bytes) -> None:
    """As Go decodes it."""
    assert made(Options(json_key="k"), contents) == {"db": value}


@pytest.mark.parametrize(
    ("contents", "value"),
    [
        (b"k: v", b"v"),
        (b"k: 'v'", b"v"),
        (b'k: "1"', b"1"),
        (b"k: yes", b"yes"),
        (b"k: off", b"off"),
        (b"k: 1:30", b"1:30"),
        (b"k: =", b"="),
        (b"k: |\n  a\n  b\n", b"a\nb\n"),
        (b"k: !!str 1", b"1"),
        (b"a: &x v\nk: *x", b"v"),
        (b'{"k": "v"}', b"v"),
        (b"1: v\nk: w", b"w"),
    ],
)
def test_a_text_is_taken_out_of_yaml(contents: bytes, value: bytes) -> None:
    """What Go's reader takes for a text, which is not what YAML 1.1 does."""
    assert made(Options(yaml_key="k"), contents) == {"db": value}


@pytest.mark.parametrize("value", ["1", "1.5", "true", "null", "[1]", '{"a": "b"}'])
def test_other_values_are_refused_in_upstreams_words(value: str) -> None:
    """In both languages."""
    for chosen, contents in ((Options(json_key="k"), f'{{"k": {value}}}'), (Options(yaml_key="k"), f"k: {value}")):
        with pytest.raises(InvalidSecretProviderClass, match="unsupported value type for key 'k'"):
            made(chosen, contents.encode())


@pytest.mark.parametrize("value", ["0o17", "017", "1e3", ".inf", "2026-01-01", "1_000", "~", "", "TRUE", "+1"])
def test_what_go_takes_for_no_text_is_none(value: str) -> None:
    """Though PyYAML would say otherwise of some."""
    with pytest.raises(InvalidSecretProviderClass, match="unsupported value type"):
        made(Options(yaml_key="k"), f"k: {value}".encode())


@pytest.mark.parametrize("contents", [b"{}", b'{"K": "v"}', b"null"])
def test_a_missing_key_is_not_found_in_upstreams_words(contents: bytes) -> None:
    """Also where there is nothing at all."""
    with pytest.raises(SecretNotFound, match="secret db: key 'k' not found in JSON"):
        made(Options(json_key="k"), contents)
    with pytest.raises(SecretNotFound, match="secret db: key 'k' not found in YAML"):
        made(Options(yaml_key="k"), contents)


def test_a_key_is_told_on_one_line_and_cut() -> None:
    """The text must fit into an Event."""
    with pytest.raises(SecretNotFound, match=r"key 'a\?b' not found"):
        made(Options(json_key="a\nb"), b"{}")
    assert shown("k" * 201) == "k" * 200 + "..."


@pytest.mark.parametrize(
    "contents",
    [b"horse: [", b"[1]", b'"k"', b"\x00", b"[" * 100_000, b"- " * 100_000, b"k: !x y", b"\xef\xbb\xbfhorse"],
)
@pytest.mark.parametrize(
    ("chosen", "language"),
    [
        (Options(json_key="k"), "JSON"),
        (Options(yaml_key="k"), "YAML"),
        (Options(expand="json"), "JSON"),
        (Options(expand="yaml"), "YAML"),
    ],
)
def test_what_is_no_mapping_is_refused_without_quoting_it(chosen: Options, language: str, contents: bytes) -> None:
    """The parsers' own texts would."""
    with pytest.raises(InvalidSecretProviderClass, match=f"failed to unmarshal {language}") as refused:
        made(chosen, contents)

    assert "horse" not in refused.value.message
    assert (refused.value.__cause__, refused.value.__context__) == (None, None)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "1" * 5000])
def test_numbers_that_json_does_not_have_are_refused(number: str) -> None:
    """Python's reader would take some."""
    for chosen in (Options(json_key="k"), Options(expand="json")):
        with pytest.raises(InvalidSecretProviderClass, match="failed to unmarshal JSON"):
            made(chosen, f'{{"k": "v", "n": {number}}}'.encode())


def test_every_key_of_json_becomes_a_file() -> None:
    """A text as it is, a number with its digits, a null not at all, anything else as JSON."""
    contents = b"""{
        "text": "v", "empty": "", "number": 1.50, "large": 12345678901234567890, "flag": true, "nothing": null,
        "list": [1, 1.5, "x", null], "map": {"\xc3\xa9": {"a": false}}, "half": "\\ud83d"
    }"""

    assert made(Options(expand="json"), contents) == {
        "db/text": b"v",
        "db/empty": b"",
        "db/number": b"1.50",
        "db/large": b"12345678901234567890",
        "db/flag": b"true",
        "db/list": b'[1, 1.5, "x", null]',
        "db/map": '{"é": {"a": false}}'.encode(),
        "db/half": "�".encode(),
    }


def test_every_key_of_yaml_becomes_a_file() -> None:
    """The same, with what only YAML can spell as it is written."""
    contents = b"""
text: v
quoted: "1"
number: 1.50
octal: 0400
day: 2026-01-01
flag: True
nothing: ~
list: [1, -1.5e3, 0x10, .inf, 1e999, true, ~, x, 2026-01-01]
map: {a: {b: [c]}}
"""

    assert made(Options(expand="yaml"), contents) == {
        "db/text": b"v",
        "db/quoted": b"1",
        "db/number": b"1.50",
        "db/octal": b"0400",
        "db/day": b"2026-01-01",
        "db/flag": b"True",
        "db/list": b'[1, -1500.0, "0x10", ".inf", "1e999", true, null, "x", "2026-01-01"]',
        "db/map": b'{"a": {"b": ["c"]}}',
    }


def test_files_come_in_one_order() -> None:
    """Whatever order the backend keeps the keys in."""
    assert list(made(Options(expand="json"), b'{"b": "2", "a": "1"}')) == ["db/a", "db/b"]


@pytest.mark.parametrize(
    "key",
    [
        "",
        ".",
        "..",
        "..data",
        "../horse",
        "a/b",
        "/horse",
        "a\x00b",
        "a\nhorse",
        "\x7f",
        "é" * 128,
        "x" * 256,
        "\ud83d",
    ],
)
def test_a_key_that_cannot_name_a_file_is_refused_without_quoting_it(key: str) -> None:
    """No file leaves its folder; the key itself may be a secret's."""
    with pytest.raises(
        InvalidSecretProviderClass, match=f"a key of {len(key)} characters cannot be a file's name"
    ) as no:
        made(Options(expand="json"), json.dumps({key: "v"}).encode())

    assert "horse" not in no.value.message


@pytest.mark.parametrize("key", ["a b", ".hidden", "a..b", "tls.crt", "é" * 127, "x" * 255, "a\\b"])
def test_a_key_that_can_name_a_file_does(key: str) -> None:
    """Up to what a file system takes."""
    assert made(Options(expand="json"), json.dumps({key: "v"}).encode()) == {f"db/{key}": b"v"}


def test_a_document_of_too_many_keys_is_refused() -> None:
    """Each would be a file."""
    contents = json.dumps({str(number): "v" for number in range(1001)}).encode()

    with pytest.raises(ContentTooLarge, match="has 1001 keys, where 1000 files are the most"):
        made(Options(expand="json"), contents)


def test_a_value_that_nests_too_deep_is_refused() -> None:
    """Python's recursion must not end the fetch as a defect of ours; whether it can be read is another limit."""
    told = set()
    for depth in range(100, 1500, 50):
        try:
            made(Options(expand="json"), b'{"k": ' + b"[" * depth + b"]" * depth + b"}")
        except InvalidSecretProviderClass as error:
            told.add(error.message.partition(": ")[2])

    assert told == {
        "a key's value is nested too deep to be a file",
        "failed to unmarshal JSON: Invalid JSON format for key extraction",
    }


def test_a_document_that_repeats_a_long_text_is_refused() -> None:
    """A few lines of YAML must not become gigabytes of files."""
    contents = f"a: &a {'x' * 1_000_000}\n".encode() + b"".join(f"k{n}: *a\n".encode() for n in range(900))

    with pytest.raises(InvalidSecretProviderClass, match="failed to unmarshal YAML"):
        made(Options(expand="yaml"), contents)


@pytest.mark.parametrize("chosen", [PLAIN, Options(json_key="k"), Options(expand="yaml"), Options(max_bytes=1)])
def test_a_value_does_not_show(chosen: Options) -> None:
    """Neither in what is made nor in what is said."""
    try:
        told = repr(list(files(chosen, whole(b'{"k": "horse"}'), "secret db")))
    except KeyferryError as error:
        told = error.message
    assert "horse" not in told


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(st.text(max_size=8), NESTED, max_size=4)
CHOICES = st.sampled_from(
    [PLAIN, Options(json_key="k"), Options(yaml_key="k"), Options(expand="json"), Options(expand="yaml")]
)


@given(
    CHOICES,
    st.binary(max_size=200)
    | DOCUMENTS.map(lambda document: json.dumps(document).encode())
    | DOCUMENTS.map(lambda document: yaml.safe_dump(document, allow_unicode=True).encode(errors="replace")),
)
def test_any_object_becomes_files_or_is_refused(chosen: Options, contents: bytes) -> None:
    """Whatever somebody put into it: every path stays below the object's, and is one that a message can carry."""
    try:
        found = list(files(chosen, whole(contents), "secret db"))
    except KeyferryError:
        found = []
    for secret in found:
        name = secret.path.removeprefix("db/")
        assert secret.path in ("db", f"db/{name}")
        assert "/" not in name
        assert not name.startswith("..")
        assert name.encode().isascii() or name.isprintable()


@given(st.dictionaries(st.sampled_from([*OPTION_FIELDS, *SELECTION_FIELDS]), NESTED))
def test_any_object_of_a_class_is_understood_or_told_to_be_wrong(fields: dict[str, Any]) -> None:
    """Nothing is raised; sizes and languages that are understood are sound."""
    problems: list[str] = []
    text = yaml.safe_dump(fields, allow_unicode=True)

    found = read_options(entry(text), lambda name, problem: problems.append(f"{name} {problem}"))
    selection = read_selection(entry(text), lambda name, problem: problems.append(f"{name} {problem}"))

    assert problems or found.expand in ("", "json", "yaml")
    assert problems or found.max_bytes is None or 0 < found.max_bytes <= 4 * 1024 * 1024
    assert selection is None or selection.prefix or selection.tags
