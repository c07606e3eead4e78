import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.options import Selection
from fetcher.providers.aws.parameters import parse
from fetcher.providers.aws.selecting import is_path
from fetcher.providers.aws.wanted import SECRETS_MANAGER, SSM, Object, Parameters
from keyferry.errors import InvalidSecretProviderClass


def parsed(objects: str, **parameters: str) -> Parameters:
    return parse({"objects": objects, "region": "eu-west-1", **parameters}, default_region="")


def only(entry: str) -> Object:
    (found,) = parsed(f"- {entry}").objects
    return found


def refusal(entry: str) -> str:
    with pytest.raises(InvalidSecretProviderClass) as refused:
        parsed(f"- {entry}")
    return refused.value.message


def test_a_selection_with_every_field_is_understood() -> None:
    """Names of fields may have any case, names of tags keep theirs, and values are what is written."""
    found = only(
        "{OBJECTTYPE: secretsmanager, SelectPrefix: a/b, selecttags: {App: web, n: 010, y: yes}, objectAlias: conf/d, "
        "filePermission: 0400, optional: true, maxBytes: 1Ki, extractjsonkey: k}"
    )
    assert found.service == SECRETS_MANAGER
    assert found.selection == Selection("a/b", (("App", "web"), ("n", "010"), ("y", "yes")))
    assert (found.file, found.id, found.mode) == ("conf_d", "conf_d", 0o400)
    assert (found.options.optional, found.options.max_bytes, found.options.json_key) == (True, 1024, "k")


def test_a_selection_without_folder_is_known_by_its_prefix() -> None:
    """Its id is told where it is left out."""
    assert only("{objectType: ssmparameter, selectPrefix: /a/}").id == "/a/*"


@pytest.mark.parametrize("nothing", ["~", "''", '""', "null"])
def test_fields_without_value_make_no_selection(nothing: str) -> None:
    """A prefix that a template left empty must not stand for every secret of the account."""
    found = only(f"{{objectName: a, objectType: ssmparameter, selectPrefix: {nothing}, selectTags: null}}")
    assert (found.service, found.selection) == (SSM, None)
    assert "objects[0].objectName must be specified" in refusal(
        f"{{objectType: secretsmanager, selectPrefix: {nothing}}}"
    )


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{selectPrefix: a}", "objects[0].objectType is missing, write secretsmanager or ssmparameter"),
        ("{selectPrefix: a, objectType: ssm}", 'objects[0].objectType is "ssm": invalid objectType'),
        ("{selectPrefix: a, objectType: ssmparameter, objectName: b}", "objects[0].objectName cannot go with"),
        ("{selectPrefix: a, objectType: ssmparameter, objectVersion: 1}", "objects[0].objectVersion cannot go with"),
        (
            "{selectPrefix: a, objectType: ssmparameter, objectVersionLabel: l}",
            "objects[0].objectVersionLabel cannot go with",
        ),
        (
            "{selectPrefix: a, objectType: ssmparameter, jmesPath: [{path: a, objectAlias: b}]}",
            "objects[0].jmesPath cannot go with",
        ),
        (
            "{selectPrefix: a, objectType: ssmparameter, failoverObject: {objectName: b}}",
            "objects[0].failoverObject cannot go with",
        ),
        ("{selectPrefix: [a], objectType: ssmparameter}", "objects[0].selectPrefix"),
        ("{selectPrefix: 'a b', objectType: ssmparameter}", "objects[0].selectPrefix is not the beginning of a name"),
        ("{selectPrefix: '!a', objectType: secretsmanager}", "objects[0].selectPrefix is not the beginning of a name"),
        ('{selectPrefix: "a\\n", objectType: secretsmanager}', "objects[0].selectPrefix is not the beginning"),
        (f"{{selectPrefix: {'a' * 513}, objectType: secretsmanager}}", "objects[0].selectPrefix is not the beginning"),
        ("{selectTags: [a], objectType: ssmparameter}", "objects[0].selectTags"),
        ("{selectTags: {}, objectType: ssmparameter}", "objects[0].selectTags"),
        ("{selectTags: {a: [b]}, objectType: ssmparameter}", "objects[0].selectTags"),
        ("{selectTags: {a: ''}, objectType: ssmparameter}", "objects[0].selectTags.a is empty"),
        ("{selectTags: {'': b}, objectType: secretsmanager}", "objects[0].selectTags has a tag that AWS does not know"),
        ('{selectTags: {"a\\0": b}, objectType: secretsmanager}', "objects[0].selectTags has a tag that AWS does not"),
        (f"{{selectTags: {{{'a' * 129}: b}}, objectType: secretsmanager}}", "objects[0].selectTags has a tag that"),
        (
            f"{{selectTags: {{{', '.join(f't{i}: x' for i in range(11))}}}, objectType: secretsmanager}}",
            "objects[0].selectTags has more than 10 tags",
        ),
        ("{selectPrefix: a, objectType: ssmparameter, optional: maybe}", "objects[0].optional"),
        ("{selectPrefix: a, objectType: ssmparameter, expand: xml}", "objects[0].expand"),
        ("{objectName: a, objectType: ssmparameter, maxBytes: lots}", "objects[0].maxBytes"),
        ("{objectName: a, objectType: ssmparameter, expand: json, extractJSONKey: k}", "cannot go with extract"),
    ],
)
def test_what_cannot_work_is_refused(entry: str, message: str) -> None:
    """A selection or an option that cannot work is refused before any call, naming place and field."""
    assert message in refusal(entry)


def test_two_selections_may_share_a_folder() -> None:
    """Only files can get in each other's way, and they are not known yet."""
    entry = "{objectType: ssmparameter, objectAlias: conf, selectPrefix: /a/}"
    assert (
        len(
            parsed(
                f"- {entry}\n- {entry.replace('/a/', '/b/')}\n- {{objectName: conf, objectType: ssmparameter}}"
            ).objects
        )
        == 3
    )


@pytest.mark.parametrize(
    ("selection", "path"),
    [
        (Selection("/a/"), True),
        (Selection("/"), True),
        (Selection("/a"), False),
        (Selection("a/"), False),
        (Selection("/a/", (("k", "v"),)), False),
        (Selection("", (("k", "v"),)), False),
    ],
)
def test_only_whole_paths_are_read_as_paths(selection: Selection, path: bool) -> None:
    """GetParametersByPath knows neither parts of names nor tags."""
    assert is_path(selection) is path


TEXTS = st.text(max_size=10) | st.text(alphabet="abAB/_+=.@-!01", max_size=10)


@given(st.dictionaries(TEXTS, TEXTS, max_size=12), TEXTS, st.sampled_from(["secretsmanager", "ssmparameter"]))
def test_any_selection_is_understood_or_refused(tags: dict[str, str], prefix: str, kind: str) -> None:
    """Nothing but InvalidSecretProviderClass may escape, and what is understood can be said to AWS."""
    entry = json.dumps([{"objectType": kind, "selectPrefix": prefix, "selectTags": tags}])
    with contextlib.suppress(InvalidSecretProviderClass):
        (found,) = parsed(entry).objects
        chosen = found.selection or Selection()
        assert "!" not in chosen.prefix
        assert all(key and (value or kind == "secretsmanager") for key, value in chosen.tags)
