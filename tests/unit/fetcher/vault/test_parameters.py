"""The class's parameters: defaults, precedence and every problem by name."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fetcher.options import OPTION_FIELDS, Options, Selection
from fetcher.providers.vault.objects import Call, Object
from fetcher.providers.vault.parameters import PARAMETERS, Server, Tls, backend, parse
from fetcher.providers.vault.settings import VaultSettings
from keyferry.errors import InvalidSecretProviderClass
from keyferry.settings import SettingsError, load

OBJECT = {"objectName": "password", "secretPath": "secret/data/app", "secretKey": "password"}
CLASS = {"roleName": "app", "vaultAddress": "https://vault:8200", "objects": yaml.safe_dump([OBJECT])}
OPERATOR = {
    "VAULT_ADDR": "https://default:8200",
    "VAULT_NAMESPACE": "team",
    "VAULT_AUTH_MOUNT": "cluster-1",
    "VAULT_CACERT": "/ca.pem",
    "VAULT_CAPATH": "/cas",
    "VAULT_TLS_SERVER_NAME": "vault.example.com",
    "VAULT_CLIENT_CERT": "/tls.crt",
    "VAULT_CLIENT_KEY": "/tls.key",
    "VAULT_SKIP_VERIFY": "true",
}


def problems(parameters: dict[str, str], settings: VaultSettings | None = None) -> str:
    with pytest.raises(InvalidSecretProviderClass) as caught:
        parse(parameters, settings or VaultSettings())
    return caught.value.message


def of(*objects: Any) -> dict[str, str]:
    return {**CLASS, "objects": yaml.safe_dump(list(objects), sort_keys=False)}


def test_upstreams_example_is_understood() -> None:
    """The least that a class must say."""
    found = parse(CLASS, VaultSettings())

    assert (found.role, found.audience) == ("app", "vault")
    assert found.server == Server("https://vault:8200", "", "kubernetes", Tls())
    assert found.objects == (Object("password", "password", Call("GET", "secret/data/app"), "password", "utf-8", None),)


def test_the_operators_defaults_fill_what_a_class_leaves_out() -> None:
    """By the names of Vault's own environment variables."""
    found = parse({**CLASS, "vaultAddress": ""}, load(VaultSettings, OPERATOR))

    tls = Tls("/ca.pem", "/cas", "vault.example.com", "/tls.crt", "/tls.key", skip_verify=True)
    assert found.server == Server("https://default:8200", "team", "cluster-1", tls)


