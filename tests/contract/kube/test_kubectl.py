"""The real kubectl against the server under test."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import CRDS, Api, Cluster

SEED = {path.stem: path.read_text() for path in sorted((Path(__file__).parent / "seed").glob("*.yaml"))}
KUBECTL = shutil.which("kubectl")

pytestmark = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")


class Kubectl:
    """Runs kubectl in the test's namespace."""

    def __init__(self, kubeconfig: Path, namespace: str, cache: Path) -> None:
        self._fixed = [f"--kubeconfig={kubeconfig}", f"--namespace={namespace}", f"--cache-dir={cache}"]

    async def __call__(self, *arguments: str, stdin: str = "") -> tuple[int, str]:
        """Exit status, and what it printed on either stream."""
        process = await asyncio.create_subprocess_exec(
            str(KUBECTL),
            *self._fixed,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate(stdin.encode())
        return process.returncode or 0, output.decode()

    async def ok(self, *arguments: str, stdin: str = "") -> str:
        """What it printed; it must succeed."""
        status, output = await self(*arguments, stdin=stdin)
        assert status == 0, output
        return output

    async def json(self, *arguments: str) -> Any:
        """What it printed with -o json."""
        return json.loads(await self.ok(*arguments, "-o", "json"))


@pytest.fixture
def kubectl(cluster: Cluster, api: Api, tmp_path: Path) -> Kubectl:
    return Kubectl(cluster.kubeconfig, api.namespace, tmp_path)


async def refuses_empty_strings(api: Api, classes: str) -> bool:
    kind = {"apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass"}
    body = kind | {"metadata": {"name": "probe"}, "spec": {"provider": ""}}
    return (await api.call("POST", classes, body, dryRun="All")).status == 422


@pytest.mark.parametrize("manifest", SEED)
async def test_the_manifests_people_have_today(api: Api, classes: str, kubectl: Kubectl, manifest: str) -> None:
    """Existing SecretProviderClasses are applied and come back as they are, again and again."""
    text = SEED[manifest].replace("namespace: production", f"namespace: {api.namespace}")
    wanted = yaml.safe_load(text)
    if '""' in text and await refuses_empty_strings(api, classes):
        pytest.skip("this API server takes empty strings for null: its Go is newer than its sources")

    created = await kubectl.ok("apply", "--validate=false", "-f", "-", stdin=text)
    again = await kubectl.ok("apply", "--validate=false", "-f", "-", stdin=text)
    found = await kubectl.json("get", "secretproviderclass", wanted["metadata"]["name"])

    assert created.strip().endswith("created")
    assert again.strip().endswith("unchanged")
    assert found["spec"] == wanted["spec"]


async def test_the_definitions_can_be_applied(kubectl: Kubectl) -> None:
    """deploy/crds is what a person applies; wait sees them established."""
    await kubectl.ok("apply", "--server-side", "--force-conflicts", "--validate=false", "-f", str(CRDS))
    waited = await kubectl.ok("wait", "--for=condition=Established", "--timeout=30s", "-f", str(CRDS))

    assert waited.count("condition met") == 3


async def test_an_edited_manifest_changes_the_object(classes: str, kubectl: Kubectl) -> None:
    """Apply removes what the manifest no longer has, client-side and server-side."""
    assert classes
    text = SEED["aws-with-sync"].replace("  namespace: production\n", "")
    less = yaml.safe_load(text)
    del less["spec"]["secretObjects"]
    less["metadata"]["labels"] = {"edited": "yes"}

    await kubectl.ok("apply", "--validate=false", "-f", "-", stdin=text)
    await kubectl.ok("apply", "--validate=false", "-f", "-", stdin=json.dumps(less))
    found = await kubectl.json("get", "secretproviderclass", "aws-secrets-with-sync")

    assert "secretObjects" not in found["spec"]
    assert found["metadata"]["labels"] == {"edited": "yes"}


async def test_get_shows_the_columns(classes: str, kubectl: Kubectl) -> None:
    """Kubectl get prints the additional printer columns."""
    assert classes
    text = SEED["vault"].replace("  namespace: production\n", "")
    await kubectl.ok("apply", "--validate=false", "-f", "-", stdin=text)

    head, row = (await kubectl.ok("get", "secretproviderclasses")).splitlines()

    assert head.split() == ["NAME", "PROVIDER", "AGE"]
    assert row.split()[:2] == ["vault-secrets", "vault"]


async def test_secrets_are_created_labelled_patched_and_deleted(kubectl: Kubectl) -> None:
    """The verbs that people use most."""
    await kubectl.ok("create", "secret", "generic", "s", "--from-literal=a=1")
    await kubectl.ok("label", "secret", "s", "l=1")
    await kubectl.ok("annotate", "secret", "s", "n=1")
    await kubectl.ok("patch", "secret", "s", "-p", '{"stringData":{"b":"2"}}')
    await kubectl.ok("patch", "secret", "s", "--type=json", "-p", '[{"op":"remove","path":"/data/a"}]')
    found = await kubectl.json("get", "secret", "s")
    described = await kubectl.ok("describe", "secret", "s")
    names = await kubectl.ok("get", "secrets", "-l", "l=1", "-o", "name")
    deleted = await kubectl.ok("delete", "secret", "s")
    missing = await kubectl("get", "secret", "s")

    assert found["data"] == {"b": "Mg=="}
    assert (found["metadata"]["labels"], found["metadata"]["annotations"]) == ({"l": "1"}, {"n": "1"})
    assert "b:  1 bytes" in described
    assert names.strip() == "secret/s"
    assert 'secret "s" deleted' in deleted
    assert missing == (1, 'Error from server (NotFound): secrets "s" not found\n')


async def test_pods_and_their_events_are_described(api: Api, pod: dict[str, Any], kubectl: Kubectl) -> None:
    """Describe pod shows its Events: that is where people look for a failed mount."""
    about = {"kind": "Pod", "namespace": api.namespace, "name": "app", "uid": pod["metadata"]["uid"]}
    event = {"metadata": {"name": "e"}, "involvedObject": about, "type": "Warning", "reason": "FailedMount"}
    await api.make(
        "/api/v1/namespaces/{ns}/events", event | {"message": "no secret", "source": {"component": "kubelet"}}
    )

    described = await kubectl.ok("describe", "pod", "app")

    assert f"Node:             node-{api.namespace}/" in described
    assert "FailedMount" in described
    assert "no secret" in described


@pytest.mark.parametrize("flag", ["--server-side", "--server-side=false"])
async def test_a_deployment_is_applied(kubectl: Kubectl, flag: str) -> None:
    """Built-in kinds too, in both ways."""
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {
                    "containers": [{"name": "c", "image": "localhost/none:1", "env": [{"name": "E", "value": "1"}]}]
                },
            },
        },
    }
    changed = json.loads(json.dumps(manifest))
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = "localhost/none:2"

    await kubectl.ok("apply", flag, "--validate=false", "-f", "-", stdin=json.dumps(manifest))
    await kubectl.ok("apply", flag, "--validate=false", "-f", "-", stdin=json.dumps(changed))
    container = (await kubectl.json("get", "deployment", "d"))["spec"]["template"]["spec"]["containers"][0]

    assert container["image"] == "localhost/none:2"
    assert container["env"] == [{"name": "E", "value": "1"}]


