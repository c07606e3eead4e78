from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from fetcher.providers.azure.parameters import backend, parse
from fetcher.providers.azure.settings import AzureSettings
from fetcher.providers.azure.wanted import Object, Parameters, Reference
from keyferry.errors import InvalidSecretProviderClass

USUAL = {"keyvaultName": "shop-vault", "tenantID": "tenant", "clientID": "app"}


def objects(*each: Mapping[str, Any] | str) -> str:
    return yaml.safe_dump({"array": [one if isinstance(one, str) else yaml.safe_dump(one) for one in each]})


def parsed(*each: Mapping[str, Any] | str, **parameters: str) -> Parameters:
    text = objects(*each or ("{objectName: db, objectType: secret}",))
    return parse({**USUAL, "objects": text, **parameters}, AzureSettings(), has_tenant=False)


def problems(*each: Mapping[str, Any] | str, **parameters: str) -> str:
    with pytest.raises(InvalidSecretProviderClass) as refused:
        parsed(*each, **parameters)
    return refused.value.message


def the_object(**fields: Any) -> Object:
    (one,) = parsed({"objectName": "db", "objectType": "secret", **fields}).objects
    return one


def test_an_object_has_defaults() -> None:
    """Latest version, file of its name, the volume's permission."""
    assert the_object() == Object("objects[0]", Reference("secret", "db"), 1, "db", pfx=False, encoding="", mode=None)


def test_every_field_is_read() -> None:
    """Also with spaces around, which upstream trims."""
    one = the_object(
        objectAlias=" dir/file ",
        objectVersion=" abc123 ",
        objectVersionHistory=" 3 ",
        objectFormat="PFX",
        objectEncoding="Base64",
        filePermission="0440",
    )

    assert one == Object(
        "objects[0]", Reference("secret", "db", "abc123"), 3, "dir/file", pfx=True, encoding="base64", mode=0o440
    )


def test_the_form_of_upstreams_manifests_is_understood() -> None:
    """Each entry of the array is a text with YAML of its own; scalars of any kind are texts."""
    text = """
      array:
        - |
          objectName: 123
          objectType: secret        # a comment
          objectVersion: 12345
          filePermission: 0644
          somethingElse: [ignored]
        - "{objectName: tls, objectType: cert, objectVersionHistory: 2}"
    """

    first, second = parse({**USUAL, "objects": text}, AzureSettings(), has_tenant=False).objects

    assert (first.reference, first.mode) == (Reference("secret", "123", "12345"), 0o644)
    assert (second.reference, second.history) == (Reference("cert", "tls"), 2)


@pytest.mark.parametrize("permission", ["0400", "400", "000400"])
def test_a_permission_is_octal_however_it_is_written(permission: str) -> None:
    """Quoted or not: to upstream it is a string of octal digits."""
    plain, quoted = (
        parsed(f"objectName: db\nobjectType: key\nfilePermission: {text}").objects[0].mode
        for text in (permission, f"'{permission}'")
    )

    assert plain == quoted == 0o400


@pytest.mark.parametrize("version", ["", "latest", "Latest", "~"])
def test_no_version_is_the_latest(version: str) -> None:
    """Upstream's two ways to say so, and YAML's."""
    (one,) = parsed(f"objectName: db\nobjectType: secret\nobjectVersion: {version}").objects

    assert one.reference.version == ""


@pytest.mark.parametrize("history", ["0", "1", "-5", ""])
def test_a_history_of_one_is_none(history: str) -> None:
    """The file then has the object's name, as upstream writes it."""
    assert the_object(objectVersionHistory=history).history == 1


def test_spaces_around_parameters_do_not_count() -> None:
    """As upstream trims them."""
    assert parsed(keyvaultName=" shop-vault\n", clientID="\tapp ") == parsed()


def test_a_vault_has_the_url_of_its_cloud() -> None:
    """With what tokens are asked for, and where."""
    found = parsed()

    assert found.vault_url == "https://shop-vault.vault.azure.net"
    assert found.cloud.scope == "https://vault.azure.net/.default"
    assert found.cloud.authority == "https://login.microsoftonline.com"


@pytest.mark.parametrize("name", ["tenantID", "tenantId"])
def test_a_tenant_may_be_spelt_in_two_ways(name: str) -> None:
    """Upstream renamed it."""
    assert parsed(**{"tenantID": "", name: "contoso.onmicrosoft.com"}).tenant == "contoso.onmicrosoft.com"


