"""The emulator alone: its fault switches, its clock, its older self. A real server has no such handles."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import jwt
import pytest
from kubernetes.aio import client, config, watch

from keyferry.testing.kube import KubeAPI

from .conftest import Api, Json

_POLL_SECONDS = 0.01
MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
async def kube() -> AsyncIterator[KubeAPI]:
    """An emulator in this process."""
    async with KubeAPI(history=50, bookmark_seconds=0.1) as api:
        yield api


@pytest.fixture
async def api(kube: KubeAPI) -> AsyncIterator[Api]:
    """Its administrator, working in the default namespace."""
    async with await config.new_client_from_config(str(kube.kubeconfig)) as api_client:  # type: ignore[no-untyped-call]  # the client is not annotated
        yield Api(api_client, "default")


async def make(api: Api, name: str) -> Json:
    return await api.make(MAPS, {"metadata": {"name": name}})


async def test_a_fault_answers_in_place_of_the_api(kube: KubeAPI, api: Api) -> None:
    """A rule acts on its path and method, so many times, and then no more."""
    kube.faults.answer("/api/v1/namespaces/default", 500, method="GET", times=2)

    statuses = [(await api.call("GET", MAPS)).status for _ in range(3)]

    assert statuses == [500, 500, 200]
    assert (await api.call("GET", "/api/v1/nodes")).status == 200
    assert (await make(api, "a"))["metadata"]["name"] == "a"


async def test_too_many_requests_say_when_to_come_back(kube: KubeAPI, api: Api) -> None:
    """429 carries Retry-After, in the header and in the details; a rule can be taken back."""
    undo = kube.faults.answer("/", 429)
    refused = await api.call("POST", MAPS, {"metadata": {"name": "a"}})
    undo()

    assert (refused.status, refused.reason, refused.headers["Retry-After"]) == (429, "TooManyRequests", "1")
    assert refused.body["details"]["retryAfterSeconds"] == 1
    assert (await make(api, "a"))["metadata"]["name"] == "a"


async def test_a_slow_answer_is_a_right_answer(kube: KubeAPI, api: Api) -> None:
    """A delay without a status only waits."""
    kube.faults.answer(MAPS, delay=0.3, times=1)
    began = time.monotonic()

    answer = await api.call("GET", MAPS)

    assert answer.status == 200
    assert time.monotonic() - began >= 0.3


async def test_calls_are_counted(kube: KubeAPI, api: Api) -> None:
    """Tests can say how often something was asked."""
    await api.read(MAPS)
    await api.read(MAPS)

    assert kube.faults.requests[f"GET {MAPS}"] == 2


async def test_watches_end_when_told(kube: KubeAPI, api: Api) -> None:
    """The stream ends cleanly, long before its timeout."""
    watching = asyncio.create_task(api.watch(MAPS, 600, resourceVersion=await api.revision(MAPS)))
    await _until(lambda: bool(kube.faults.watches))
    await make(api, "a")

    kube.faults.end_watches()

    assert [event["object"]["metadata"]["name"] for event in await watching] == ["a"]


async def test_an_expired_version_is_an_error_event(kube: KubeAPI, api: Api) -> None:
    """As a real server, a watch from before the history answers 200 and then says 410."""
    old = await api.revision(MAPS)
    kube.faults.expire_history()

    events = await api.watch(MAPS, resourceVersion=old)

    assert [event["type"] for event in events] == ["ERROR"]
    assert (events[0]["object"]["code"], events[0]["object"]["reason"]) == (410, "Expired")
    assert "too old resource version" in events[0]["object"]["message"]


async def test_an_expired_version_can_be_a_status(kube: KubeAPI, api: Api) -> None:
    """The other form that clients must understand: HTTP 410."""
    old = await api.revision(MAPS)
    kube.faults.expire_history()
    kube.faults.gone_as_status = True

    answer = await api.call("GET", MAPS, watch="true", resourceVersion=old)

    assert (answer.status, answer.reason) == (410, "Expired")


async def test_the_window_is_bounded(api: Api) -> None:
    """After as many changes as the history holds an old version is too old; the newest is not."""
    old = await api.revision(MAPS)
    for count in range(51):
        await make(api, f"c{count}")
    new = await api.revision(MAPS)

    assert [event["type"] for event in await api.watch(MAPS, resourceVersion=old)] == ["ERROR"]
    assert await api.watch(MAPS, resourceVersion=new) == []


async def test_bookmarks_come_as_often_as_configured(api: Api) -> None:
    """Once something happened that the watch does not show, each interval brings its version."""
    query = {"resourceVersion": await api.revision(MAPS), "allowWatchBookmarks": "true", "labelSelector": "none=here"}
    watching = asyncio.create_task(api.watch(MAPS, 1, **query))
    await asyncio.sleep(0.2)
    made = await make(api, "unseen")

    events = await watching

    assert len(events) > 1
    assert {event["type"] for event in events} == {"BOOKMARK"}
    assert {event["object"]["metadata"]["resourceVersion"] for event in events} == {made["metadata"]["resourceVersion"]}


async def test_connections_can_be_refused_for_a_while(kube: KubeAPI, api: Api) -> None:
    """Nothing listens meanwhile; afterwards the objects are still there."""
    await make(api, "a")
    async with kube.refusing_connections():
        with pytest.raises(aiohttp.ClientConnectorError):
            await api.call("GET", MAPS)

    assert (await api.read(f"{MAPS}/a"))["metadata"]["name"] == "a"


async def test_time_is_the_tests_own() -> None:
    """Objects are dated, and tokens expire, by the clock that the test gives; a minute of leeway is the server's."""
    start = datetime(2030, 1, 1, tzinfo=UTC)
    async with (
        KubeAPI(now=lambda: start) as kube,
        await config.new_client_from_config(str(kube.kubeconfig)) as api_client,  # type: ignore[no-untyped-call]  # the client is not annotated
    ):
        api = Api(api_client)
        body = {"spec": {"audiences": ["vault"], "expirationSeconds": 600}}
        made = await api.make("/api/v1/namespaces/default/serviceaccounts/default/token", body)

        async def accepted(seconds: float) -> bool:
            kube.now = lambda: start + timedelta(seconds=seconds)
            spec = {"token": made["status"]["token"], "audiences": ["vault"]}
            status = (await api.make("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": spec}))["status"]
            return bool(status.get("authenticated", False))

        verdicts = [await accepted(seconds) for seconds in (0, 599, 659, 661, -61)]

    assert made["status"]["expirationTimestamp"] == "2030-01-01T00:10:00Z"
    assert verdicts == [True, True, True, False, False]


