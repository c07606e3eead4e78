"""docs/troubleshooting.md by symptom: each is brought about, shows the page's text, and goes by what the page says."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from keyferry.kube import Json
from keyferry.testing.kube import tls
from keyferry.testing.kube.pods import until
from keyferry.testing.ports import free_port
from tests.e2e_kube.docs.cluster import NAMESPACE, Cluster
from tests.e2e_kube.docs.installed import SYSTEM
from tests.e2e_kube.docs.reader import ACCOUNT, PAGE, VAULT_OBJECTS, Reader, pattern, secret_class
from tests.e2e_kube.docs.steps import Shell

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="session")]


@pytest.fixture
def reader(guided: Cluster) -> Reader:
    """A reader of the page, with the guide's backends."""
    return Reader(guided)


@dataclass(frozen=True)
class Mistake:
    """A class that cannot be mounted.

    Attributes:
        text: What the page says that the pod's events say.
        wrong: What is wrong about the class.
        right: What is right instead.
    """

    text: str
    wrong: Mapping[str, Any] = field(default_factory=dict)
    right: Mapping[str, Any] = field(default_factory=dict)


TWICE = [*VAULT_OBJECTS, {**VAULT_OBJECTS[0], "secretPath": "secret/data/myapp/api", "secretKey": "token"}]
MISTAKES = {
    "spelling": Mistake('provider not found: provider "…" of class …', {"provider": "valut"}, {"provider": "vault"}),
    "twice": Mistake("within a SecretProviderClass must be unique, but these occur again: …", {"objects": TWICE}),
    "audience": Mistake(
        'no service account token for audience "…" (the pod came with: …)', {"parameters": {"audience": "bank"}}
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
async def test_a_class_that_is_mended(reader: Reader, name: str) -> None:
    """The pod's event has the text; when the class is as the page says, a pod starts."""
    mistake = MISTAKES[name]
    await reader.apply(secret_class(name, **mistake.wrong))
    await reader.pod(name, name)
    await reader.sees("pod", name, mistake.text)

    await reader.apply(secret_class(name, **mistake.right))
    await reader.starts(f"{name}-mended", name)


async def test_a_class_in_another_namespace(reader: Reader) -> None:
    """It is not found; in the pod's own namespace it is."""
    elsewhere = secret_class("moved")
    elsewhere["metadata"]["namespace"] = "default"
    await reader.apply(elsewhere)
    await reader.pod("moved", "moved")
    await reader.sees("pod", "moved", "failed to get secretproviderclass …, error: … not found")

    await reader.apply(secret_class("moved"))
    await reader.starts("moved-mended", "moved")


@pytest.mark.parametrize(
    ("class_name", "annotation", "text", "then"),
    [
        (
            *("aws-secrets", "eks.amazonaws.com/role-arn"),
            *("An IAM role must be associated with service account …", r"^  Ready +True"),
        ),
        (
            *("azure-keyvault", "azure.workload.identity/client-id"),
            *("annotate service account … with …", "federated"),  # which this account is not, as Entra says
        ),
    ],
)
async def test_an_account_without_an_identity(
    reader: Reader, class_name: str, annotation: str, text: str, then: str
) -> None:
    """The event asks for the annotation; with it the backend is asked: the pod starts, or has the backend's own no."""
    name = f"anonymous-{class_name}"
    await reader.cluster.node.kubectl("create", "serviceaccount", name, "-n", NAMESPACE)
    await reader.pod(name, class_name, account=name)
    await reader.sees("pod", name, text)

    told = await reader.cluster.node.kubectl("get", "sa", ACCOUNT, "-n", NAMESPACE, "-o", "json")
    value = json.loads(told)["metadata"]["annotations"][annotation]
    await reader.cluster.node.kubectl("annotate", "sa", name, "-n", NAMESPACE, f"{annotation}={value}")
    await reader.pod(f"{name}-annotated", class_name, account=name)
    await reader.cluster.seen(f"kubectl describe pod {name}-annotated -n {NAMESPACE}", then)


def synced(name: str, file: str = "db-password", key: str = "password", **more: Any) -> Json:
    """A class that keeps its password in a Secret of its own name."""
    wanted = {"secretName": name, "type": "Opaque", "data": [{"objectName": file, "key": key}], **more}
    return secret_class(name, secretObjects=[wanted])


SYNC_MISTAKES = {
    "misnamed": (
        "file matching objectName … not found in the pod: the class mounts …",
        synced("misnamed", file="password"),
    ),
    "minting": (
        "type … is refused: Kubernetes would give or take credentials for it",
        synced("minting", type="kubernetes.io/service-account-token"),
    ),
    "certificate": (
        "key '…' is not supported. Only 'tls.key', 'tls.crt' and 'ca.crt' are supported",
        synced("certificate", type="kubernetes.io/tls"),
    ),
}


@pytest.mark.parametrize("name", SYNC_MISTAKES)
async def test_a_secret_that_cannot_be(reader: Reader, name: str) -> None:
    """The class has the text in an event; with a class that asks for what can be, the Secret comes."""
    text, wrong = SYNC_MISTAKES[name]
    await reader.apply(wrong)
    await reader.pod(name, name)
    await reader.starts(name)
    await reader.sees("secretproviderclass", name, text)

    await reader.apply(synced(name))
    await reader.has_secret(name)


async def test_a_secret_of_somebody_else(reader: Reader) -> None:
    """It is left alone, and the event says whose it is; when it is deleted, ours comes."""
    await reader.cluster.node.kubectl("create", "secret", "generic", "taken", "-n", NAMESPACE, "--from-literal=a=b")
    await reader.apply(synced("taken"))
    await reader.pod("taken", "taken")
    text = "secret … is there already and was made by …: nothing is merged into it"
    await reader.sees("secretproviderclass", "taken", text)

    await reader.delete("secret", "taken")
    await reader.cluster.shell.run(NOW, {"CLASS": "taken", "NAMESPACE": NAMESPACE})
    await reader.has_secret("taken")


async def test_a_file_that_is_no_certificate(reader: Reader) -> None:
    """A private key alone makes no TLS Secret, and the event says what it lacks; with its certificate it does."""
    issued = tls.issue()
    vault, name = reader.cluster.around.openbao, "alone"
    await vault.put("myapp/pem", {"key": issued.key, "both": issued.key + issued.certificate})
    entries = [{"objectName": key, "secretPath": "secret/data/myapp/pem", "secretKey": key} for key in ("key", "both")]
    data = [{"objectName": "key", "key": key} for key in ("tls.crt", "tls.key")]
    wanted = {"secretName": name, "type": "kubernetes.io/tls", "data": data}
    await reader.apply(secret_class(name, objects=entries, secretObjects=[wanted]))
    await reader.starts(name, name)
    text = "has no CERTIFICATE block, for …: name an object that holds a certificate"
    await reader.sees("secretproviderclass", name, text)

    mended = {**wanted, "data": [{**each, "objectName": "both"} for each in data]}
    await reader.apply(secret_class(name, objects=entries, secretObjects=[mended]))
    await reader.has_secret(name, "tls.crt")


async def test_a_rotator_without_redis(reader: Reader) -> None:
    """It says so where the page has one look, and is ready again when Redis is back."""
    (command,) = re.findall(r"^kubectl port-forward .*$", PAGE, re.MULTILINE)
    pod, local = await reader.cluster.pod("app.kubernetes.io/component=rotator", SYSTEM), free_port()
    port = reader.cluster.ports["rotator"]
    here = {"POD 8095": f"{pod} {local}:{port}", "localhost:8095": f"localhost:{local}"}
    asked = Shell(reader.cluster.shell.folder, reader.cluster.shell.env, here, {}).filled(command)
    redis = reader.cluster.around.valkey.process
    redis.pause()
    try:
        await reader.cluster.seen(asked, pattern("Redis does not answer"))
        by_proxy = f"/api/v1/namespaces/{SYSTEM}/pods/{pod}:{port}/proxy/readyz"
        told = await reader.cluster.node.kubectl("get", "--raw", by_proxy, check=False)
        assert "Redis" not in told, "then the page may ask the API server, which is simpler"
    finally:
        redis.resume()
    await reader.cluster.seen(asked, "^ok$")


async def test_a_pod_waits_for_a_secret(reader: Reader) -> None:
    """A variable of a Secret that no class makes keeps the container waiting; a class that makes it lets it start."""
    await reader.apply(secret_class("waiting"))
    variable = {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "waiting", "key": "password"}}}
    await reader.pod("waiting", "waiting", env=[variable])
    await reader.cluster.seen(f"kubectl get pod waiting -n {NAMESPACE}", "CreateContainerConfigError")
    await reader.cluster.seen(f"kubectl describe pod waiting -n {NAMESPACE}", pattern('secret "…" not found'))

    await reader.apply(synced("waiting"))
    await reader.starts("waiting")


