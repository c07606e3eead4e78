"""Who is let in and for how long, and to whom nothing is said."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fetcher.callout import BUS_AUDIENCE
from keyferry import identities
from keyferry.bus import connect
from keyferry.bus.identity import Access, BusSettings, CredentialError, check_server
from keyferry.bus.nkeys import Nkey, Role
from keyferry.errors import BusUnavailable
from keyferry.kube import connect as connect_kube
from keyferry.resources import SYNCER_NODE, TOKEN_AUDIENCE
from keyferry.settings import SettingsError
from keyferry.subjects import hint_subject, inbox_prefix
from keyferry.testing.kube import KubeAPI
from keyferry.testing.nats import Nats, guarded_nats_server

from .conftest import ACCOUNT, Cluster, access_of, admitting, plain, refusal

UNAUTHORIZED = "authorization violation"


async def test_node(server: Nats, admitted: Cluster) -> None:
    """A node-driver's own token opens the bus."""
    async with plain(server.url, await admitted.node("node-a")) as client:
        assert client.is_connected


async def test_token_of_another_node(server: Nats, admitted: Cluster) -> None:
    """Whoever has node-b's token is node-b, whatever it calls itself: node-a's subjects stay closed."""
    async with plain(server.url, await admitted.node("node-b"), inbox_prefix("node-a")) as client:
        await client.publish("keyferry.fetch.mount.node-a", b"")
        await client.subscribe(hint_subject("node-a"))
        await client.subscribe(f"{inbox_prefix('node-a')}.*")
        async with asyncio.timeout(10):
            while len(client.complaints) < 3:  # noqa: ASYNC110 - a callback of the library's
                await asyncio.sleep(0.01)
    assert all("permissions violation" in each for each in client.complaints)


@pytest.mark.parametrize("audience", ["keyferry", "vault", "https://kubernetes.default.svc"])
async def test_token_of_another_audience(server: Nats, admitted: Cluster, audience: str) -> None:
    """A token that is meant for somebody else does not open the bus."""
    token = await admitted.token("driver-node-a", audience=audience)
    assert UNAUTHORIZED in await refusal(server.url, admitted.showing(token))


@pytest.mark.parametrize("account", ["kube-system/default", "default/secrets-store-csi-driver", "kube-system/fetcher"])
async def test_token_of_another_account(server: Nats, admitted: Cluster, account: str) -> None:
    """A token of another service account does not, not even one of the same name elsewhere."""
    await admitted.run(account, "stranger", "node-a")
    token = await admitted.token("stranger", account=account)
    assert UNAUTHORIZED in await refusal(server.url, admitted.showing(token))


async def test_token_of_no_pod(server: Nats, admitted: Cluster) -> None:
    """A token of the right account that is bound to no pod does not: it says nothing of a node."""
    assert UNAUTHORIZED in await refusal(server.url, admitted.showing(await admitted.token("", bound=False)))


async def test_token_of_a_pod_that_is_gone(server: Nats, admitted: Cluster) -> None:
    """A token ends with its pod, although it has not expired."""
    access = await admitted.node("node-a")
    await admitted.kube.call(
        "DELETE", "/api/v1/namespaces/kube-system/pods/driver-node-a", body={"gracePeriodSeconds": 0}
    )
    assert UNAUTHORIZED in await refusal(server.url, access)


async def test_token_with_another_signature(server: Nats, admitted: Cluster) -> None:
    """A token that the cluster's issuer has not signed does not open the bus."""
    head, claims, signature = (await admitted.token("driver-node-a")).split(".")
    forged = f"{head}.{claims}.{signature[:-8]}AAAAAAAA"
    assert UNAUTHORIZED in await refusal(server.url, admitted.showing(forged))


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "ey" * 2000])
async def test_no_token(server: Nats, admitted: Cluster, token: str) -> None:
    """What is no token does not open the bus."""
    assert UNAUTHORIZED in await refusal(server.url, admitted.showing(token))


async def test_node_of_the_syncers_name(server: Nats, admitted: Cluster) -> None:
    """No node may have the name under which syncers ask: it would hear what they are answered."""
    await admitted.run(ACCOUNT, "driver-x", SYNCER_NODE)
    assert UNAUTHORIZED in await refusal(server.url, admitted.showing(await admitted.token("driver-x")))


