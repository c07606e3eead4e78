"""The client against an API server: credentials, answers, refusals."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from keyferry.errors import AccessDenied, KubernetesUnavailable
from keyferry.kube import Kube, Rejected, connect
from keyferry.settings import SettingsError
from keyferry.testing.kube import KubeAPI

ACCOUNT = {"metadata": {"name": "web", "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/r"}}}
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
POD = "/api/v1/namespaces/default/pods/web-0"


@asynccontextmanager
async def answering(raw: bytes, folder: Path) -> AsyncIterator[Kube]:
    """A client of a server that sends the same bytes to whoever calls, and hangs up."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    config = {
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (folder / "config").write_text(json.dumps(config))
    async with server, connect(folder / "config") as kube:
        yield kube


async def test_an_object_comes_back_as_it_was_put(kube: Kube) -> None:
    """What is posted can be read, and what was never posted is None."""
    created = await kube.post(ACCOUNTS, ACCOUNT)

    assert await kube.get(f"{ACCOUNTS}/web") == created
    assert await kube.get(f"{ACCOUNTS}/other") is None


async def test_query_parameters_are_encoded(kube: Kube) -> None:
    """A selector with special characters reaches the server as it was meant."""
    await kube.post(ACCOUNTS, ACCOUNT)

    found = await kube.get("/api/v1/serviceaccounts", {"fieldSelector": "metadata.name=web,metadata.namespace!=a&b"})

    assert [item["metadata"]["name"] for item in (found or {})["items"]] == ["web"]


async def test_the_keys_of_the_issuer_are_served_to_us(kube: Kube) -> None:
    """The Accept header suits /openid/v1/jwks, which serves no plain application/json."""
    assert (await kube.get("/openid/v1/jwks") or {})["keys"]


