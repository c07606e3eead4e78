"""What an object of Key Vault may say beside upstream's fields: options and selections."""

from typing import Any

import pytest
import yaml

from fetcher.options import Options, Selection
from fetcher.providers.azure.parameters import parse
from fetcher.providers.azure.settings import AzureSettings
from fetcher.providers.azure.wanted import Object, Reference
from keyferry.errors import InvalidSecretProviderClass

DB = {"objectName": "db", "objectType": "secret"}
SHOP = {"selectPrefix": "shop-", "objectType": "secret"}


def read(*entries: dict[str, Any], separate_files: bool = False) -> tuple[Object, ...]:
    text = yaml.safe_dump({"array": [yaml.safe_dump(each) for each in entries]})
    parameters = {"keyvaultName": "shop-vault", "tenantID": "tenant", "objects": text}
    return parse(parameters, AzureSettings(separate_files=separate_files), has_tenant=False).objects


def problems(*entries: dict[str, Any], separate_files: bool = False) -> str:
    with pytest.raises(InvalidSecretProviderClass) as refused:
        read(*entries, separate_files=separate_files)
    return refused.value.message


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, Options()),
        ({"optional": True}, Options(optional=True)),
        ({"optional": "false"}, Options()),
        ({"extractJSONKey": "user"}, Options(json_key="user")),
        ({"extractYAMLKey": "user"}, Options(yaml_key="user")),
        ({"expand": "json", "maxBytes": "64Ki"}, Options(expand="json", max_bytes=65536)),
    ],
)
def test_a_secret_may_have_every_option(fields: dict[str, Any], options: Options) -> None:
    """Those of all backends."""
    (one,) = read({**DB, **fields})

    assert (one.options, one.selection) == (options, None)


@pytest.mark.parametrize("kind", ["key", "cert"])
def test_a_key_or_certificate_may_be_optional_and_bounded(kind: str) -> None:
    """What is left of the options where nothing can be taken out."""
    (one,) = read({**DB, "objectType": kind, "optional": True, "maxBytes": 4096})

    assert one.options == Options(optional=True, max_bytes=4096)


@pytest.mark.parametrize("kind", ["key", "cert"])
@pytest.mark.parametrize("field", ["extractJSONKey", "extractYAMLKey", "expand"])
def test_nothing_is_taken_out_of_keys_and_certificates(kind: str, field: str) -> None:
    """They are no documents."""
    told = problems({**DB, "objectType": kind, field: "json"})

    assert f"objects[0].{field} is only for objectType: secret: a {kind} holds no document" in told


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"optional": "maybe"}, "objects[0].optional must be true or false"),
        ({"expand": "xml"}, "objects[0].expand must be one of json, yaml"),
        ({"maxBytes": "-1"}, "objects[0].maxBytes must be a size"),
        ({"maxBytes": "1Gi"}, "objects[0].maxBytes must be a size"),
        ({"extractJSONKey": ["a"]}, "objects[0].extractJSONKey must be a text"),
        ({"extractJSONKey": "a", "extractYAMLKey": "b"}, "objects[0].extractJSONKey"),
        ({"extractJSONKey": "a", "expand": "json"}, "objects[0].expand"),
        ({"selectPrefix": "d"}, "objects[0].objectName cannot go with selectPrefix"),
        ({"selectTags": {"a": "b"}}, "objects[0].objectName cannot go with selectPrefix or selectTags"),
    ],
)
def test_wrong_options_are_named(fields: dict[str, Any], words: str) -> None:
    """By the entry's place."""
    assert words in problems({**DB, **fields})


