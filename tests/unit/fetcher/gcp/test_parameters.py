from collections.abc import Callable
from typing import Any

import pytest
import yaml

from fetcher.options import PLAIN, Options, Selection
from fetcher.providers.gcp.parameters import MAX_SECRETS, Parameters, parse
from keyferry.errors import InvalidSecretProviderClass

NAME = "projects/demo/secrets/db/versions/latest"


def understood(*secrets: object, has_key: bool = False, **parameters: str) -> Parameters:
    return parse({"secrets": yaml.safe_dump(list(secrets)), **parameters}, has_key=has_key)


def refused(secrets: str, **parameters: str) -> str:
    with pytest.raises(InvalidSecretProviderClass) as error:
        parse({"secrets": secrets, **parameters}, has_key=False)
    return error.value.message


@pytest.mark.parametrize(
    ("auth", "has_key", "meant"),
    [
        ("", False, "pod-adc"),
        ("pod-adc", False, "pod-adc"),
        ("provider-adc", False, "provider-adc"),
        ("", True, "nodePublishSecretRef"),
    ],
)
def test_auth_is_the_pods_own_unless_something_else_is_said(auth: str, has_key: bool, meant: str) -> None:
    """A key.json counts as saying so."""
    assert understood({"resourceName": NAME, "path": "db"}, has_key=has_key, auth=auth).auth == meant


def test_an_entry_says_what_becomes_of_a_secret() -> None:
    """Whatever it leaves out has upstream's default."""
    text = f"""
    - {{resourceName: {NAME}, fileName: a}}
    - resourceName: projects/demo/locations/europe-west1/secrets/db/versions/3
      path: b/c
      fileName: ignored
      mode: 0440
      extractYAMLKey: user
      decodeBase64: true
    """

    plain, full = parse({"secrets": text}, has_key=False).secrets

    assert (plain.path, plain.mode, plain.options, plain.base64, plain.selection) == ("a", None, PLAIN, False, None)
    assert (full.path, full.mode, full.options, full.base64) == ("b/c", 0o440, Options(yaml_key="user"), True)
    assert (full.resource.location, plain.resource.location) == ("europe-west1", "")


@pytest.mark.parametrize(
    ("written", "bits"),
    [
        ("0400", 0o400),
        ("0o400", 0o400),
        ("256", 0o400),
        ("511", 0o777),
        ("0", 0),
        ("0x100", 0o400),
        ("'0400'", 0o400),
        ('"0o400"', 0o400),
        ("null", None),
        ("", None),
    ],
)
def test_a_mode_is_octal_or_decimal_as_written(written: str, bits: int | None) -> None:
    """Go's reader takes a leading zero for octal; quoted, it can only be that."""
    (found,) = parse({"secrets": f"- {{resourceName: {NAME}, path: a, mode: {written}}}"}, has_key=False).secrets

    assert found.mode == bits


@pytest.mark.parametrize(
    "written", ["512", "01000", "-1", "-0400", "400.0", "'400'", "rw", "[1]", "0888", "99999999999999999999", "0x_"]
)
def test_what_is_no_mode_is_refused(written: str) -> None:
    """Above 0777 as well as ambiguous or negative."""
    assert "secrets[0].mode must be" in refused(f"- {{resourceName: {NAME}, path: a, mode: {written}}}")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/etc/passwd", "must be relative path"),
        ("..", "must not contain '..'"),
        ("a/../../b", "must not contain '..'"),
        ("..data/x", "must not contain '..'"),
        ("a\nb", "each part must be a name"),
        (".", "each part must be a name"),
        ("a/" + "x" * 256, "at most 255 bytes"),
    ],
)
def test_a_path_outside_the_volume_is_an_invalid_path(path: str, words: str) -> None:
    """The two words are what upstream's users look for; path and fileName alike."""
    for field in ("path", "fileName"):
        told = refused(yaml.safe_dump([{"resourceName": NAME, field: path}]))

        assert f"secrets[0].{field} is an invalid path" in told
        assert words in told


def test_a_path_is_made_plain() -> None:
    """Two spellings of one file are one file."""
    (found,) = understood({"resourceName": NAME, "path": "a//./b/"}).secrets

    assert found.path == "a/b"


def test_a_file_where_a_folder_is_needed_is_refused() -> None:
    """Both cannot be."""
    told = refused(yaml.safe_dump([{"resourceName": NAME, "path": path} for path in ("a/b", "a")]))

    assert "path a/b needs a folder where path a is a file" in told