def test_what_a_class_says_itself_comes_first() -> None:
    """CAs are replaced together, and so are certificate and key: half of each would fit nothing."""
    own = {
        "vaultAddress": "https://own:1/",
        "vaultNamespace": "/other/",
        "vaultAuthMountPath": "/own/mount/",
        "audience": "https://own",
        "vaultCADirectory": "/own-cas",
        "vaultTLSClientCertPath": "/own.pem",
        "vaultTLSServerName": "own",
        "vaultSkipTLSVerify": "F",
    }

    found = parse({**CLASS, **own}, load(VaultSettings, OPERATOR))

    assert found.audience == "https://own"
    assert found.server == Server(
        "https://own:1", "other", "own/mount", Tls("", "/own-cas", "own", "/own.pem", "", skip_verify=False)
    )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"roleName": ""}, "missing 'roleName' in SecretProviderClass definition"),
        ({"roleName": "", "rolename": "x"}, "rolename is not a parameter: write roleName"),
        ({"vaultAddress": ""}, "vaultAddress is missing, and the fetcher has no default (VAULT_ADDR)"),
        ({"vaultAddress": "http://u:p@vault"}, "vaultAddress is not a usable URL"),
        ({"vaultNamespace": "a b"}, "vaultNamespace holds blanks"),
        ({"vaultNamespace": "a\r\nX-Vault-Token: b"}, "vaultNamespace holds blanks"),
        (
            {"vaultAuthMountPath": "jwt", "vaultKubernetesMountPath": "jwt"},
            "vaultAuthMountPath and vaultKubernetesMountPath cannot both be set",
        ),
        ({"vaultAuthMountPath": "../sys"}, "vaultAuthMountPath is no mount path"),
        ({"vaultKubernetesMountPath": "a?b"}, "vaultKubernetesMountPath is no mount path"),
        ({"vaultAuthMountPath": "a//b"}, "vaultAuthMountPath is no mount path"),
        ({"vaultTLSClientKeyPath": "/k"}, "vaultTLSClientKeyPath is set without vaultTLSClientCertPath"),
        ({"vaultSkipTLSVerify": "yes"}, "vaultSkipTLSVerify must be true or false"),
        ({"objects": ""}, "no secrets configured -"),
        ({"objects": "[]"}, "no secrets configured -"),
        ({"objects": "a: ["}, "objects is not valid YAML at line"),
        ({"objects": "objectName: a"}, "objects must be a YAML list of 1 to 1000 mappings"),
        ({"objects": yaml.safe_dump(["a"] * 1001)}, "objects must be a YAML list of 1 to 1000 mappings"),
        ({"objects": "- a"}, "objects[0] is a text or number: write objectName, secretPath"),
    ],
)
def test_a_parameter_that_cannot_work_is_named(change: dict[str, str], problem: str) -> None:
    """With what to write instead."""
    assert problem in problems({**CLASS, **change})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"objectName": None}, ".objectName is missing"),
        ({"objectName": ["a"]}, ".objectName is a list: write a text"),
        ({"objectName": "/etc/passwd"}, ".objectName must be a relative path"),
        ({"objectName": "../a"}, ".objectName must be a relative path"),
        ({"objectName": "a/../b"}, ".objectName must be a relative path"),
        ({"objectName": "..data"}, ".objectName must be a relative path"),
        ({"objectName": "."}, ".objectName must be a relative path"),
        ({"objectName": "a\0b"}, ".objectName must be a relative path"),
        ({"objectName": "x" * 256}, ".objectName must be a relative path"),
        ({"secretPath": ""}, ".secretPath is missing"),
        ({"secretPath": "/"}, ".secretPath must be a Vault API path"),
        ({"secretPath": "?version=1"}, ".secretPath must be a Vault API path"),
        ({"secretPath": "a/../../sys/seal"}, ".secretPath must be a Vault API path"),
        ({"secretPath": "a/%2e%2e/%2E%2E/sys/seal"}, ".secretPath must be a Vault API path"),
        ({"secretPath": "a#b"}, ".secretPath must be a Vault API path"),
        ({"secretPath": "a\nb"}, ".secretPath must be a Vault API path"),
        ({"secretPath": "a?b\nc"}, ".secretPath has a query that cannot be sent"),
        ({"secretKey": {"a": 1}}, ".secretKey is a mapping: write a text"),
        ({"secretkey": "x"}, ".secretkey is not a field: write secretKey"),
        ({"method": "DELETE"}, ".method must be one of GET, PUT, POST"),
        ({"secretArgs": "a"}, ".secretArgs is a text or number: write a mapping"),
        ({"secretArgs": ["a"]}, ".secretArgs is a list: write a mapping"),
        ({"filePermission": 0o1000}, ".filePermission must be permission bits in octal"),
        ({"filePermission": 644}, ".filePermission must be permission bits in octal"),
        ({"filePermission": -1}, ".filePermission must be permission bits in octal"),
        ({"filePermission": "0888"}, ".filePermission must be permission bits in octal"),
        ({"filePermission": "rw-r--r--"}, ".filePermission must be permission bits in octal"),
        ({"filePermission": True}, ".filePermission must be permission bits in octal"),
        ({"filePermission": [1]}, ".filePermission must be permission bits in octal"),
        ({"encoding": "base46"}, ".encoding must be one of utf-8, base64, hex"),
        ({"optional": "yes"}, ".optional must be true or false"),
        ({"expand": "xml"}, ".expand must be one of json, yaml"),
        ({"expand": "json", "extractJSONKey": "a"}, ".expand cannot go with extractJSONKey"),
        ({"maxBytes": "many"}, ".maxBytes must be a size"),
        ({"expandd": "json", "Expand": "json"}, ".Expand is not a field: write expand"),
        ({"selectPrefix": "secret/data/app/"}, ".secretPath cannot go with selectPrefix"),
        ({"selectTags": {"a": "b"}}, ".selectTags is not possible: this backend does not list by tags"),
        ({"selecttags": {"a": "b"}}, ".selecttags is not a field: write selectTags"),
        ({"selectPrefix": ["a"]}, ".selectPrefix must be a text"),
    ],
)
def test_a_field_that_cannot_work_is_named_with_its_object(change: dict[str, Any], problem: str) -> None:
    """By index and field, whatever else the list holds."""
    other = {**OBJECT, "objectName": "other"}

    assert f"objects[1]{problem}" in problems(of(other, {**OBJECT, **change}))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"selectPrefix": "/"}, ".selectPrefix must be a path below a KV engine"),
        ({"selectPrefix": "secret/data/../sys/"}, ".selectPrefix must be a path below a KV engine"),
        ({"selectPrefix": "secret/data/./x"}, ".selectPrefix must be a path below a KV engine"),
        ({"selectPrefix": "secret/data/a?list=true"}, ".selectPrefix must be a path below a KV engine"),
        ({"selectPrefix": "secret/data/a\nb"}, ".selectPrefix must be a path below a KV engine"),
        ({"selectPrefix": "secret//data/"}, ".selectPrefix must be a path below a KV engine"),
        ({"method": "PUT"}, ".method cannot go with selectPrefix"),
        ({"secretArgs": {"a": "b"}}, ".secretArgs cannot go with selectPrefix"),
        ({"objectName": "../x"}, ".objectName must be a relative path"),
    ],
)
def test_a_selection_that_cannot_work_is_named(change: dict[str, Any], problem: str) -> None:
    """By index and field, as other objects are."""
    assert f"objects[0]{problem}" in problems(of({"selectPrefix": "secret/data/app/", **change}))