async def test_a_pods_token_dies_with_the_pod(kube: KubeAPI, api: Api) -> None:
    """Real servers cache a review for ten seconds; here the answer changes at once."""
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}], "nodeName": "n"}}
    await api.make("/api/v1/namespaces/default/pods", pod)
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "p"}
    spec = {"audiences": ["vault"], "boundObjectRef": reference}
    made = await api.make("/api/v1/namespaces/default/serviceaccounts/default/token", {"spec": spec})
    body = {"spec": {"token": made["status"]["token"], "audiences": ["vault"]}}
    before = await api.make("/apis/authentication.k8s.io/v1/tokenreviews", body)
    await api.call("DELETE", "/api/v1/namespaces/default/pods/p", gracePeriodSeconds=0)
    after = await api.make("/apis/authentication.k8s.io/v1/tokenreviews", body)

    found = jwt.decode(made["status"]["token"], options={"verify_signature": False})["kubernetes.io"]
    assert found["node"] == {"name": "n"}
    assert before["status"]["authenticated"] is True
    assert "authenticated" not in after["status"]
    assert kube.issuer == kube.url


async def test_an_older_server_names_no_node() -> None:
    """node_claim=False is Kubernetes 1.29: no node in a pod's token, and the version says so."""
    async with (
        KubeAPI(node_claim=False, issuer="https://issuer.example") as kube,
        await config.new_client_from_config(str(kube.kubeconfig)) as api_client,  # type: ignore[no-untyped-call]  # the client is not annotated
    ):
        api = Api(api_client)
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}], "nodeName": "n"}}
        await api.make("/api/v1/namespaces/default/pods", pod)
        body = {"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}}}
        made = await api.make("/api/v1/namespaces/default/serviceaccounts/default/token", body)
        version = await api.read("/version")

    found = jwt.decode(made["status"]["token"], options={"verify_signature": False})
    assert "node" not in found["kubernetes.io"]
    assert found["iss"] == "https://issuer.example"
    assert version["minor"] == "29"


async def test_the_issuer_can_be_discovered_without_credentials(kube: KubeAPI) -> None:
    """A verifier such as Vault finds the keys from the issuer's URL alone, trusting only the authority."""
    async with aiohttp.ClientSession() as session:
        tls = {"ssl": _trusting(kube.ca_pem)}
        async with session.get(f"{kube.issuer}/.well-known/openid-configuration", **tls) as answer:
            document = await answer.json()
        async with session.get(document["jwks_uri"], **tls) as answer:
            keys = json.loads(await answer.text())
        async with session.get(f"{kube.url}/api/v1/nodes", **tls) as answer:
            refused = answer.status

    assert document["issuer"] == kube.issuer
    assert [key["alg"] for key in keys["keys"]] == ["RS256"]
    assert refused == 401


async def test_plain_http_for_those_who_want_it() -> None:
    """secure=False listens without TLS."""
    async with KubeAPI(secure=False) as kube, aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Bearer {kube.admin_token}"}
        async with session.get(f"{kube.url}/api/v1/namespaces", headers=headers) as answer:
            body = await answer.json()

    assert kube.url.startswith("http://")
    assert "default" in [item["metadata"]["name"] for item in body["items"]]


async def test_the_typed_client_works(kube: KubeAPI, api: Api) -> None:
    """Models, lists and kubernetes.aio's Watch understand what the emulator says."""
    core = client.CoreV1Api(api.client)
    secret = client.V1Secret(metadata=client.V1ObjectMeta(name="s"), string_data={"a": "1"})
    made = await core.create_namespaced_secret("default", secret)
    listed = await core.list_namespaced_secret("default")
    assert listed.metadata is not None
    await core.delete_namespaced_secret("s", "default")
    stream = watch.Watch()  # type: ignore[no-untyped-call]  # the client is not annotated
    query: dict[str, Any] = {"resource_version": listed.metadata.resource_version, "timeout_seconds": 1}
    async with stream:
        events = stream.stream(core.list_namespaced_secret, "default", **query)  # type: ignore[no-untyped-call]  # as above
        seen = [(event["type"], event["object"].metadata.name) async for event in events]

    assert made.data == {"a": "MQ=="}
    assert [item.metadata and item.metadata.name for item in listed.items] == ["s"]
    assert seen == [("DELETED", "s")]
    assert kube.faults.requests["POST /api/v1/namespaces/default/secrets"] == 1


def _trusting(ca_pem: str) -> Any:
    return ssl.create_default_context(cadata=ca_pem)


async def _until(true: Any) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - a server has no event
            await asyncio.sleep(_POLL_SECONDS)