@pytest.mark.parametrize("secrets", ["", "  ", "[]", "null", "# nothing"])
def test_a_class_without_secrets_is_refused_in_upstreams_words(secrets: str) -> None:
    """Whether the parameter is missing or empty."""
    assert "missing required 'secrets' attribute" in refused(secrets)
    with pytest.raises(InvalidSecretProviderClass, match="missing required 'secrets' attribute"):
        parse({}, has_key=False)


@pytest.mark.parametrize("secrets", ["resourceName: x", "text", "1", "- text", "- [1]", "- null"])
def test_secrets_of_another_shape_are_refused(secrets: str) -> None:
    """The text says which shape they should have."""
    assert "must be a" in refused(secrets)


def test_too_many_secrets_are_refused() -> None:
    """The bound is in the text."""
    assert f"1 to {MAX_SECRETS}" in refused("\n".join(["- {}"] * (MAX_SECRETS + 1)))


def test_everything_that_is_wrong_is_told_at_once() -> None:
    """By entry and field, before anybody is asked."""
    told = refused(
        """
        - {path: a}
        - {resourceName: projects/demo/secrets/db, path: b}
        - {resourceName: projects/demo/secrets/db/versions/1, path: /c, mode: 9999}
        - {resourceName: projects/demo/secrets/db/versions/1, path: d, extractJSONKey: a, extractYAMLKey: b}
        - {resourceName: projects/demo/secrets/db/versions/1, path: [e], decodeBase64: maybe}
        """,
        auth="root",
    )

    assert 'unknown auth configuration: "root"' in told
    for field in (
        "secrets[0].resourceName is missing",
        "secrets[1].resourceName is",
        "unknown resource type",
        "secrets[2].path is an invalid path",
        "secrets[2].mode",
        "secrets[3].extractJSONKey and extractYAMLKey can't be simultaneously non empty strings",
        "secrets[4].path must be a text",
        "secrets[4].decodeBase64 must be true or false",
    ):
        assert field in told


def test_only_the_first_twenty_problems_are_told() -> None:
    """The text must fit into an Event."""
    told = refused("\n".join(["- {}"] * 50))

    assert "secrets[9]" in told
    assert "secrets[10]" not in told
    assert told.endswith("and 80 more problems")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"optional": True}, Options(optional=True)),
        ({"expand": "json", "maxBytes": "64Ki"}, Options(expand="json", max_bytes=65536)),
        ({"extractJSONKey": "k", "optional": "true"}, Options(json_key="k", optional=True)),
    ],
)
@pytest.mark.parametrize("name", [NAME, "projects/demo/locations/global/parameters/app/versions/v1"])
def test_every_entry_may_have_every_option(name: str, written: dict[str, Any], meant: Options) -> None:
    """Of Secret Manager and of Parameter Manager."""
    (found,) = understood({"resourceName": name, "path": "a", **written}).secrets

    assert found.options == meant


