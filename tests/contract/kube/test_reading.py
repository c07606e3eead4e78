"""get, list, selectors and pages."""

import pytest

from .conftest import Api

MAPS = "/api/v1/namespaces/{ns}/configmaps"


async def fill(api: Api) -> None:
    for name, labels in (("a", {"app": "x"}), ("b", {"app": "y", "tier": "1"}), ("c", {})):
        await api.make(MAPS, {"metadata": {"name": name, "labels": labels | {"ours": ""}}})


async def test_a_missing_object_is_named_in_the_status(api: Api) -> None:
    """404 tells the kind and the name, in the message and in the details."""
    answer = await api.call("GET", f"{MAPS}/none")

    assert answer.status == 404
    assert answer.body == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'configmaps "none" not found',
        "reason": "NotFound",
        "details": {"name": "none", "kind": "configmaps"},
        "code": 404,
    }


async def test_a_missing_custom_object_is_named_with_its_group(api: Api, classes: str) -> None:
    """404 for a custom kind says plural.group, as every client's users know it."""
    answer = await api.call("GET", f"{classes}/x")

    assert answer.message == 'secretproviderclasses.secrets-store.csi.x-k8s.io "x" not found'
    assert answer.body["details"]["group"] == "secrets-store.csi.x-k8s.io"


async def test_an_unknown_group_is_plain_not_found(api: Api) -> None:
    """A group that nothing serves is answered with text, not with a Status."""
    answer = await api.call("GET", "/apis/nobody.example/v1/things")

    assert answer.status == 404
    assert answer.body == "404 page not found\n"


async def test_an_unknown_path_lists_the_known_ones(api: Api) -> None:
    """Outside the API the answer is a list of where to look."""
    answer = await api.call("GET", "/nowhere")

    assert answer.status == 404
    assert {"/apis", "/apis/apiextensions.k8s.io/v1", "/healthz"} <= set(answer.body["paths"])


@pytest.mark.parametrize("path", ["/api/v1/namespaces/{ns}/things", "/apis/apps/v99/deployments"])
async def test_an_unknown_resource_of_a_known_group_is_a_status(api: Api, path: str) -> None:
    """In a group that is served the answer is a Status without a name."""
    answer = await api.call("GET", path)

    assert answer.status == 404
    assert answer.message == "the server could not find the requested resource"


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("app=x", ["a"]),
        ("app==y", ["b"]),
        ("ours,app!=x", ["b", "c"]),
        ("ours,app in (x,y)", ["a", "b"]),
        ("app notin (x), ours", ["b", "c"]),
        ("ours,!app", ["c"]),
        ("app,tier=1", ["b"]),
        ("app in (x,y),tier!=1", ["a"]),
    ],
)
async def test_label_selectors(api: Api, selector: str, expected: list[str]) -> None:
    """Equality and set based selectors choose the same objects everywhere."""
    await fill(api)

    assert await api.names(MAPS, labelSelector=selector) == expected


@pytest.mark.parametrize("selector", ["a in", "a,,", "=x"])
async def test_a_broken_label_selector_is_refused(api: Api, selector: str) -> None:
    """A selector that cannot be parsed is the caller's mistake."""
    answer = await api.call("GET", MAPS, labelSelector=selector)

    assert (answer.status, answer.reason) == (400, "BadRequest")


async def test_field_selectors_by_name(api: Api) -> None:
    """metadata.name selects, and deselects."""
    await fill(api)

    assert await api.names(MAPS, fieldSelector="metadata.name=b") == ["b"]
    assert await api.names(MAPS, labelSelector="ours", fieldSelector="metadata.name!=b") == ["a", "c"]


async def test_a_field_that_is_no_selector_is_refused(api: Api) -> None:
    """Only some fields select, and most kinds have but two."""
    maps = await api.call("GET", MAPS, fieldSelector="data.x=1")
    pods = await api.call("GET", "/api/v1/namespaces/{ns}/pods", fieldSelector="data.x=1")

    only = '"data.x" is not a known field selector: only "metadata.name", "metadata.namespace"'
    assert (maps.status, maps.message) == (400, only)
    assert (pods.status, pods.message) == (400, "field label not supported: data.x")


async def test_custom_objects_select_by_name_only(api: Api, classes: str) -> None:
    """A custom kind knows metadata.name and metadata.namespace."""
    answer = await api.call("GET", classes, fieldSelector="spec.provider=aws")

    assert answer.status == 400
    assert await api.names(classes, fieldSelector="metadata.name=x,metadata.namespace=" + api.namespace) == []


