"""Classes that cannot work: what the pod's author reads, and that nothing of the attempt is left."""

from __future__ import annotations

from typing import Any

import pytest

from keyferry.testing.world import World

pytestmark = pytest.mark.root

INVALID, NOT_FOUND, DENIED = "INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED"


async def attempt(world: World, class_name: str) -> tuple[str, str]:
    """Mount a class that cannot be mounted, then, with the same volume, one that can."""
    pod = await world.pod(class_name)
    code, said = await world.refused(world.kubelet.publish(pod, class_name), pod)
    target = await world.kubelet.publish(pod, "secrets")
    assert (target / "password").read_text() == "tiger"
    return code, said.replace(pod["metadata"]["name"], "POD").replace(world.namespace, "NS")


async def test_unknown_class(world: World) -> None:
    """A class that is not in the pod's namespace is named in the words that upstream's users grep for."""
    code, said = await attempt(world, "absent")

    assert code == NOT_FOUND
    assert said.startswith(
        "failed to mount secrets store objects for pod NS/POD, err: "
        "failed to get secretproviderclass NS/absent, error: "
        'secretproviderclasses.secrets-store.csi.x-k8s.io "absent" not found'
    )
    assert "create it in namespace NS" in said


async def test_class_of_another_namespace(world: World, settle: Any) -> None:
    """A class is looked for in the pod's namespace alone."""
    neighbour = await settle(world.node)
    await neighbour.vault_class("theirs")
    code, said = await attempt(world, "theirs")

    assert code == NOT_FOUND
    assert "secretproviderclass NS/theirs" in said


SPECS: dict[str, tuple[Any, Any, str]] = {
    "no provider": (None, {"objects": "x"}, "spec.provider is empty"),
    "empty provider": ("", {"objects": "x"}, "spec.provider is empty: name the provider"),
    "no parameters": ("vault", None, "spec.parameters is empty"),
    "empty parameters": ("vault", {}, "spec.parameters is empty"),
    "unknown provider": ("hal", {"objects": "x"}, 'provider not found: provider "hal" of class NS/bad'),
    "wrong case": ("Vault", {"objects": "x"}, "spec.provider is one of aws, azure, gcp, openbao, vault"),
}


@pytest.mark.parametrize(("provider", "parameters", "text"), SPECS.values(), ids=SPECS)
async def test_bad_spec(world: World, provider: Any, parameters: Any, text: str) -> None:
    """A class without a usable provider or parameters says which field to fill."""
    await world.make_class("bad", provider, parameters)
    code, said = await attempt(world, "bad")

    assert code == INVALID
    assert text in said