def test_a_tenant_may_be_the_service_accounts() -> None:
    """Else the class must name one."""
    without = {**USUAL, "tenantID": "", "objects": objects("{objectName: db, objectType: secret}")}

    assert parse(without, AzureSettings(), has_tenant=True).tenant == ""
    with pytest.raises(InvalidSecretProviderClass, match="tenantID is not set"):
        parse(without, AzureSettings(), has_tenant=False)


@pytest.mark.parametrize("flag", ["false", "False", "0", "f", " false ", ""])
def test_flags_that_are_off_do_nothing(flag: str) -> None:
    """Many manifests carry them, copied from the documentation."""
    assert not parsed(usePodIdentity=flag, useVMManagedIdentity=flag, useAzureTokenProxy=flag).managed


def test_a_managed_identity_is_asked_for() -> None:
    """By its client id, or without one."""
    found = parsed(useVMManagedIdentity="true", userAssignedIdentityID="uami")

    assert (found.managed, found.managed_id) == (True, "uami")


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"keyvaultName": ""}, "keyvaultName is not set"),
        ({"keyvaultName": "ab"}, 'keyvaultName is an invalid vault name: "ab", must match [-a-zA-Z0-9]{3,24}'),
        ({"keyvaultName": "a" * 25}, "an invalid vault name"),
        ({"keyvaultName": "a.evil.example/"}, "an invalid vault name"),
        ({"tenantID": "", "tenantId": ""}, "tenantID is not set"),
        ({"tenantID": "../x"}, "tenantID has characters that it cannot have"),
        ({"clientID": "a&b=c"}, "clientID has characters that it cannot have"),
        ({"cloudName": "AzureGermanCloud"}, "cloudName is not valid: write one of AzurePublicCloud"),
        ({"usePodIdentity": "yes"}, 'usePodIdentity is "yes": write true or false'),
        ({"usePodIdentity": "true"}, "usePodIdentity is not supported: Azure has ended aad-pod-identity"),
        ({"useAzureTokenProxy": "true"}, "useAzureTokenProxy is not supported"),
        (
            {"usePodIdentity": "true", "useVMManagedIdentity": "1"},
            "only one identity mode can be enabled at a time: choose one of usePodIdentity, useVMManagedIdentity",
        ),
        ({"objects": ""}, "objects is not set"),
        ({"objects": "array: []"}, 'objects must hold "array:"'),
        ({"objects": "- a"}, 'objects must hold "array:"'),
        ({"objects": "array: {"}, "objects is not valid YAML at line 2, column"),
        ({"objects": "array: [{objectName: db}]"}, "objects[0] must be a text of at most 8 KiB"),
        ({"objects": "array: ['a: [']"}, "objects[0] is not valid YAML"),
        ({"objects": "array: [text]"}, "objects[0] must hold fields"),
        ({"objects": f"array: ['{'x' * 9000}']"}, "objects[0] must be a text of at most 8 KiB"),
    ],
)
def test_wrong_parameters_are_named(parameters: dict[str, str], words: str) -> None:
    """With what to write instead."""
    assert words in problems(**parameters)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"objectName": ""}, "objects[0].objectName is not set"),
        ({"objectName": "a/b"}, 'objects[0].objectName is "a/b": 1 to 127 letters'),
        ({"objectName": "a" * 128}, "objects[0].objectName"),
        ({"objectType": ""}, 'objects[0].objectType is "": invalid vaultObjectTypes, should be secret, key, or cert'),
        ({"objectType": "Secret"}, "invalid vaultObjectTypes"),
        ({"objectVersion": "a?b"}, "objects[0].objectVersion must be a version's id"),
        ({"objectVersionHistory": "many"}, "objects[0].objectVersionHistory must be a number"),
        ({"objectVersionHistory": "2147483648"}, "objects[0].objectVersionHistory must be a number"),
        ({"objectFormat": "der"}, 'objects[0].objectFormat is "der": invalid objectFormat, should be PEM or PFX'),
        ({"objectFormat": "pfx", "objectType": "cert"}, "PFX format only supported for objectType: secret"),
        ({"objectEncoding": "utf-16"}, 'objects[0].objectEncoding is "utf-16": should be hex, base64 or utf-8'),
        ({"objectEncoding": "hex", "objectType": "key"}, "objectEncoding only supported for objectType: secret"),
        ({"filePermission": "0o644"}, "objects[0].filePermission must be a valid octal number"),
        ({"filePermission": "888"}, "must be a valid octal number"),
        ({"filePermission": "1777"}, "must be a valid octal number"),
        ({"objectAlias": "/etc/passwd"}, "objects[0].objectAlias makes a file name that must be a relative path"),
        ({"objectAlias": "a/../b"}, "must not contain '..'"),
        ({"objectAlias": "..data"}, "must not contain '..'"),
        ({"objectAlias": "x" * 256}, "each part must have at most 255 bytes"),
        ({"objectAlias": "./"}, "makes no file name"),
        ({"objectAlias": "a\tb"}, "makes no file name"),
        ({"objectName": ["db"]}, "objects[0].objectName must be a text"),
    ],
)
def test_wrong_fields_are_named(fields: dict[str, Any], words: str) -> None:
    """By the entry's place, with upstream's words where it has some."""
    assert words in problems({"objectName": "db", "objectType": "secret", **fields})


