import json
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.provider import Secret
from fetcher.providers.aws.parameters import parse
from fetcher.providers.aws.values import Value, files
from keyferry.errors import InvalidSecretProviderClass, KeyferryError, SecretNotFound

# jmespath warns of literals that its specification deprecates; it is the class author's business.
pytestmark = pytest.mark.filterwarnings("ignore:deprecated string literal syntax:PendingDeprecationWarning")


def extracted(value: bytes, path: str, **more: str) -> list[Secret]:
    entry = json.dumps(
        {"objectName": "s", "objectType": "secretsmanager", "jmesPath": [{"path": path, "objectAlias": "part"}], **more}
    )
    (only,) = parse({"objects": f"[{entry}]"}, default_region="eu-west-1").objects
    return list(files(only, Value(value, "v1", "secretsmanager/s")))


def test_a_part_is_a_file_beside_the_whole() -> None:
    """The whole secret is written too; the part shares its id, version and permission."""
    whole, part = extracted(b'{"user": {"name": "ann"}}', "user.name", filePermission="0400")
    assert (whole.path, whole.contents, whole.mode) == ("s", b'{"user": {"name": "ann"}}', 0o400)
    assert (part.path, part.contents, part.mode) == ("part", b"ann", 0o400)
    assert {(each.object_id, each.version, each.source) for each in (whole, part)} == {("s", "v1", "secretsmanager/s")}


@pytest.mark.parametrize("path", ['"pass-word"', '\n  "pass-word"\n'])
def test_keys_with_hyphens_are_quoted(path: str) -> None:
    """JMESPath quotes such keys; the text may be a YAML block of several lines."""
    assert extracted(b'{"pass-word": "x"}', path)[1].contents == b"x"


def test_half_a_surrogate_pair_becomes_a_replacement_character() -> None:
    """JSON can spell what UTF-8 cannot; the file gets what upstream's decoder makes of it."""
    assert extracted(b'{"a": "x\\ud800"}', "a")[1].contents == "x\ufffd".encode()


def test_a_path_that_points_to_nothing_is_a_missing_secret() -> None:
    """The message must name path and alias."""
    with pytest.raises(SecretNotFound, match="JMES Path - nope for object alias - part does not point to a valid"):
        extracted(b'{"a": "x"}', "nope")


@pytest.mark.parametrize("value", [b"NotValidJson", b"\xff\xfe\xfd", b"[" * 100_000, b"1" * 5000, b""])
def test_a_secret_that_is_no_json_is_refused(value: bytes) -> None:
    """Whatever bytes a secret holds, the refusal is one that a person can read."""
    with pytest.raises(InvalidSecretProviderClass, match="invalid JSON used with jmesPath in secret: s"):
        extracted(value, "a")


@pytest.mark.parametrize("value", [b'{"a": 3}', b'{"a": {}}', b'{"a": ["x"]}', b'{"a": true}'])
def test_only_strings_become_files(value: bytes) -> None:
    """A number or a list is refused as upstream refuses it."""
    with pytest.raises(InvalidSecretProviderClass, match=r"Invalid JMES search result type for path:a\. Only string"):
        extracted(value, "a")


CANARY = "canary-7f3a"
HOSTILE = st.recursive(
    st.just(CANARY) | st.none() | st.booleans() | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", CANARY]), inner),
    max_leaves=10,
)
PATHS = st.sampled_from(
    ["a", "a.b", "a[0]", "a[*].b", "@", "a[?b > `1`]", "a[::0]", "a || b", "map(&a, @)"]
) | st.builds(
    "{}({})".format,
    st.sampled_from(
        ["keys", "length", "to_number", "sum", "max", "abs", "values", "avg", "ceil", "reverse", "sort_by"]
    ),
    st.sampled_from(["a", "@", "a, b", "a, &b", "@, &a", "',', a"]),
)


def error_of(document: object, path: str) -> KeyferryError:
    try:
        extracted(json.dumps(document).encode(), path)
    except KeyferryError as error:
        return error
    return KeyferryError("nothing went wrong")


@given(HOSTILE, PATHS)
def test_no_error_quotes_the_secret(document: object, path: str) -> None:
    """The library's own messages quote the data they meet; ours must not, nor show theirs in a traceback."""
    error = error_of(document, path)
    assert CANARY not in "".join(traceback.format_exception(error))