async def test_a_pod_reaches_the_api_with_its_own_account(
    api: KubeAPI, kube: Kube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a kubeconfig the token and CA that kubelet mounts are used, and a new token counts at once."""
    host, _, port = api.url.removeprefix("https://").partition(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    (tmp_path / "ca.crt").write_text(api.ca_pem)
    (tmp_path / "token").write_text("expired")
    await kube.post(ACCOUNTS, ACCOUNT)

    async with connect(None, service_account=tmp_path) as own:
        with pytest.raises(AccessDenied, match="own credentials"):
            await own.get(f"{ACCOUNTS}/web")
        (tmp_path / "token").write_text(f"{api.admin_token}\n")
        assert await own.get(f"{ACCOUNTS}/web") is not None


async def test_outside_a_cluster_a_kubeconfig_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A process that is no pod says so, rather than fail at its first call."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    with pytest.raises(SettingsError, match="service account in"):
        async with connect(None, service_account=tmp_path):
            pass


async def test_a_missing_kubeconfig_is_named(tmp_path: Path) -> None:
    """The path that was given is in the text."""
    with pytest.raises(SettingsError, match=r"nowhere\.yaml"):
        async with connect(tmp_path / "nowhere.yaml"):
            pass


async def test_a_server_with_another_ca_is_not_trusted(api: KubeAPI, tmp_path: Path) -> None:
    """The CA of the kubeconfig is what counts: an impostor gets no token."""
    async with KubeAPI() as impostor:
        config = json.loads(api.kubeconfig.read_text())
        config["clusters"][0]["cluster"]["server"] = impostor.url
        (tmp_path / "config").write_text(json.dumps(config))

        async with connect(tmp_path / "config") as kube:
            with pytest.raises(KubernetesUnavailable, match="does not answer"):
                await kube.get(POD)
        assert impostor.faults.requests == {}


@pytest.mark.parametrize("status", [429, 500, 503, 504])
async def test_a_server_in_trouble_is_unavailable(api: KubeAPI, kube: Kube, status: int) -> None:
    """Overload and failures are for trying again."""
    api.faults.answer("/api/v1", status)

    with pytest.raises(KubernetesUnavailable, match=str(status)) as caught:
        await kube.get(POD)
    assert caught.value.retry_after is not None


async def test_a_server_that_is_away_is_unavailable(api: KubeAPI, kube: Kube) -> None:
    """Nothing listening is for trying again, and afterwards the same client works."""
    async with api.refusing_connections():
        with pytest.raises(KubernetesUnavailable, match="does not answer GET"):
            await kube.get(POD)

    assert await kube.get(POD) is None


async def test_a_forbidden_call_names_the_permission(api: KubeAPI, kube: Kube) -> None:
    """Whoever runs the cluster reads what to grant."""
    api.faults.answer("/api/v1", 403)

    with pytest.raises(AccessDenied, match="may not get pods in namespace default"):
        await kube.get(POD)


async def test_a_conflict_is_left_to_the_caller(kube: Kube) -> None:
    """Other refusals carry status, cause and fields, and none of the server's text."""
    await kube.post(ACCOUNTS, ACCOUNT)

    with pytest.raises(Rejected) as caught:
        await kube.post(ACCOUNTS, ACCOUNT)
    assert (caught.value.status, caught.value.cause) == (409, "AlreadyExists")


async def test_an_invalid_object_is_named_by_field_only(kube: Kube) -> None:
    """What was sent is not quoted: it may be a secret."""
    body = {"metadata": {"name": "x"}, "data": {"bad key!": "Y2FuYXJ5"}}

    with pytest.raises(Rejected) as caught:
        await kube.post("/api/v1/namespaces/default/secrets", body)
    assert caught.value.status == 422
    assert "Y2FuYXJ5" not in str(caught.value)
    assert caught.value.fields


async def test_a_watch_says_that_it_is_open_and_ends_with_the_server(api: KubeAPI, kube: Kube) -> None:
    """The first item is empty; the end of the stream is no error."""
    async with aclosing(kube.watch("/api/v1/pods", {}, seconds=30)) as events:
        assert await anext(events) == {}
        api.faults.end_watches()
        assert [event async for event in events if event["type"] != "ADDED"] == []


CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("chunk", [b"", b'7\r\n{"type"\r\n', b"4\r\n[1]\n\r\n0\r\n\r\n", b"5\r\noops\n\r\n0\r\n\r\n"])
async def test_a_watch_that_breaks_is_unavailable(tmp_path: Path, chunk: bytes) -> None:
    """A stream cut off, or one of no JSON objects, is told apart from an orderly end."""
    async with answering(CHUNKED + chunk, tmp_path) as kube, aclosing(kube.watch(POD, {}, seconds=30)) as events:
        assert await anext(events) == {}
        with pytest.raises(KubernetesUnavailable):
            await anext(events)


@pytest.mark.parametrize("body", [b"", b"oops", b"[1]", b"null", b'{"a"', b"[" * 100_000, b"\xff\xfe"])
async def test_nonsense_is_unavailable(tmp_path: Path, body: bytes) -> None:
    """An answer that is no JSON object never becomes an object."""
    raw = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"

    async with answering(raw % (len(body), body), tmp_path) as kube:
        with pytest.raises(KubernetesUnavailable, match="no JSON"):
            await kube.get(POD)


async def test_a_body_cut_short_is_unavailable(tmp_path: Path) -> None:
    """Half an answer is none."""
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}", tmp_path) as kube:
        with pytest.raises(KubernetesUnavailable, match="does not answer"):
            await kube.get(POD)


async def test_retry_after_is_respected(tmp_path: Path) -> None:
    """The server's own word on when to come back is passed on, within reason."""
    raw = b"HTTP/1.1 429 Too Many\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n"

    async with answering(raw % b"7", tmp_path) as kube:
        with pytest.raises(KubernetesUnavailable) as soon:
            await kube.get(POD)
    async with answering(raw % b"86400", tmp_path) as kube:
        with pytest.raises(KubernetesUnavailable) as late:
            await kube.get(POD)
    assert (soon.value.retry_after, late.value.retry_after) == (7, 60)