async def test_expired_token(server: Nats, cluster: Cluster, made: Path) -> None:
    """A token that has expired does not open the bus."""
    access = await cluster.node("node-a")
    async with admitting(server, made, cluster.kube, now=lambda: time.time() + 7200):
        assert UNAUTHORIZED in await refusal(server.url, access)


async def test_connection_ends_with_its_token(server: Nats, made: Path, tmp_path: Path) -> None:
    """A connection does not outlive the token that it was made with."""
    ago = timedelta(seconds=3600 - 3)
    async with KubeAPI(now=lambda: datetime.now(UTC) - ago) as api, connect_kube(api.kubeconfig) as kube:
        cluster = Cluster(kube, made, tmp_path)
        await cluster.run(ACCOUNT, "driver-node-a", "node-a")
        access = await cluster.node("node-a")
        async with admitting(server, made, kube), plain(server.url, access) as client:
            async with asyncio.timeout(20):
                while client.is_connected:  # noqa: ASYNC110 - the server ends it
                    await asyncio.sleep(0.05)
            assert any("authentication expired" in each for each in client.complaints)


async def test_renewal(server: Nats, admitted: Cluster) -> None:
    """When kubelet brings another token the node connects anew with it, and hears what it heard before."""
    access = await admitted.node("node-a")
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    async with (
        connect(server.url, name="node-driver", inbox=inbox_prefix("node-a"), access=access, look_seconds=0.05) as bus,
        connect(server.url, name="rotator", access=access_of(admitted.made, "rotator")) as rotator,
    ):
        listening = asyncio.create_task(bus.listen(hint_subject("node-a"), heard.put))
        second = await admitted.token("driver-node-a")
        Path(access.token_file).write_text(second)  # noqa: ASYNC240 - a tmpfs's worth of bytes
        async with asyncio.timeout(20):
            while bus._nats.token_used != second or not bus.is_connected:  # noqa: ASYNC110 - kubelet's own pace
                await asyncio.sleep(0.02)
            await bus._nats.flush()
            await rotator.hint(hint_subject("node-a"), b"due", destination="keyferry.refresh")
            assert await heard.get() == b"due"
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_nobody_answers_for_nodes(server: Nats, cluster: Cluster) -> None:
    """Without a fetcher no node is let in."""
    assert "error" in await refusal(server.url, await cluster.node("node-a"))


async def test_no_identity(server: Nats, admitted: Cluster) -> None:
    """Whoever shows nothing is refused."""
    assert UNAUTHORIZED in await refusal(server.url, Access(ca_file=str(admitted.made / "ca.crt")))


async def test_unknown_key(server: Nats, admitted: Cluster, tmp_path: Path) -> None:
    """A key that the server does not know is refused."""
    key = tmp_path / "own.nk"
    key.touch(0o600)
    key.write_text(Nkey.generate(Role.USER).seed)
    assert UNAUTHORIZED in await refusal(server.url, Access(str(admitted.made / "ca.crt"), str(key)))


async def test_another_authority(server: Nats, made: Path, tmp_path: Path) -> None:
    """A server that another authority vouches for is told nothing."""
    identities.create(tmp_path / "other", nats_hosts=["127.0.0.1"], redis_hosts=["127.0.0.1"])
    access = replace(access_of(made, "fetcher"), ca_file=str(tmp_path / "other" / "ca.crt"))
    assert "certificate verify failed" in await refusal(server.url, access)


async def test_another_name(tmp_path: Path) -> None:
    """Neither is one whose certificate is for another host."""
    identities.create(tmp_path / "other", nats_hosts=["nats.elsewhere"], redis_hosts=["127.0.0.1"])
    with guarded_nats_server(tmp_path / "nats", tmp_path / "other") as elsewhere:
        assert "certificate is not valid for" in await refusal(elsewhere.url, access_of(tmp_path / "other", "fetcher"))


