"""Stands in for kube-proxy: ports of one address that lead to a Service's ready pods, or to a server on loopback.

    python -m keyferry.testing.kube.endpoints --kubeconfig FILE --host ADDRESS PORT=NAMESPACE/SERVICE PORT=HOST:PORT ...

Where a connection goes is read from the Service's Endpoints each time, so what its selector and its targetPort say is
what works or does not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
from functools import partial
from pathlib import Path

from keyferry.errors import KubernetesUnavailable
from keyferry.kube import Kube, connect

log = logging.getLogger(__name__)

_PIECE = 1 << 16


async def _target(kube: Kube, where: str) -> tuple[str, int] | None:
    """Address and port of the first ready pod of ``NAMESPACE/SERVICE``, or what ``HOST:PORT`` says."""
    if "/" not in where:
        host, _, port = where.rpartition(":")
        return host, int(port)
    namespace, _, name = where.partition("/")
    found = await kube.get(f"/api/v1/namespaces/{namespace}/endpoints/{name}") or {}
    ready = [each for each in found.get("subsets") or [] if each.get("addresses")]
    return (ready[0]["addresses"][0]["ip"], int(ready[0]["ports"][0]["port"])) if ready else None


async def _join(kube: Kube, where: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Connect a client with what it asked for; where there is nothing, it sees its connection end."""
    with contextlib.suppress(OSError, KubernetesUnavailable), contextlib.closing(writer):
        if (target := await _target(kube, where)) is None:
            return
        far_reader, far_writer = await asyncio.open_connection(*target)
        with contextlib.closing(far_writer):
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, far_writer))
                group.create_task(_pump(far_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry one direction; its end is told to the other side, which may still speak."""
    with contextlib.suppress(OSError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


async def _serve(kubeconfig: Path, host: str, table: list[str]) -> None:
    async with connect(kubeconfig, user_agent="endpoints") as kube, contextlib.AsyncExitStack() as stack:
        for entry in table:
            port, _, where = entry.partition("=")
            listening = await asyncio.start_server(partial(_join, kube, where), host, int(port))
            await stack.enter_async_context(listening)
        log.info("serving")
        await asyncio.Event().wait()


def main() -> None:
    """Serve until it is killed."""
    parser = argparse.ArgumentParser(prog="endpoints")
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("table", nargs="+", metavar="PORT=WHERE")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    asyncio.run(_serve(args.kubeconfig, args.host, args.table))


if __name__ == "__main__":
    main()