@pytest.mark.parametrize(
    ("fields", "selection", "file"),
    [
        ({"selectPrefix": "shop-"}, Selection("shop-"), ""),
        ({"selectTags": {"b": 1, "a": "x"}}, Selection("", (("a", "x"), ("b", "1"))), ""),
        (
            {"selectPrefix": "Shop", "selectTags": {"a": ""}, "objectAlias": "etc//shop/"},
            Selection("Shop", (("a", ""),)),
            "etc/shop",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["secret", "key", "cert"])
def test_a_selection_stands_in_place_of_a_name(
    fields: dict[str, Any], selection: Selection, file: str, kind: str
) -> None:
    """The alias is then a folder, or the volume itself."""
    (one,) = read({"objectType": kind, **fields})

    assert (one.selection, one.reference, one.file) == (selection, Reference(kind, ""), file)


def test_a_selection_takes_the_other_fields() -> None:
    """They hold for each of its objects."""
    (one,) = read({**SHOP, "objectFormat": "pfx", "objectEncoding": "hex", "filePermission": "0400", "optional": True})

    assert (one.pfx, one.encoding, one.mode, one.options.optional) == (True, "hex", 0o400, True)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"selectPrefix": "shop/"}, "objects[0].selectPrefix must be how names begin"),
        ({"selectPrefix": "x" * 128}, "objects[0].selectPrefix must be how names begin"),
        ({"selectPrefix": ["a"]}, "objects[0].selectPrefix must be a text"),
        ({"selectTags": "a=b"}, "objects[0].selectTags must be a mapping"),
        ({"selectTags": {}}, "objects[0].selectTags must be a mapping"),
        ({"selectTags": {"a": ["b"]}}, "objects[0].selectTags.a must be a text"),
        ({"objectVersion": "1"}, "objects[0].objectVersion cannot go with selectPrefix"),
        ({"objectVersionHistory": "3"}, "objects[0].objectVersionHistory cannot go with selectPrefix"),
        ({"objectAlias": "../x"}, "objects[0].objectAlias makes a file name that must not contain '..'"),
        ({"objectType": ""}, "objects[0].objectType"),
    ],
)
def test_wrong_selections_are_named(fields: dict[str, Any], words: str) -> None:
    """As other fields are."""
    assert words in problems({**SHOP, **fields})


def test_neither_a_name_nor_a_selection_is_refused() -> None:
    """With all three that may be written."""
    told = problems({"objectType": "secret"})

    assert "objects[0].objectName is not set: write it, or selectPrefix or selectTags" in told


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ([{**DB, "objectAlias": "a"}, {**SHOP, "objectAlias": "a"}], "file a is a folder of another object's too"),
        (
            [{**DB, "objectAlias": "a", "expand": "json"}, {**DB, "objectAlias": "a"}],
            "file a is a folder of another object's too",
        ),
        ([{**DB, "objectAlias": "a"}, {**SHOP, "objectAlias": "a/b"}], "file a/b needs a folder where a is a file"),
        (
            [{**DB, "objectAlias": "a/b"}, {**DB, "objectAlias": "a/b/c", "expand": "yaml"}],
            "file a/b/c needs a folder where a/b is a file",
        ),
        (
            [{**DB, "objectAlias": "a", "expand": "json", "objectVersionHistory": 2}, {**DB, "objectAlias": "a/0"}],
            "file a/0 is a folder of another object's too",
        ),
    ],
)
def test_a_file_where_a_folder_is_needed_is_refused(pair: list[dict[str, Any]], words: str) -> None:
    """Before anything is read, where the class alone tells it."""
    assert words in problems(*pair)


def test_folders_may_be_shared() -> None:
    """By selections, expansions and files with a path."""
    entries = [{**SHOP, "objectAlias": "a"}, {**DB, "objectAlias": "a", "expand": "json"}, {**DB, "objectAlias": "a/b"}]

    assert len(read(*entries)) == 3


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        (DB, "secret/db"),
        (SHOP, "secret/shop-*"),
        ({"objectType": "cert", "selectTags": {"a": "b"}}, "cert/*"),
    ],
)
def test_what_is_left_out_has_an_id(entry: dict[str, Any], name: str) -> None:
    """Type and name, or how names begin."""
    (one,) = read(entry)

    assert one.id == name