@pytest.mark.parametrize(
    ("written", "path", "meant", "location"),
    [
        ({"resourceName": "projects/demo", "selectPrefix": "app-"}, "", Selection("app-"), ""),
        (
            {"resourceName": "projects/demo/locations/eu", "selectTags": {"env": "prod", "team": 7}, "path": "a/b/"},
            "a/b",
            Selection("", (("env", "prod"), ("team", "7"))),
            "eu",
        ),
        (
            {"resourceName": "projects/demo", "selectPrefix": "_x", "selectTags": {"é": ""}, "fileName": "a"},
            "a",
            Selection("_x", (("é", ""),)),
            "",
        ),
    ],
)
def test_an_entry_may_select(written: dict[str, Any], path: str, meant: Selection, location: str) -> None:
    """From a project's secrets or a location's; its path is a folder, or nothing."""
    (found,) = understood(written).secrets

    assert (found.path, found.selection, found.resource.location, found.is_folder) == (path, meant, location, True)
    assert found.resource.name == written["resourceName"]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"resourceName": "projects/demo"}, "resourceName names no secret: go on with /secrets/*/versions/*, or write"),
        ({"resourceName": "projects/demo", "selectPrefix": ""}, "resourceName names no secret"),
        ({"resourceName": NAME, "selectPrefix": "a"}, "which has no secrets to select from: beside selectPrefix and"),
        ({"selectPrefix": "a"}, "secrets[0].resourceName is missing"),
        ({"resourceName": "projects/demo/locations/global", "selectPrefix": "a"}, "invalid location"),
        ({"resourceName": "projects/demo/locations/evil.example", "selectPrefix": "a"}, "invalid location"),
        ({"resourceName": "projects/demo\n", "selectPrefix": "a"}, "which has no secrets to select from"),
        ({"resourceName": "projects/demo", "selectPrefix": "a OR name:b"}, "selectPrefix must be the beginning of"),
        ({"resourceName": "projects/demo", "selectPrefix": "a/b"}, "selectPrefix must be the beginning of secret ids"),
        ({"resourceName": "projects/demo", "selectTags": {"env": "x OR y"}}, "selectTags must be labels of secrets"),
        ({"resourceName": "projects/demo", "selectTags": {"a=b OR c": "x"}}, "selectTags must be labels of secrets"),
        ({"resourceName": "projects/demo", "selectTags": {"1a": "x"}}, "selectTags must be labels of secrets"),
        ({"resourceName": "projects/demo", "selectTags": {"a": "x" * 64}}, "selectTags must be labels of secrets"),
        ({"resourceName": "projects/demo", "selectTags": ["a"]}, "selectTags must be a mapping"),
        ({"resourceName": "projects/demo", "selectPrefix": "a", "path": "../b"}, "path is an invalid path"),
        ({"resourceName": "projects/demo", "selectPrefix": "a", "path": "/b"}, "path is an invalid path"),
        ({"resourceName": NAME, "expand": "json"}, "path is an invalid path: it is empty"),
    ],
)
def test_what_cannot_be_selected_is_refused(written: dict[str, Any], told: str) -> None:
    """By field; nothing can become another term of the filter, or another host."""
    assert told in refused(yaml.safe_dump([written]))


def test_a_class_selects_so_often_and_no_more() -> None:
    """Each selection is a listing at every fetch."""
    entries = [{"resourceName": "projects/demo", "selectPrefix": f"a{number}"} for number in range(21)]

    assert len(understood(*entries[1:]).secrets) == 20
    assert "secrets selects 21 times: 20 are the most" in refused(yaml.safe_dump(entries))


def test_a_folder_of_files_where_a_file_is_needed_is_refused() -> None:
    """An expanded secret is a folder, and so is what is selected."""
    file = {"resourceName": NAME, "path": "a"}
    for folder in (
        {"resourceName": NAME, "path": "a", "expand": "yaml"},
        {"resourceName": "projects/demo", "selectPrefix": "x", "path": "a"},
        {"resourceName": "projects/demo", "selectPrefix": "x", "path": "a/b"},
    ):
        assert "where path a is a file" in refused(yaml.safe_dump([file, folder]))
        assert understood({**file, "path": "other"}, folder, {**file, "path": f"{folder['path']}/other"}).secrets


def test_unknown_fields_are_ignored_as_upstream_does(caplog: pytest.LogCaptureFixture) -> None:
    """But the log says so: extractJsonKey looks right and is not."""
    understood({"resourceName": NAME, "path": "a", "extractJsonKey": "user"})

    assert [record.fields for record in caplog.records] == [["extractJsonKey"]]  # type: ignore[attr-defined]  # an extra


def test_anchors_and_merge_keys_work() -> None:
    """As in any YAML."""
    text = f"""
    - &first {{resourceName: {NAME}, path: a, mode: 0400}}
    - {{<<: *first, path: b}}
    """

    assert [(each.path, each.mode) for each in parse({"secrets": text}, has_key=False).secrets] == [
        ("a", 0o400),
        ("b", 0o400),
    ]


@pytest.mark.parametrize(
    "make",
    [
        lambda: "[" * 100_000,
        lambda: "- " * 100_000 + "x",
        lambda: (
            "a: &a [x]\n"
            + "\n".join(f"b{n}: &b{n} [{', '.join([f'*b{n - 1}' if n else '*a'] * 20)}]" for n in range(9))
        ),
        lambda: "&a [*a]",
        lambda: "- {a: 1, a: 2}",
        lambda: "- {? [1] : 2}",
        lambda: "- !!python/object/apply:os.system [id]",
        lambda: "- x" * 100_000,
        lambda: "- \x00",
        lambda: "a\n---\nb",
        lambda: "- {<<: 1}",
    ],
)
def test_yaml_that_would_hurt_is_refused(make: Callable[[], Any]) -> None:
    """Deep, long, self-containing or executable: it is refused, and soon."""
    assert refused(make()).startswith("secrets ")