async def test_server_side_conflicts_are_explained(kubectl: Kubectl) -> None:
    """Kubectl tells whom a field belongs to."""
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "1"}}
    text, other = json.dumps(manifest), json.dumps(manifest | {"data": {"k": "2"}})
    apply = ("apply", "--server-side", "--validate=false", "-f", "-")

    await kubectl.ok(*apply, "--field-manager=one", stdin=text)
    status, output = await kubectl(*apply, "--field-manager=two", stdin=other)

    assert status == 1
    assert 'Apply failed with 1 conflict: conflict with "one": .data.k' in output


async def test_tokens_namespaces_and_deletion(api: Api, kubectl: Kubectl) -> None:
    """Create token, create and delete a namespace (waiting until it is gone), delete by selector."""
    token = await kubectl.ok("create", "token", "default", "--audience=vault")
    name = f"{api.namespace}-x"
    await kubectl.ok("create", "namespace", name)
    gone = await kubectl.ok("delete", "namespace", name, "--timeout=30s")
    await kubectl.ok("create", "configmap", "one", "--from-literal=a=1")
    await kubectl.ok("label", "configmap", "one", "go=1")
    swept = await kubectl.ok("delete", "configmaps", "-l", "go=1")

    assert token.count(".") == 2
    assert f'namespace "{name}" deleted' in gone
    assert 'configmap "one" deleted' in swept


async def test_get_watches(api: Api, kubectl: Kubectl) -> None:
    """Kubectl wait follows an object until it is as wanted."""
    await api.make("/api/v1/namespaces/{ns}/configmaps", {"metadata": {"name": "c"}, "data": {"k": "1"}})
    waiting = asyncio.create_task(kubectl("wait", "--for=jsonpath={.data.k}=2", "configmap/c", "--timeout=30s"))
    await asyncio.sleep(0.5)
    await api.merge("/api/v1/namespaces/{ns}/configmaps/c", {"data": {"k": "2"}})

    assert await waiting == (0, "configmap/c condition met\n")


async def test_api_resources_lists_ours(classes: str, kubectl: Kubectl) -> None:
    """Discovery is good enough for kubectl."""
    assert classes
    output = await kubectl.ok("api-resources", "--api-group=secrets-store.csi.x-k8s.io")

    assert "secretproviderclasses" in output
    assert "SecretProviderClassPodStatus" in output