def test_a_selection_needs_neither_a_name_nor_a_path() -> None:
    """Its id is then the prefix; several may share a folder, and v1 in front changes nothing."""
    first, second = parse(
        of({"selectPrefix": "/v1/secret/data/app/"}, {"selectPrefix": "kv/x", "objectName": "a/"}), VaultSettings()
    ).objects

    assert (first.name, first.path, first.selection) == ("secret/data/app/", "", Selection("secret/data/app/"))
    assert (second.name, second.path, second.selection) == ("a/", "a", Selection("kv/x"))


def test_a_class_selects_so_often_and_no_more() -> None:
    """Each selection lists at every fetch."""
    entries = [{"selectPrefix": f"secret/data/{number}/", "objectName": f"a{number}"} for number in range(21)]

    assert len(parse(of(*entries[1:]), VaultSettings()).objects) == 20
    assert "objects selects 21 times: 20 are the most" in problems(of(*entries))


def test_the_options_of_an_object_are_read() -> None:
    """By the words that all backends share."""
    options = {"optional": True, "expand": "json", "maxBytes": "64Ki"}

    assert parse(of({**OBJECT, **options}), VaultSettings()).objects[0].options == Options(
        optional=True, expand="json", max_bytes=65536
    )


def test_a_folder_of_keys_is_no_file() -> None:
    """Another object's file may be in it."""
    folder = {**OBJECT, "objectName": "a", "expand": "json"}

    assert len(parse(of(folder, {**OBJECT, "objectName": "a/b"}), VaultSettings()).objects) == 2


def test_all_problems_come_at_once() -> None:
    """An author mends a class in one go."""
    message = problems({"roleName": "", "objects": yaml.safe_dump([{}, {"objectName": "a", "encoding": "x"}])})

    assert message.split("; ") == [
        "missing 'roleName' in SecretProviderClass definition",
        "vaultAddress is missing, and the fetcher has no default (VAULT_ADDR)",
        "objects[0].objectName is missing",
        "objects[0].secretPath is missing",
        "objects[1].secretPath is missing",
        "objects[1].encoding must be one of utf-8, base64, hex",
    ]


def test_names_must_be_unique() -> None:
    """Upstream's words, and which they are; ./a and a are one file."""
    message = problems(of(OBJECT, {**OBJECT, "objectName": "./password"}, {**OBJECT, "objectName": "b"}))

    expected = "each `objectName` within a SecretProviderClass must be unique, but these occur again: password"
    assert message == expected


def test_a_file_cannot_be_a_folder() -> None:
    """A path that needs another object's file as its folder."""
    message = problems(of({**OBJECT, "objectName": "a"}, {**OBJECT, "objectName": "a/b/c"}))

    assert message == "objectName a/b/c needs a folder where objectName a is a file"


@pytest.mark.parametrize(
    ("written", "mode"),
    [
        ("0644", 0o644),
        ("'0644'", 0o644),
        ("'644'", 0o644),
        ("0o600", 0o600),
        ("'0o600'", 0o600),
        ("420", 0o644),
        ("0", None),
        ("~", None),
        ("", None),
    ],
)
def test_permissions_are_octal(written: str, mode: int | None) -> None:
    """As YAML's octal number, its decimal equal or a text; zero is not set, as upstream has it."""
    text = f"- objectName: a\n  secretPath: b\n  filePermission: {written}\n"

    assert parse({**CLASS, "objects": text}, VaultSettings()).objects[0].mode == mode