@pytest.mark.usefixtures("pod")
async def test_pods_of_a_node(api: Api) -> None:
    """spec.nodeName selects pods, across namespaces too."""
    node = f"node-{api.namespace}"

    assert await api.names("/api/v1/pods", fieldSelector=f"spec.nodeName={node}") == ["app"]
    assert await api.names("/api/v1/namespaces/{ns}/pods", fieldSelector="spec.nodeName=") == []
    assert await api.names("/api/v1/namespaces/{ns}/pods", fieldSelector="status.phase=Pending") == ["app"]


async def test_a_list_is_a_list_of_its_kind(api: Api, classes: str) -> None:
    """A built-in list's items leave out kind and apiVersion, a custom list's have them."""
    await fill(api)
    await api.make(classes, spc("one"))

    maps, customs = await api.read(MAPS, labelSelector="app=x"), await api.read(classes)

    assert (maps["kind"], maps["apiVersion"]) == ("ConfigMapList", "v1")
    assert "kind" not in maps["items"][0]
    assert customs["kind"] == "SecretProviderClassList"
    assert customs["items"][0]["kind"] == "SecretProviderClass"


def spc(name: str) -> dict[str, object]:
    kind = {"apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass"}
    return kind | {"metadata": {"name": name}, "spec": {"provider": "fake"}}


async def test_pages_are_one_snapshot(api: Api) -> None:
    """Limit and continue walk through the objects as they were when the first page was read."""
    for name in "abcde":
        await api.make(MAPS, {"metadata": {"name": name, "labels": {"paged": ""}}})
    query = {"labelSelector": "paged", "limit": 2}
    first = await api.read(MAPS, **query)
    await api.call("DELETE", f"{MAPS}/c")
    await api.make(MAPS, {"metadata": {"name": "bb", "labels": {"paged": ""}}})

    second = await api.read(MAPS, **query, continue_=first["metadata"]["continue"])
    third = await api.read(MAPS, **query, continue_=second["metadata"]["continue"])

    pages = [[item["metadata"]["name"] for item in page["items"]] for page in (first, second, third)]
    assert pages == [["a", "b"], ["c", "d"], ["e"]]
    assert first["metadata"]["resourceVersion"] == third["metadata"]["resourceVersion"]
    assert not third["metadata"].get("continue")


async def test_a_page_without_selector_counts_the_rest(api: Api) -> None:
    """RemainingItemCount is how many objects come after this page."""
    total = len(await api.names(MAPS))
    for name in "abc":
        await api.make(MAPS, {"metadata": {"name": name}})

    page = await api.read(MAPS, limit=1)

    assert page["metadata"]["remainingItemCount"] == total + 2


async def test_a_continue_token_is_no_plaything(api: Api) -> None:
    """A token that the server did not make is refused."""
    answer = await api.call("GET", MAPS, continue_="zzz", limit=1)

    assert (answer.status, answer.reason) == (400, "BadRequest")


async def test_a_revision_from_the_future_times_out(api: Api) -> None:
    """A list of a revision that is yet to come ends with 504 and the cause."""
    answer = await api.call("GET", MAPS, resourceVersion="99999999999")

    assert (answer.status, answer.reason) == (504, "Timeout")
    assert answer.body["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


async def test_an_old_revision_shows_the_past(api: Api) -> None:
    """resourceVersionMatch=Exact lists what was there."""
    await api.make(MAPS, {"metadata": {"name": "old", "labels": {"then": ""}}})
    then = await api.revision(MAPS)
    await api.call("DELETE", f"{MAPS}/old")
    exact = {"resourceVersion": then, "resourceVersionMatch": "Exact", "labelSelector": "then", "limit": 5}

    assert await api.names(MAPS, **exact) == ["old"]
    assert await api.names(MAPS, labelSelector="then") == []


async def test_discovery_names_what_is_served(api: Api, classes: str) -> None:
    """Group, version and resource lists say enough for a dynamic client."""
    core = await api.read("/api/v1")
    group = await api.read("/apis/secrets-store.csi.x-k8s.io")
    ours = await api.read(classes.partition("/namespaces")[0])

    entries = {entry["name"]: entry for entry in core["resources"]}
    assert entries["pods"]["shortNames"] == ["po"]
    assert entries["serviceaccounts/token"]["kind"] == "TokenRequest"
    assert [version["version"] for version in group["versions"]] == ["v1", "v1alpha1"]
    assert {entry["name"] for entry in ours["resources"]} == {
        "secretproviderclasses",
        "secretproviderclasspodstatuses",
    }