@asynccontextmanager
async def pretending(version: str) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that says it is of a version; and what it is told."""
    told: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        info = {"server_id": "x", "version": version, "max_payload": 1048576, "headers": True, "auth_required": True}
        writer.write(b"INFO " + json.dumps(info).encode() + b"\r\n")
        while line := await reader.read(4096):
            told.append(line)
        writer.close()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with running:
        yield f"127.0.0.1:{running.sockets[0].getsockname()[1]}", told


@pytest.mark.parametrize("version", ["2.9.10", "2.11.15", "2.12.11", "2.13.9", "2.14.2", "2.14.2-RC.1", "", "x"])
async def test_old_server(version: str, tmp_path: Path) -> None:
    """A server with known holes is told nothing, and the error says which to run."""
    token = tmp_path / "token"
    token.write_text("secret")
    async with pretending(version) as (host, told):
        assert "run 2.12.12 or 2.14.3, or later" in await refusal(f"nats://{host}", Access(token_file=str(token)))
    assert told == []


async def test_old_server_to_a_service() -> None:
    """A service waits for a better server, and says so."""
    async with pretending("2.11.0") as (host, _):
        with pytest.raises(BusUnavailable, match=r"nats-server 2\.11\.0, which has known holes") as refused:
            async with connect(f"nats://{host}", name="rotator"):
                pass
    assert refused.value.retry_after is not None


@pytest.mark.parametrize("version", ["2.12.12", "2.12.99", "2.14.3", "2.15.0", "2.15.1", "2.16.0-beta.1", "3.0.0"])
def test_safe_server(version: str) -> None:
    """A server without known holes is taken."""
    check_server(version)


async def test_server_without_tls(made: Path) -> None:
    """A server that offers no TLS is told nothing that it could read, where TLS is wanted."""
    async with pretending("2.15.1") as (host, told):
        assert "error" in await refusal(f"tls://{host}", access_of(made, "fetcher"))
    assert told
    assert all(b"CONNECT" not in each and each[0] == 0x16 for each in told)  # handshakes, RFC 8446


@pytest.mark.parametrize(
    "url", ["nats://nats:4222", "nats:4222", "tls://a:4222,nats://b:4222", "nats://10.0.0.1:4222", "ws://nats:443"]
)
def test_plaintext(url: str) -> None:
    """Nobody starts who would speak over a network in the clear; the error names the host and the way out."""
    with pytest.raises(SettingsError, match=r"KEYFERRY_NATS_URL has .* without TLS: write tls://, or KEYFERRY_ALLOW"):
        BusSettings(nats_url=url)


def test_plaintext_hides_passwords() -> None:
    """The error shows no password of the URL."""
    with pytest.raises(SettingsError) as refused:
        BusSettings(nats_url="nats://user:hunter2@nats:4222")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("url", ["nats://127.0.0.1:4222", "nats://[::1]:4222", "localhost:4222", "tls://nats:4222"])
def test_not_over_a_network(url: str) -> None:
    """On this machine, and with TLS, nothing needs to be allowed."""
    assert BusSettings(nats_url=url).nats_url == url


def test_plaintext_allowed() -> None:
    """An operator may allow it."""
    assert BusSettings(nats_url="nats://nats:4222", allow_plaintext=True).allow_plaintext


def test_readable_key(made: Path, tmp_path: Path) -> None:
    """A key that everybody can read is not used; one that its group can read is, as in a Secret volume with fsGroup."""
    key = tmp_path / "rotator.nk"
    key.write_text((made / "rotator.nk").read_text())
    key.chmod(0o444)
    with pytest.raises(CredentialError, match="readable by everybody"):
        Access(nkey_file=str(key)).key()
    key.chmod(0o440)
    assert Access(nkey_file=str(key)).key()


@pytest.mark.parametrize("text", ["", "no key", "AAAAAAAAAAAA", "SA" + "A" * 56])
def test_broken_key(tmp_path: Path, text: str) -> None:
    """A file that holds no key is named, its content is not."""
    key = tmp_path / "own.nk"
    key.touch(0o600)
    key.write_text(text)
    with pytest.raises(CredentialError, match=str(key)) as refused:
        Access(nkey_file=str(key)).key()
    assert not text or text not in str(refused.value).removeprefix(str(key))


def test_mixed_urls() -> None:
    """TLS is for all servers or for none."""
    with pytest.raises(CredentialError, match="write tls:// for all"):
        Access().options("tls://a:4222,nats://127.0.0.1:4222")


def test_audiences_differ() -> None:
    """The bus and the fetchers want different tokens, so that neither can be used for the other."""
    assert BUS_AUDIENCE != TOKEN_AUDIENCE
