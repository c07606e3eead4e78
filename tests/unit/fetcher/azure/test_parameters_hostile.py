import contextlib
import string

import yaml
from hypothesis import given
from hypothesis import strategies as st

from fetcher.providers.azure.entry import OBJECT_FIELDS
from fetcher.providers.azure.parameters import PARAMETERS, backend, parse
from fetcher.providers.azure.settings import AzureSettings
from keyferry.errors import InvalidSecretProviderClass
from keyferry.resources import MAX_CONTENT_BYTES

SAFE = set(string.ascii_letters + string.digits + "-")
TEXTS = st.text(max_size=40) | st.text(alphabet="array:objectName.- |/_{}[]#&*!>'\"\\0127~\n", max_size=60)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS | st.sampled_from(OBJECT_FIELDS), inner),
    max_leaves=12,
)
TAGS = st.dictionaries(TEXTS, SCALARS, max_size=4) | SCALARS
ENTRY = st.fixed_dictionaries(
    {
        "objectName": st.sampled_from(["db", "tls"]) | TEXTS,
        "objectType": st.sampled_from(["secret", "key", "cert"]) | TEXTS,
    },
    optional={
        name: TAGS if name == "selectTags" else SCALARS
        for name in OBJECT_FIELDS
        if name not in ("objectName", "objectType")
    },
)
CHOOSING = st.fixed_dictionaries(
    {"objectType": st.sampled_from(["secret", "key", "cert"])},
    optional={
        "selectPrefix": st.sampled_from(["shop-", ""]) | TEXTS,
        "selectTags": TAGS,
        "objectAlias": st.sampled_from(["a", "a/b", ""]) | TEXTS,
        "optional": SCALARS,
        "expand": st.sampled_from(["json", "yaml"]) | SCALARS,
        "extractYAMLKey": TEXTS,
        "maxBytes": st.sampled_from(["1", "64Ki", "4Mi"]) | SCALARS,
    },
)
USUAL = {"keyvaultName": "shop-vault", "tenantID": "tenant"}


def check(parameters: dict[str, str]) -> None:
    with contextlib.suppress(InvalidSecretProviderClass):
        found = parse(parameters, AzureSettings(), has_tenant=True)
        assert found.vault_url.removeprefix("https://").partition(".")[2].startswith("vault.")
        assert set(found.vault) <= SAFE
        assert set(found.tenant) <= SAFE | {"."}
        for each in found.objects:
            assert set(each.reference.name + each.reference.version) <= SAFE
            assert not each.file.startswith("/")
            assert ".." not in each.file
            assert each.mode is None or 0 <= each.mode <= 0o777
            assert each.history >= 1
            assert bool(each.reference.name) is not bool(each.selection)
            assert bool(each.file) or each.selection
            assert not each.selection or set(each.selection.prefix) <= SAFE
            assert each.options.max_bytes is None or 0 < each.options.max_bytes <= MAX_CONTENT_BYTES


@given(st.dictionaries(st.sampled_from(PARAMETERS), TEXTS))
def test_any_parameters_are_understood_or_refused(parameters: dict[str, str]) -> None:
    """Whatever a class holds, nothing but InvalidSecretProviderClass may escape, and no vault be another host."""
    check(parameters)


@given(st.dictionaries(st.sampled_from(PARAMETERS), TEXTS))
def test_any_class_has_a_scope(parameters: dict[str, str]) -> None:
    """It is asked for before anything is checked, so nothing may escape, and nothing but a host come of it."""
    found = backend(parameters, AzureSettings())

    assert not found or found.partition(".")[2].startswith("vault.")
    assert set(found) <= SAFE | {"."}


@given(st.lists(ENTRY | CHOOSING, max_size=4))
def test_any_fields_are_understood_or_refused(entries: list[dict[str, object]]) -> None:
    """No file name leaves the volume, and no name or version another path of the vault's."""
    texts = [yaml.safe_dump(entry, allow_unicode=True) for entry in entries]
    check({**USUAL, "objects": yaml.safe_dump({"array": texts}, allow_unicode=True)})


@given(ANYTHING)
def test_any_yaml_is_understood_or_refused(objects: object) -> None:
    """As the whole, and as the text of an entry."""
    text = yaml.safe_dump(objects, allow_unicode=True)
    check({**USUAL, "objects": text})
    check({**USUAL, "objects": yaml.safe_dump({"array": [text]}, allow_unicode=True)})


@given(st.text(alphabet=string.printable, max_size=200))
def test_any_text_is_understood_or_refused(objects: str) -> None:
    """Also what is not even YAML."""
    check({**USUAL, "objects": objects})
    check({**USUAL, "objects": yaml.safe_dump({"array": [objects]})})


def test_what_would_take_the_process_down_is_refused() -> None:
    """Nesting that the C stack cannot hold, and a few lines that stand for millions of values."""
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdef", "bcdefg", strict=True)
    )
    for text in ("[" * 100_000, "- " * 100_000, bomb, f"array: ['{'[' * 5000}']", f"array: [{'x,' * 200_000}]"):
        check({**USUAL, "objects": text})