async def test_two_classes_of_one_secret(reader: Reader) -> None:
    """The second is told so, and keeps its own under another name."""
    await reader.apply(synced("first"))
    await reader.pod("first", "first")
    await reader.has_secret("first")
    second = synced("second")
    second["spec"]["secretObjects"][0]["secretName"] = "first"
    await reader.apply(second)
    await reader.pod("second", "second")
    text = "secret …: class … makes it already: use another secretName"
    await reader.sees("secretproviderclass", "second", text)

    await reader.apply(synced("second"))
    await reader.has_secret("second")


async def test_a_refresh_that_fails(reader: Reader) -> None:
    """The event has the cause, the files stay as they were; mended, and asked for at once, the new value comes."""
    vault = reader.cluster.around.openbao
    await vault.put("myapp/old", {"password": "before"})
    entry = {**VAULT_OBJECTS[0], "secretPath": "secret/data/myapp/old"}
    await reader.apply(secret_class("old", objects=[entry]))
    await reader.pod("old", "old")
    await reader.starts("old")
    words = {"CLASS": "old", "NAMESPACE": NAMESPACE}
    await vault.call(lambda client: client.secrets.kv.v2.delete_metadata_and_all_versions("myapp/old"))
    await reader.cluster.shell.run(NOW, words)
    events = "kubectl get events -n NAMESPACE --field-selector reason=MountRotationFailed"
    assert events in PAGE
    await reader.cluster.seen(reader.cluster.shell.filled(events, words), r"pod/old .*secret/data/myapp/old")
    inside = ("exec", "old", "-n", NAMESPACE, "--", "cat", "/mnt/old/db-password")
    assert await reader.cluster.node.kubectl(*inside) == "before"

    await vault.put("myapp/old", {"password": "after"})
    await asyncio.sleep(1)  # the page's wish has the second in it: the same one twice changes nothing
    await reader.cluster.shell.run(NOW, words)

    async def arrived() -> bool:
        return await reader.cluster.node.kubectl(*inside) == "after"

    await until(arrived)


(NOW,) = re.findall(r"^kubectl annotate secretproviderclass CLASS .*$", PAGE, re.MULTILINE)
"""The page's way to have a class refreshed at once."""