def test_all_problems_are_told_at_once() -> None:
    """An author mends a class in one go."""
    told = problems(
        {"objectName": "db"},
        {"objectType": "key"},
        keyvaultName="x",
        tenantID="",
        cloudName="moon",
        usePodIdentity="true",
    )

    for words in (
        "objects[0].objectType",
        "objects[1].objectName",
        "keyvaultName",
        "tenantID",
        "cloudName",
        "usePodIdentity",
    ):
        assert words in told


def test_many_problems_still_fit_into_an_event() -> None:
    """The first twenty are told."""
    told = problems(*({"objectName": "db"} for _ in range(50)))

    assert told.count("objectType") == 20
    assert told.endswith("and 30 more problems")


@pytest.mark.parametrize(
    "pair",
    [
        ({"objectAlias": "a"}, {"objectAlias": "a/b"}),
        ({"objectAlias": "a", "objectVersionHistory": 2}, {"objectAlias": "a"}),
        ({"objectAlias": "a", "objectVersionHistory": 2}, {"objectAlias": "a/0/b"}),
    ],
)
def test_a_file_where_a_folder_is_needed_is_refused(pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """No driver could write both."""
    told = problems(*({"objectName": "db", "objectType": "secret", **one} for one in pair))

    assert "needs a folder where a" in told


def test_an_alias_of_yaml_may_stand_for_an_entry() -> None:
    """Within reason: a thousand uses of one long text are more than a class can hold."""
    short, long = (
        f"array: [&a 'objectName: db\n\n  objectType: secret\n\n  o: {'x' * length}', {', '.join(['*a'] * 999)}]"
        for length in (1, 8000)
    )

    found = parse({**USUAL, "objects": short}, AzureSettings(), has_tenant=False)

    assert len(found.objects) == 1000
    with pytest.raises(InvalidSecretProviderClass, match="objects stands for more than"):
        parse({**USUAL, "objects": long}, AzureSettings(), has_tenant=False)


@pytest.mark.parametrize(
    ("parameters", "host"),
    [
        ({"keyvaultName": " Shop-Vault "}, "shop-vault.vault.azure.net"),
        ({"keyvaultName": "shop-vault", "cloudName": "AzureChinaCloud"}, "shop-vault.vault.azure.cn"),
        ({"keyvaultName": "shop-vault", "objects": "["}, "shop-vault.vault.azure.net"),
        ({"keyvaultName": "evil/.example"}, ""),
        ({"keyvaultName": "shop-vault", "cloudName": "moon"}, ""),
        ({"keyvaultName": "shop-vault", "cloudName": "AzureStackCloud"}, ""),
        ({}, ""),
    ],
)
def test_a_class_asks_the_host_of_its_vault(parameters: dict[str, str], host: str) -> None:
    """In one spelling, also where something else of the class is wrong; none where nobody could be asked."""
    assert backend(parameters, AzureSettings()) == host


def test_a_private_clouds_vault_is_told_apart_by_its_path() -> None:
    """Where all vaults have one host."""
    settings = AzureSettings(vault_url="https://vaults.example/{name}")

    assert backend({"keyvaultName": "Shop"}, settings) == "vaults.example/shop"
