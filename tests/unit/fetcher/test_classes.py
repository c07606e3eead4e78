"""Classes and service accounts as a fetch reads them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.classes import Classes, ServiceAccounts, project_account, project_class
from keyferry.errors import InvalidSecretProviderClass, KubernetesUnavailable, SecretProviderClassNotFound
from keyferry.kube import Json, Kube, connect
from keyferry.resources import SecretProviderClass
from keyferry.testing.kube import KubeAPI, crds

DEFINITIONS = crds.load(Path(__file__).parents[3] / "deploy" / "crds")
CLASSES = "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/default/secretproviderclasses"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
ROLE = {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/web"}


@pytest.fixture
async def api() -> AsyncIterator[KubeAPI]:
    """An API server that knows SecretProviderClasses."""
    async with KubeAPI(crds=DEFINITIONS) as api:
        yield api


@pytest.fixture
async def kube(api: KubeAPI) -> AsyncIterator[Kube]:
    """A client of ours."""
    async with connect(api.kubeconfig) as kube:
        yield kube


def secret_provider_class(**spec: Any) -> Json:
    """A manifest as users write it."""
    return {
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClass",
        "metadata": {
            "name": "db",
            "namespace": "default",
            "annotations": {"keyferry.io/rotation-interval": "10m", "kubectl.kubernetes.io/last-applied": "{}"},
        },
        "spec": {"provider": "aws", "parameters": {"objects": "- objectName: db\n"}} | spec,
    }


async def test_a_class_is_read_with_what_fetching_needs(kube: Kube) -> None:
    """Provider, parameters and our annotations; nothing else of the object is kept."""
    await kube.post(CLASSES, secret_provider_class())

    assert await Classes(kube).get("default", "db") == SecretProviderClass(
        namespace="default",
        name="db",
        provider="aws",
        parameters={"objects": "- objectName: db\n"},
        annotations={"keyferry.io/rotation-interval": "10m"},
        syncs=False,
    )


async def test_a_class_with_secret_objects_syncs(kube: Kube) -> None:
    """That much of secretObjects the fetcher must know: whether the syncer waits for the content."""
    await kube.post(CLASSES, secret_provider_class(secretObjects=[{"secretName": "db", "type": "Opaque"}]))

    assert (await Classes(kube).get("default", "db")).syncs


async def test_a_missing_class_is_reported_in_the_words_people_grep_for(kube: Kube) -> None:
    """Upstream's text, with namespace and name."""
    with pytest.raises(SecretProviderClassNotFound) as caught:
        await Classes(kube).get("default", "db")

    assert caught.value.message.startswith(
        "failed to get secretproviderclass default/db, error: "
        'secretproviderclasses.secrets-store.csi.x-k8s.io "db" not found'
    )


async def test_a_class_of_another_namespace_is_not_found(kube: Kube) -> None:
    """Classes are of the pod's own namespace."""
    await kube.post(CLASSES, secret_provider_class())

    with pytest.raises(SecretProviderClassNotFound):
        await Classes(kube).get("kube-system", "db")


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"provider": ""}, "spec.provider"),
        ({"provider": None}, "spec.provider"),
        ({"parameters": {}}, "spec.parameters"),
        ({"parameters": None}, "spec.parameters"),
    ],
)
async def test_a_class_that_lacks_a_field_says_which(kube: Kube, spec: Json, field: str) -> None:
    """The CRD requires nothing, so we say what is missing, and of which class."""
    await kube.post(CLASSES, secret_provider_class(**spec))

    with pytest.raises(InvalidSecretProviderClass, match=rf"^secretproviderclass default/db: {field} is empty"):
        await Classes(kube).get("default", "db")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"provider": 7}, "spec.provider is empty"),
        ({"parameters": ["objects"]}, "spec.parameters is empty"),
        ({"parameters": {"objects": [{"objectName": "db"}]}}, "spec.parameters.objects is not a string"),
        ({"parameters": {"b": 1, "a": True}}, "spec.parameters.a is not a string"),
    ],
)
def test_a_malformed_class_says_what_to_write(spec: Json, said: str) -> None:
    """What the CRD's schema would have refused, had it been in force when the object was written."""
    assert str(project_class(secret_provider_class(**spec))).startswith(said)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional={"metadata": JSON, "spec": JSON}))
def test_no_object_can_stop_the_cache(told: Json) -> None:
    """One broken object must not keep the whole cluster's classes and accounts from being read."""
    assert isinstance(project_class(told), SecretProviderClass | str)
    assert project_account(told) is not None


@given(JSON, JSON, JSON)
def test_no_field_can_stop_the_cache(annotations: Any, provider: Any, parameters: Any) -> None:
    """The same one level deeper."""
    told = {"metadata": {"annotations": annotations}, "spec": {"provider": provider, "parameters": parameters}}

    assert isinstance(project_class(told), SecretProviderClass | str)
    assert project_account(told) is not None


async def test_changes_of_a_class_are_seen(kube: Kube) -> None:
    """A running fetcher works with the class as it is now."""
    await kube.post(CLASSES, secret_provider_class())
    classes = Classes(kube)
    task = asyncio.create_task(classes.run())
    await _until_provider(classes, "aws")

    await kube.call(
        "PATCH", f"{CLASSES}/db", body={"spec": {"provider": "vault"}}, content_type="application/merge-patch+json"
    )

    await _until_provider(classes, "vault")
    task.cancel()


async def test_known_classes_outlive_the_api_server(api: KubeAPI, kube: Kube) -> None:
    """While the API server is away, known classes are served and unknown ones are for trying again."""
    await kube.post(CLASSES, secret_provider_class())
    classes = Classes(kube)
    task = asyncio.create_task(classes.run())
    await _until_provider(classes, "aws")
    async with api.refusing_connections():
        assert (await classes.get("default", "db")).provider == "aws"
        with pytest.raises(KubernetesUnavailable):
            await classes.get("default", "other")
    task.cancel()


async def test_only_what_providers_read_is_known_of_a_service_account(kube: Kube) -> None:
    """The roles and client ids of the three clouds, and no other annotation."""
    azure, gcp = {"azure.workload.identity/client-id": "c"}, {"iam.gke.io/gcp-service-account": "s@p.iam"}
    noise = {"example.org/note": "x", "eks.amazonaws.community/role": "x"}
    metadata = {"name": "web", "annotations": ROLE | azure | gcp | noise}
    await kube.post(ACCOUNTS, {"metadata": metadata})

    assert await ServiceAccounts(kube).annotations("default", "web") == ROLE | azure | gcp


async def test_an_account_without_annotations_costs_no_call(api: KubeAPI, kube: Kube) -> None:
    """Most accounts have none: the cache knows that too."""
    await kube.post(ACCOUNTS, {"metadata": {"name": "web"}})
    accounts = ServiceAccounts(kube)
    task = asyncio.create_task(accounts.run())
    async with asyncio.timeout(10):
        while not accounts.watched.synced:  # noqa: ASYNC110 - as readiness is polled
            await asyncio.sleep(0.01)

    assert await accounts.annotations("default", "web") == {}
    assert f"GET {ACCOUNTS}/web" not in api.faults.requests
    task.cancel()


async def test_an_account_that_is_gone_has_no_annotations(kube: Kube) -> None:
    """The provider then says which annotation it needs."""
    assert await ServiceAccounts(kube).annotations("default", "gone") == {}


async def _until_provider(classes: Classes, provider: str) -> None:
    async with asyncio.timeout(10):
        while getattr(classes.watched.get("default", "db"), "provider", None) != provider:  # noqa: ASYNC110 - a cache
            await asyncio.sleep(0.01)
