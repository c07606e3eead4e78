"""Plugins that are not there, not there yet, replaced, slow, or no plugins at all."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fetcher.providers.plugin import Client, PluginSettings
from keyferry.errors import ProviderError, ProviderUnavailable
from keyferry.proto.csi.v1 import csi_pb2
from keyferry.proto.provider.v1alpha1 import service_pb2 as pb
from keyferry.rpc import serve
from keyferry.testing.plugin import Plugin, plugin_server
from keyferry.testing.processes import Server, logged, server

if TYPE_CHECKING:
    from tests.contract.providers.plugin.conftest import Asking

SERVICE = pb.DESCRIPTOR.services_by_name["CSIDriverProvider"]


@contextmanager
def process(folder: Path, tmp_path: Path) -> Iterator[Server]:
    """A plugin that can be killed."""
    argv = [sys.executable, "-m", "keyferry.testing.plugin", str(folder / "mock.sock")]
    with server(argv, name="plugin", log=tmp_path / "plugin.log", ready=logged("serving at")) as running:
        yield running


async def failure(asking: Asking, *, seconds: float = 20.0) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await asking.provider().fetch(asking.asks(seconds=seconds))
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    return caught.value


def unavailable(times: int) -> Plugin:
    """A plugin that is not ready for its first `times` mounts."""
    plugin = Plugin()

    async def answer(_: pb.MountRequest) -> pb.MountResponse:
        if len(plugin.questions) <= times:
            raise ProviderError("not yet", code="UNAVAILABLE", reason="")
        return pb.MountResponse(object_version=[pb.ObjectVersion(id="a")], files=[pb.File(path="a")])

    plugin.answer = answer
    return plugin


async def test_a_plugin_that_is_nowhere_is_told_at_once(asking: Asking) -> None:
    """And asked again only when kubelet does: the pod's events shall say it."""
    with pytest.raises(ProviderUnavailable) as caught:
        await asking.provider("conjur").fetch(asking.asks())

    assert caught.value.message.startswith(
        'error connecting to provider "conjur": provider not found: provider "conjur"'
    )
    assert caught.value.retry_after == 5.0


async def test_a_plugin_that_comes_later_is_found(asking: Asking) -> None:
    """Without a restart of the fetcher."""
    with pytest.raises(ProviderUnavailable):
        await asking.provider().fetch(asking.asks())

    async with plugin_server(asking.folder, "mock"):
        assert await asking.provider().fetch(asking.asks())


async def test_a_plugin_that_is_not_ready_is_asked_three_times(asking: Asking) -> None:
    """Upstream's retry policy: UNAVAILABLE only."""
    async with plugin_server(asking.folder, "mock", unavailable(2)) as plugin:
        assert await asking.provider().fetch(asking.asks())

    assert len(plugin.questions) == 3


async def test_a_plugin_that_never_is_ready_is_given_up(asking: Asking) -> None:
    """With its own words, and the code by which kubelet asks again."""
    async with plugin_server(asking.folder, "mock", unavailable(99)) as plugin:
        error = await failure(asking)

    assert (error.code, error.reason) == ("UNAVAILABLE", "GRPCProviderError")
    assert "code = Unavailable desc = not yet" in error.message
    assert len(plugin.questions) == 3


async def test_no_try_is_made_beyond_the_deadline(asking: Asking) -> None:
    """Its answer would be of no use: the first one's words are told instead."""
    patient = Client(PluginSettings(folders=(str(asking.folder),)), pauses=(60.0, 60.0))
    async with plugin_server(asking.folder, "mock", unavailable(99)) as plugin:
        error = await failure(replace(asking, client=patient))
    await patient.close()

    assert "code = Unavailable desc = not yet" in error.message
    assert len(plugin.questions) == 1


async def test_a_plugin_that_hangs_is_given_up_at_the_deadline(asking: Asking) -> None:
    """It is not asked twice: it may be at work."""
    never = asyncio.Event()

    async def hang(_: pb.MountRequest) -> pb.MountResponse:
        await never.wait()
        raise AssertionError

    async with plugin_server(asking.folder, "mock", Plugin(answer=hang)) as plugin:
        error = await failure(asking, seconds=0.5)
        never.set()

    assert (error.code, error.reason) == ("DEADLINE_EXCEEDED", "GRPCProviderError")
    assert len(plugin.questions) == 1


async def test_a_killed_plugin_is_unavailable_and_comes_back(asking: Asking, tmp_path: Path) -> None:
    """Its socket stays behind without anybody listening; the next one's is found by itself."""
    with process(asking.folder, tmp_path) as plugin:
        assert await asking.provider().fetch(asking.asks())
        plugin.kill()
        assert (asking.folder / "mock.sock").is_socket()

        error = await failure(asking)
        await asyncio.to_thread(plugin.start)

        assert error.code == "UNAVAILABLE"
        assert await asking.provider().fetch(asking.asks())