@pytest.mark.parametrize(
    ("written", "path", "query"),
    [
        ("secret/data/app", "secret/data/app", ""),
        ("/v1/secret/data/app", "secret/data/app", ""),
        ("v1/secret/data/app/", "secret/data/app", ""),
        ("secret/data/app?version=2", "secret/data/app", "version=2"),
        ("v1", "v1", ""),
        ("kv/with blank/ü%20x", "kv/with blank/ü%20x", ""),
    ],
)
def test_paths_are_taken_with_and_without_prefix(written: str, path: str, query: str) -> None:
    """Below /v1/, with the query apart."""
    call = parse(of({**OBJECT, "secretPath": written}), VaultSettings()).objects[0].call

    assert (call.path, call.query) == (path, query)


def test_texts_are_taken_as_written() -> None:
    """A key that looks like a number, a date or a flag is that text, as Go reads it into a string."""
    text = (
        "- {objectName: 007, secretPath: a, secretKey: yes}\n- {objectName: 2024-01-01, secretPath: a, secretKey: 1.10}"
    )

    found = parse({**CLASS, "objects": text}, VaultSettings()).objects

    assert [(item.name, item.key) for item in found] == [("007", "yes"), ("2024-01-01", "1.10")]


def test_arguments_are_json_in_a_fixed_order_and_hidden() -> None:
    """Equal arguments are equal calls, however they are written; nothing shows their values."""
    one = {**OBJECT, "objectName": "a", "method": "put", "secretArgs": {"b": [1, True, None], "a": "canary"}}
    two = {**OBJECT, "objectName": "b", "method": "PUT", "secretArgs": {"a": "canary", "b": [1, True, None]}}

    found = parse(of(one, two), VaultSettings())

    assert found.objects[0].call == found.objects[1].call
    assert json.loads(found.objects[0].call.body or b"") == {"a": "canary", "b": [1, True, None]}
    assert "canary" not in repr(found)


def test_unknown_fields_and_parameters_are_let_be() -> None:
    """Upstream ignores them, so do we, unless only upper and lower case is wrong."""
    found = parse({**of({**OBJECT, "comment": "x"}), "note": "y"}, VaultSettings())

    assert len(found.objects) == 1


def test_the_allowed_hosts_bind_the_operators_own_address_too() -> None:
    """The message says where the address came from."""
    settings = VaultSettings(address="https://elsewhere", allowed_hosts=("vault",))

    message = problems({**CLASS, "vaultAddress": ""}, settings)

    assert message.startswith("VAULT_ADDR (vaultAddress is not set) names host elsewhere on port 443")


@pytest.mark.parametrize(
    "environ", [{"KEYFERRY_VAULT_THREADS": "1"}, {"VAULT_SKIP_VERIFY": "maybe"}, {"KEYFERRY_VAULT_TIMEOUT": "10"}]
)
def test_settings_that_cannot_work_are_named(environ: dict[str, str]) -> None:
    """At the start, by variable."""
    with pytest.raises(SettingsError, match=next(iter(environ))):
        load(VaultSettings, environ)


OWN = {
    "roleName": "app",
    "openbaoAddress": "https://bao:8200",
    "openbaoNamespace": "team",
    "openbaoKubernetesMountPath": "cluster-1",
    "openbaoCACertPath": "/ca.pem",
    "openbaoCADirectory": "/cas",
    "openbaoTLSServerName": "bao.example.com",
    "openbaoTLSClientCertPath": "/tls.crt",
    "openbaoTLSClientKeyPath": "/tls.key",
    "openbaoSkipTLSVerify": "true",
    "objects": CLASS["objects"],
}


def test_openbaos_own_class_is_understood() -> None:
    """Every parameter of its provider, and its audience."""
    found = parse(OWN, VaultSettings())

    tls = Tls("/ca.pem", "/cas", "bao.example.com", "/tls.crt", "/tls.key", skip_verify=True)
    assert found.server == Server("https://bao:8200", "team", "cluster-1", tls)
    assert found.audience == "openbao"


