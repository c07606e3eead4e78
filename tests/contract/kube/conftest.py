"""The API server under test: the emulator, or a real one, for the same tests.

KUBECONFIG names a server to use as it is: the tests make (and remove) namespaces in it and install our two CRDs. Else
KUBEBUILDER_ASSETS names the folder of etcd and kube-apiserver to start one from. Else it is the emulator.
"""

import asyncio
import json
import os
import subprocess
import sys
import urllib.parse
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio import client, config

from keyferry.testing.kube import crds
from keyferry.testing.kube.real import real_kube

Json = dict[str, Any]

CRDS = Path(__file__).parents[3] / "deploy" / "crds"
CLASSES = "/apis/secrets-store.csi.x-k8s.io/v1"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
PATIENCE_SECONDS = 30.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Cluster:
    """Where the server under test is; `etcd_url` only if it is ours and real."""

    kubeconfig: Path
    etcd_url: str = ""
    is_emulator: bool = False


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def message(self) -> str:
        """The Status's message."""
        return str(self.body["message"])

    @property
    def reason(self) -> str:
        """The Status's reason."""
        return str(self.body.get("reason", ""))


@dataclass(frozen=True)
class Api:
    """The Kubernetes client, asked for raw JSON, and a namespace to work in."""

    client: client.ApiClient
    namespace: str = ""
    minor: int = 0
    has_controllers: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)

    async def call(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json", **query: Any
    ) -> Answer:
        """One call; the path may hold {ns}. Query parameters as Kubernetes spells them; `accept` is the header."""
        headers = {"Accept": query.pop("accept", "application/json"), "Content-Type": content_type}
        pairs = [(name.rstrip("_"), str(value)) for name, value in query.items()]
        url = self.client.configuration.host + path.replace("{ns}", self.namespace)
        headers |= await self._credentials()
        url = f"{url}?{urllib.parse.urlencode(pairs)}"
        response = await self.client.rest_client.request(method, url, headers, body)  # type: ignore[no-untyped-call]  # the client is not annotated
        text = (await response.read()).decode()
        return Answer(response.status, _parsed(text), response.headers)

    async def _credentials(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        await self.client.update_params_for_auth(headers, [], ["BearerToken"], "", "", None)
        return headers | dict(self.headers)

    async def make(self, path: str, body: Json, **query: Any) -> Json:
        """Creates an object; what came of it."""
        answer = await self.call("POST", path, body, **query)
        assert answer.status == 201, answer.body
        made: Json = answer.body
        return made

    async def read(self, path: str, **query: Any) -> Json:
        """Gets what must be there."""
        answer = await self.call("GET", path, **query)
        assert answer.status == 200, answer.body
        found: Json = answer.body
        return found

    async def names(self, path: str, **query: Any) -> list[str]:
        """The names in a list, in its order."""
        return [item["metadata"]["name"] for item in (await self.read(path, **query))["items"]]

    async def revision(self, path: str) -> str:
        """The resourceVersion of a list."""
        return str((await self.read(path))["metadata"]["resourceVersion"])

    async def apply(self, path: str, body: Json, manager: str, **query: Any) -> Answer:
        """Applies a configuration for a manager."""
        query |= {"content_type": "application/apply-patch+yaml", "fieldManager": manager}
        return await self.call("PATCH", path, body, **query)

    async def merge(self, path: str, body: Json, **query: Any) -> Answer:
        """Sends a JSON merge patch."""
        return await self.call("PATCH", path, body, content_type="application/merge-patch+json", **query)

    async def watch(self, path: str, seconds: int = 1, **query: Any) -> list[Json]:
        """The events of a watch that ends after `seconds`."""
        answer = await self.call("GET", path, watch="true", timeoutSeconds=seconds, **query)
        assert answer.status == 200, answer.body
        return answer.body if isinstance(answer.body, list) else [answer.body] if answer.body else []

    async def until(self, path: str, wanted: Any, **query: Any) -> Json:
        """Asks until `wanted(answer)` is true; the last answer's body."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not wanted(answer := await self.call("GET", path, **query)):  # noqa: ASYNC110 - it is on a server
                await asyncio.sleep(_POLL_SECONDS)
        return answer.body  # type: ignore[no-any-return]  # JSON

    async def gone(self, path: str) -> None:
        """Waits until there is nothing at the path."""
        await self.until(path, lambda answer: answer.status == 404)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        lines = text.splitlines()
        return [json.loads(line) for line in lines] if all(line.startswith("{") for line in lines) else text


@contextmanager
def emulator(folder: Path, *options: str) -> Iterator[Cluster]:
    """The emulator as a process of its own, as the demo runs it."""
    command = [sys.executable, "-m", "keyferry.testing.kube", "--kubeconfig", str(folder / "kubeconfig"), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        yield Cluster(Path(ready["kubeconfig"]), is_emulator=True)
        process.terminate()
        assert process.wait(10) == 0


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The server under test."""
    folder = tmp_path_factory.mktemp("kube")
    if os.environ.get("KUBECONFIG"):
        yield Cluster(Path(os.environ["KUBECONFIG"]))
    elif os.environ.get("KUBEBUILDER_ASSETS"):
        with real_kube(Path(os.environ["KUBEBUILDER_ASSETS"]), folder) as real:
            yield Cluster(real.kubeconfig, real.etcd_url)
    else:
        with emulator(folder) as running:
            yield running


@asynccontextmanager
async def connected(kubeconfig: Path) -> AsyncIterator[Api]:
    """A client and a fresh namespace, which is deleted afterwards."""
    async with await config.new_client_from_config(str(kubeconfig)) as api_client:  # type: ignore[no-untyped-call]  # the client is not annotated
        bare = Api(api_client)
        minor = int((await bare.read("/version"))["minor"].rstrip("+"))
        default = await bare.call("GET", "/api/v1/namespaces/default/serviceaccounts/default")
        namespace = f"kf-{uuid.uuid4().hex[:8]}"
        await bare.make("/api/v1/namespaces", {"metadata": {"name": namespace}})
        api = Api(api_client, namespace, minor, default.status == 200)
        await _furnish(api)
        yield api
        await api.call("DELETE", f"/api/v1/namespaces/{namespace}")


async def _furnish(api: Api) -> None:
    account = "/api/v1/namespaces/{ns}/serviceaccounts"
    if api.has_controllers:
        await api.until(f"{account}/default", lambda answer: answer.status == 200)
    else:
        await api.make(account, {"metadata": {"name": "default"}})


@pytest.fixture
async def api(cluster: Cluster) -> AsyncIterator[Api]:
    """A client of the server under test, with a namespace of the test's own."""
    async with connected(cluster.kubeconfig) as api:
        yield api


@pytest.fixture
async def classes(api: Api) -> str:
    """Our CRDs are installed; the path of the namespace's SecretProviderClasses."""
    for definition in crds.load(CRDS):
        answer = await api.call("POST", DEFINITIONS, definition)
        assert answer.status in {201, 409}, answer.body
    for plural in ("secretproviderclasses", "secretproviderclasspodstatuses"):
        await api.until(f"{CLASSES}/{plural}", lambda answer: answer.status == 200)
    return CLASSES + "/namespaces/{ns}/secretproviderclasses"


@pytest.fixture
def controllers(api: Api) -> None:
    """For tests of what a controller manager does."""
    if not api.has_controllers:
        pytest.skip("this API server has no controller manager")


@pytest.fixture
async def node(api: Api) -> AsyncIterator[Json]:
    """A Node object."""
    made = await api.make("/api/v1/nodes", {"metadata": {"name": f"node-{api.namespace}"}})
    yield made
    await api.call("DELETE", f"/api/v1/nodes/{made['metadata']['name']}")


@pytest.fixture
async def pod(api: Api, node: Json) -> Json:
    """A pod on that node."""
    return await api.make("/api/v1/namespaces/{ns}/pods", pod_manifest("app", nodeName=node["metadata"]["name"]))


def pod_manifest(name: str, **spec: Any) -> Json:
    """A pod that needs no account token, which an old server makes only after a moment."""
    fixed = {"containers": [{"name": "main", "image": "localhost/none:1"}], "automountServiceAccountToken": False}
    return {"metadata": {"name": name}, "spec": fixed | spec}
