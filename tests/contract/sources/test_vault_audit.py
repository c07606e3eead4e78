"""The audit log as a real OpenBao writes it to our socket, and as strangers might."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY

from keyferry.testing.openbao import OpenBao
from keyferry.testing.openbao_audit import audited_openbao_server
from keyferry.testing.ports import free_port
from rotator.sources.reconnecting import Pauses
from rotator.sources.settings import VaultAudit
from rotator.sources.vault_audit import VaultAuditSource

from .conftest import Bus, running, until

QUICK = Pauses(first=0.02, longest=0.05)


def write_entry(path: str) -> bytes:
    request = {"id": path, "operation": "update", "path": path, "mount_point": "secret/", "mount_type": "kv"}
    return json.dumps({"type": "response", "request": request}).encode() + b"\n"


def outcome(name: str) -> float:
    labels = {"source": "vault-audit", "outcome": name}
    return REGISTRY.get_sample_value("keyferry_change_events_total", labels) or 0


def tcp(port: int, *allowed: str) -> VaultAuditSource:
    settings = VaultAudit(listen=f"127.0.0.1:{port}", allowed=allowed or ("127.0.0.0/8",))
    return VaultAuditSource(settings, pauses=QUICK)


def listens(port: int) -> bool:
    """Whether somebody listens there, found out without connecting."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return _is_taken(probe, port)


def _is_taken(probe: socket.socket, port: int) -> bool:
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        return True
    return False


async def connect(port: int) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    return writer


@asynccontextmanager
async def openbao(directory: Path, audit_to: str) -> AsyncIterator[OpenBao]:
    """Started in a thread: its start waits for us to take its audit log."""
    with ExitStack() as stack:
        yield await asyncio.to_thread(stack.enter_context, audited_openbao_server(directory, audit_to))


async def listening(path: Path) -> None:
    """Wait for the socket."""
    await until(path.exists)


def connected() -> float | None:
    return REGISTRY.get_sample_value("keyferry_change_source_connected", {"source": "vault-audit"})


async def test_writes_to_openbao_are_told(tmp_path: Path, bus: Bus) -> None:
    """Whatever changes a secret of either engine version is told by the path it is read at; reads are not."""
    port = free_port()
    async with running(tcp(port), bus):
        await until(lambda: listens(port))
        async with openbao(tmp_path, f"127.0.0.1:{port}") as bao:
            await until(lambda: bus.gaps() >= 1)
            await bao.put("app/db", {"password": "CANARY"})
            await until(lambda: bus.sources() == {"secret/data/app/db"})
            bus.told.clear()
            await bao.call(lambda client: client.secrets.kv.v2.read_secret("app/db", raise_on_deleted_version=True))
            await bao.call(lambda client: client.secrets.kv.v2.delete_latest_version_of_secret("app/db"))
            await until(lambda: "secret/data/app/db" in bus.sources())
            bus.told.clear()
            await bao.call(lambda client: client.secrets.kv.v2.undelete_secret_versions("app/db", [1]))
            await until(lambda: "secret/data/app/db" in bus.sources())
            await bao.enable_kv("kv1", version=1)
            await bao.put_v1("a/b", {"password": "CANARY"})
            await until(lambda: "kv1/a/b" in bus.sources())
    assert "CANARY" not in repr(bus.told)
    assert {change.provider for change in bus.told} == {"vault"}


async def test_writes_in_a_namespace_are_told(tmp_path: Path, bus: Bus) -> None:
    """OpenBao writes paths without the namespace and mounts with it; classes may have it either way."""
    port = free_port()
    async with running(tcp(port), bus):
        await until(lambda: listens(port))
        async with openbao(tmp_path, f"127.0.0.1:{port}") as bao:
            await bao.write("sys/namespaces/team-a", {})

            def write(client: Any) -> None:
                client.adapter.namespace = "team-a"
                client.sys.enable_secrets_engine("kv", path="kv", options={"version": "2"})
                client.secrets.kv.v2.create_or_update_secret("app/db", secret={"a": "b"}, mount_point="kv")

            await bao.call(write)
            await until(lambda: {"kv/data/app/db", "team-a/kv/data/app/db"} <= bus.sources())