async def test_a_plugin_that_dies_while_asked_is_unavailable(asking: Asking, tmp_path: Path) -> None:
    """Akeyless's ends its process over a secret that it cannot read."""
    with process(asking.folder, tmp_path) as plugin:
        await asking.provider().fetch(asking.asks())
        plugin.pause()
        asked = asyncio.create_task(asking.provider().fetch(asking.asks()))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(plugin.kill)

        with pytest.raises(ProviderError) as caught:
            await asked

    assert caught.value.code == "UNAVAILABLE"


async def test_a_replaced_socket_is_noticed_while_the_old_one_lives(asking: Asking) -> None:
    """A plugin that was rolled over still answers on its old connections: the new one is asked."""
    old, new = Plugin(), Plugin(rotated=True)
    async with plugin_server(asking.folder, "old", old), plugin_server(asking.folder, "new", new):
        (asking.folder / "old.sock").rename(asking.folder / "mock.sock")
        [before] = await asking.provider().fetch(asking.asks())
        (asking.folder / "new.sock").rename(asking.folder / "mock.sock")
        [after] = await asking.provider().fetch(asking.asks())

    assert (before.contents, after.contents) == (b"secret", b"rotated")


async def test_a_call_in_flight_ends_on_the_old_connection(asking: Asking) -> None:
    """Replacing a plugin cuts nobody off."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_: pb.MountRequest) -> pb.MountResponse:
        asked.set()
        await go_on.wait()
        return pb.MountResponse(object_version=[pb.ObjectVersion(id="a")], files=[pb.File(path="a", contents=b"old")])

    async with plugin_server(asking.folder, "old", Plugin(answer=wait)), plugin_server(asking.folder, "new"):
        (asking.folder / "old.sock").rename(asking.folder / "mock.sock")
        slow = asyncio.create_task(asking.provider().fetch(asking.asks()))
        await asked.wait()
        (asking.folder / "new.sock").rename(asking.folder / "mock.sock")
        [fresh] = await asking.provider().fetch(asking.asks())
        go_on.set()
        [late] = await slow

    assert (fresh.contents, late.contents) == (b"secret", b"old")


async def test_a_fetch_that_nobody_waits_for_leaves_nothing_behind(asking: Asking) -> None:
    """Its call is cancelled, and the connection goes on."""
    asked, never = asyncio.Event(), asyncio.Event()
    plugin = Plugin()

    async def hang(_: pb.MountRequest) -> pb.MountResponse:
        asked.set()
        await never.wait()
        return pb.MountResponse()

    plugin.answer = hang
    async with plugin_server(asking.folder, "mock", plugin):
        slow = asyncio.create_task(asking.provider().fetch(asking.asks()))
        await asked.wait()
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        never.set()
        plugin.answer = None
        assert await asking.provider().fetch(asking.asks())


async def test_a_plugin_without_version_is_used(asking: Asking) -> None:
    """As upstream would: nothing there asks for it before a mount."""
    whole = Plugin()

    class Mute:
        Mount = whole.Mount

    async with serve(f"unix://{asking.folder}/mock.sock", {SERVICE: Mute()}, grace=0.0):
        assert await asking.provider().fetch(asking.asks())


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff", b"\x1a\x03\x0a\x01\xff"])
async def test_an_answer_that_cannot_be_read_is_refused(asking: Asking, garbage: bytes) -> None:
    """Neither a broken message nor a path that is no text becomes a file; nothing of it is told."""

    class Garbled:
        Version = b"\xff"
        Mount = garbage

    async with serve(f"unix://{asking.folder}/mock.sock", {SERVICE: Garbled()}, grace=0.0):
        error = await failure(asking)

    assert (error.code, error.reason) == ("INTERNAL", "GRPCProviderError")
    assert "no MountResponse" in error.message


async def test_another_service_is_no_plugin(asking: Asking) -> None:
    """Such as a CSI driver's socket in the folder."""
    node = csi_pb2.DESCRIPTOR.services_by_name["Node"]
    async with serve(f"unix://{asking.folder}/mock.sock", {node: object()}, grace=0.0):
        error = await failure(asking)

    assert (error.code, error.reason) == ("UNIMPLEMENTED", "GRPCProviderError")


async def test_who_does_not_speak_grpc_is_no_plugin(asking: Asking) -> None:
    """The connection is given up, with the words of the transport."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{asking.folder}/mock.sock")
        listener.listen()
        listener.settimeout(5.0)
        answering = threading.Thread(target=hang_up, args=(listener,), daemon=True)
        answering.start()

        error = await failure(asking, seconds=1.0)

    answering.join()
    assert error.code in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
    assert error.reason == "GRPCProviderError"


def hang_up(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    connection.close()