ENTRY = {"secretPath": "secret/data/x", "secretKey": "y"}
PARAMETERS: dict[str, tuple[dict[str, str], str]] = {
    "no role": ({"roleName": ""}, "missing 'roleName'"),
    "no address": ({"vaultAddress": ""}, "vaultAddress is missing"),
    "address with a password": ({"vaultAddress": "http://me:tiger@vault:8200"}, "vaultAddress is not a usable URL"),
    "misspelt parameter": ({"rolename": "x"}, "rolename is not a parameter: write roleName"),
    "no objects": ({"objects": ""}, "objects is missing or empty"),
    "objects that are a text": ({"objects": "password"}, "objects must be a YAML list"),
    "broken YAML": ({"objects": "- objectName: [x\n  y"}, "objects is not valid YAML at line"),
    "tabs": ({"objects": "- objectName: x\n\tsecretPath: y"}, "objects is not valid YAML at line 2"),
    "a bomb": ({"objects": "a: &a [x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(9))}, "YAML list"),
    "object without a name": ({"objects": "- secretPath: secret/data/x"}, "objects[0].objectName is missing"),
    "object without a path": ({"objects": "- objectName: x"}, "objects[0].secretPath is missing"),
    "misspelt field": ({"objects": "- {objectname: x, secretPath: y}"}, "write objectName"),
    "climbing path": (
        {"objects": "- {objectName: x, secretPath: secret/data/../../sys/seal}"},
        "objects[0].secretPath must be a Vault API path",
    ),
    "bad permission": (
        {"objects": "- {objectName: x, secretPath: y, filePermission: rwx}"},
        "objects[0].filePermission must be permission bits",
    ),
    "several problems": (
        {"roleName": "", "objects": "- secretPath: y"},
        "missing 'roleName' in SecretProviderClass definition; objects[0].objectName is missing",
    ),
}


@pytest.mark.parametrize(("parameters", "text"), PARAMETERS.values(), ids=PARAMETERS)
async def test_bad_parameters(world: World, parameters: dict[str, str], text: str) -> None:
    """A class whose parameters cannot work says which of them, all at once, and what to write."""
    await world.vault_class("bad", **parameters)
    code, said = await attempt(world, "bad")

    assert code == INVALID
    assert text in said
    assert "tiger" not in said


NAMES: dict[str, tuple[str, str]] = {
    "absolute": ("/etc/passwd", "must be a relative path without '..'"),
    "parent": ("..", "must be a relative path without '..'"),
    "climbing": ("../../etc/passwd", "must be a relative path without '..'"),
    "climbing within": ("a/../../b", "must be a relative path without '..'"),
    "the writer's own": ("..data", "must be a relative path without '..'"),
    "dot": (".", "must be a relative path without '..'"),
    "newline": ("a\nb", "must be a relative path"),
    "long": ("x" * 256, "at most 255 bytes long"),
    "long in bytes": ("ü" * 128, "at most 255 bytes long"),
    "deep": ("/".join("x" * 70), "directories deep"),
}


@pytest.mark.parametrize(("name", "text"), NAMES.values(), ids=NAMES)
async def test_bad_file_name(world: World, name: str, text: str) -> None:
    """A file name that leads out of the volume, or that no file can have, is refused before anything is mounted."""
    entry = {"objectName": name, "secretPath": world.path("db"), "secretKey": "password"}
    await world.vault_class("bad", entry)
    code, said = await attempt(world, "bad")

    assert code == INVALID
    assert text in said


async def test_file_name_with_a_nul(world: World) -> None:
    """A NUL, which YAML can write, is refused as well."""
    objects = f'- {{objectName: "a\\0b", secretPath: {world.path("db")}, secretKey: password}}'
    await world.vault_class("bad", objects=objects)
    code, said = await attempt(world, "bad")

    assert code == INVALID
    assert "objects[0].objectName must be a relative path" in said


async def test_duplicate_file_names(world: World) -> None:
    """Two objects of one name are refused by that name."""
    await world.vault_class("bad", "same=db:password", "same=db:user")
    code, said = await attempt(world, "bad")

    assert code == INVALID
    assert "must be unique" in said
    assert "same" in said


async def test_file_and_folder_of_one_name(world: World) -> None:
    """A name cannot be a file and a folder."""
    await world.vault_class("bad", "tls=db:password", "tls/key=db:user")
    code, said = await attempt(world, "bad")

    assert code == INVALID
    assert "objectName tls/key needs a folder where objectName tls is a file" in said


async def test_audience_without_token(world: World) -> None:
    """A class that needs a token kubelet does not hand out says where audiences are listed, and which there are."""
    await world.vault_class("bad", audience="elsewhere")
    code, said = await attempt(world, "bad")

    assert code == INVALID
    assert 'no service account token for audience "elsewhere"' in said
    assert "keyferry, sts.amazonaws.com, vault" in said
    assert "spec.tokenRequests of the CSIDriver object" in said


async def test_many_problems(world: World) -> None:
    """A class with hundreds of bad objects is told of in a text that a gRPC status and an event can carry."""
    await world.vault_class("bad", *({"objectName": f"../{number}"} for number in range(900)))
    code, said = await attempt(world, "bad")

    assert code == INVALID
    assert "objects[0].objectName" in said
    assert len(said) <= 4096