@pytest.mark.parametrize(
    ("parameters", "tokens", "audience"),
    [
        (CLASS, ["vault", "openbao"], "vault"),
        (OWN, ["vault", "openbao"], "openbao"),
        (CLASS, ["openbao", "keyferry"], "openbao"),
        (OWN, ["vault", "keyferry"], "vault"),
        (CLASS, ["keyferry"], "vault"),
        (OWN, [], "openbao"),
        ({**CLASS, "audience": "own"}, ["vault"], "own"),
    ],
)
def test_the_usual_audience_is_the_one_there_is(parameters: dict[str, str], tokens: list[str], audience: str) -> None:
    """By the class's spelling where the pod has tokens for both, or for neither."""
    assert parse(parameters, VaultSettings(), tokens).audience == audience


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"openbaoAddress": "ftp://x"}, "openbaoAddress is not a usable URL"),
        ({"openbaoAddress": ""}, "openbaoAddress is missing"),
        ({"openbaoaddress": "x"}, "openbaoaddress is not a parameter: write openbaoAddress"),
        ({"openbaoNamespace": "a b"}, "openbaoNamespace holds blanks"),
        ({"openbaoAuthMountPath": "x"}, "openbaoAuthMountPath and openbaoKubernetesMountPath cannot both be set"),
        ({"openbaoKubernetesMountPath": "../x"}, "openbaoKubernetesMountPath is no mount path"),
        ({"openbaoTLSClientCertPath": ""}, "openbaoTLSClientKeyPath is set without openbaoTLSClientCertPath"),
        ({"openbaoSkipTLSVerify": "maybe"}, "openbaoSkipTLSVerify must be true or false"),
    ],
)
def test_openbaos_parameters_are_named_as_they_are_written(change: dict[str, str], problem: str) -> None:
    """An author does not look for a parameter that the class does not have."""
    assert problem in problems({**OWN, **change})


def test_spellings_may_be_mixed() -> None:
    """As somebody has it who moves from one to the other."""
    found = parse({**OWN, "openbaoAddress": "", "vaultAddress": "https://vault:8200"}, VaultSettings())

    assert (found.server.address, found.server.namespace) == ("https://vault:8200", "team")


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (CLASS, "https://vault:8200"),
        (OWN, "https://bao:8200/team"),
        ({**CLASS, "vaultAddress": "https://vault:8200/", "vaultNamespace": "/a/b/"}, "https://vault:8200/a/b"),
        ({}, "https://default:8200"),
        ({"vaultAddress": "ftp://x"}, ""),
        ({"vaultAddress": "http://u:p@vault"}, ""),
        ({"vaultAddress": "https://elsewhere"}, ""),
        ({"vaultNamespace": "a b"}, ""),
    ],
)
def test_each_vault_and_namespace_is_a_backend(parameters: dict[str, str], expected: str) -> None:
    """What makes no sense, or is not allowed, is none."""
    settings = VaultSettings(address="https://default:8200", allowed_hosts=("vault", "bao", "default"))

    assert backend(parameters, settings) == expected


@given(st.dictionaries(st.sampled_from([*PARAMETERS, *OWN]), st.text(max_size=30)))
def test_any_class_has_a_backend_or_none(parameters: dict[str, str]) -> None:
    """It is asked before every fetch, and must not fail."""
    assert isinstance(backend(parameters, VaultSettings()), str)


def shown(objects: str) -> str:
    """All that anybody sees of a class."""
    try:
        return repr(parse({**CLASS, "objects": objects}, VaultSettings()))
    except InvalidSecretProviderClass as error:
        return error.message


LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
ANY = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
ENTRY = st.dictionaries(
    st.sampled_from(
        [
            *OBJECT,
            "method",
            "secretArgs",
            "filePermission",
            "encoding",
            "secretkey",
            "selectPrefix",
            "selectTags",
            *OPTION_FIELDS,
        ]
    )
    | st.text(max_size=8),
    ANY,
)


@given(
    st.dictionaries(st.sampled_from(PARAMETERS) | st.text(max_size=10), st.text(max_size=30)),
    st.lists(ENTRY, max_size=4).map(lambda entries: yaml.safe_dump(entries, allow_unicode=True))
    | st.text(max_size=100),
)
def test_any_class_is_understood_or_refused(parameters: dict[str, str], objects: str) -> None:
    """Nothing but InvalidSecretProviderClass comes out, and what is understood can be a file."""
    paths: list[str] = []
    with suppress(InvalidSecretProviderClass):
        paths = [item.path for item in parse({**CLASS, **parameters, "objects": objects}, VaultSettings()).objects]

    assert all(".." not in path.split("/") and path[:1] != "/" for path in paths)


@given(
    ENTRY,
    st.recursive(
        st.just("canary-7f3a"),
        lambda inner: (
            st.lists(inner, min_size=1, max_size=3)
            | st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3)
        ),
    ),
    st.integers(0, 200),
)
def test_arguments_never_show(entry: dict[str, Any], args: Any, cut: int) -> None:
    """Neither in a problem, of whatever kind, nor in the repr, also when the YAML breaks off in the middle."""
    text = yaml.safe_dump([OBJECT, {**entry, "secretArgs": args}], allow_unicode=True)
    assert "canary" not in shown(text)
    assert "canary" not in shown(text[: len(text) - cut])