async def test_writes_are_told_over_a_unix_socket(tmp_path: Path, bus: Bus) -> None:
    """On one host a unix socket does, which only its owner and group may connect to."""
    path = tmp_path / "audit.sock"
    async with running(VaultAuditSource(VaultAudit(listen=str(path)), pauses=QUICK), bus):
        await listening(path)
        assert path.stat().st_mode & 0o777 == 0o660
        async with openbao(tmp_path / "bao", str(path)) as bao:
            await bao.put("app/db", {"password": "x"})
            await until(lambda: "secret/data/app/db" in bus.sources())


async def test_openbao_goes_on_and_everything_is_read_after_a_gap(tmp_path: Path, bus: Bus) -> None:
    """While no rotator listens OpenBao serves on; when one does again, all contents are read and writes are heard."""
    port = free_port()
    with ExitStack() as stack:
        async with running(tcp(port), bus):
            await until(lambda: listens(port))
            bao = await asyncio.to_thread(stack.enter_context, audited_openbao_server(tmp_path, f"127.0.0.1:{port}"))
            await until(lambda: bus.gaps() == 1)
        assert connected() == 0
        bus.told.clear()
        for number in range(3):
            await bao.put(f"gap/{number}", {"a": "b"})
        async with running(tcp(port), bus):
            await until(lambda: listens(port))
            for number in range(20):
                await bao.put(f"after/{number}", {"a": "b"})
            await until(lambda: "secret/data/after/19" in bus.sources())
            assert connected() == 1
    assert bus.gaps() == 1


async def test_strangers_are_sent_away(bus: Bus) -> None:
    """Over TCP only the networks named may connect; others are cut off unheard."""
    port, before = free_port(), outcome("unauthorized")
    async with running(tcp(port, "10.0.0.0/8"), bus):
        await until(lambda: listens(port))
        writer = await connect(port)
        writer.write(write_entry("secret/data/a"))
        await until(lambda: outcome("unauthorized") == before + 1)
        writer.close()
    assert bus.told == []


async def test_nonsense_on_the_socket_is_passed_over(bus: Bus) -> None:
    """Lines that are no entries, and lines without end, are counted; the ones around them are heard."""
    port = free_port()
    before = outcome("malformed"), outcome("too_large")
    async with running(tcp(port), bus):
        await until(lambda: listens(port))
        writer = await connect(port)
        nonsense = (b"GET / HTTP/1.1\r\n", b"\xff\n", b"[" * 10_000 + b"\n", b"x" * 3_000_000 + b"\n")
        for line in (*nonsense, write_entry("secret/data/a")):
            writer.write(line)
            await writer.drain()
        await until(lambda: "secret/data/a" in bus.sources())
        writer.close()
    assert (outcome("malformed"), outcome("too_large")) == (before[0] + 3, before[1] + 1)


async def test_a_flood_never_makes_the_sender_wait(bus: Bus) -> None:
    """With the bus away and no end of writes, everything is read off the socket and little of it is kept."""
    port = free_port()
    source = tcp(port)
    bus.away = True
    async with running(source, bus):
        await until(lambda: listens(port))
        writer = await connect(port)
        for number in range(20_000):
            writer.write(write_entry(f"secret/data/s{number}"))
            await writer.drain()
        await until(lambda: outcome("overflow") > 0)
        assert len(source._pending._changes) <= 1000
        bus.away = False
        await until(lambda: bus.gaps() > 0)
        writer.close()


async def test_connections_are_few(bus: Bus) -> None:
    """Whoever opens ever more connections is refused those beyond thirty-two."""
    port, before = free_port(), outcome("limited")
    async with running(tcp(port), bus):
        await until(lambda: listens(port))
        writers = [await connect(port) for _ in range(40)]
        await until(lambda: outcome("limited") == before + 8)
        for writer in writers:
            writer.close()
