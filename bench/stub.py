"""A backend that answers as Vault does, as fast or as late as told, and a collector that takes traces and drops them.

``python bench/stub.py PORT``. It counts what it is asked: ``GET /counts``, ``GET /reads`` when each path was read;
``POST /reset?delay_ms=50`` starts anew. ``POST /change/PATH`` gives a path its next version, which no reset takes back.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter, defaultdict

import uvloop
from aiohttp import web

FILES, FILE_BYTES = 5, 1024


def value(path: str, number: int, version: int = 1) -> str:
    """What a file holds; each path of the backend has values of its own, and each version others."""
    return f"{path}#{number}@{version}:".ljust(FILE_BYTES, "x")


def application() -> web.Application:
    """The routes of Vault that the provider calls, those of the bench, and OTLP's."""
    counts: Counter[str] = Counter()
    reads: dict[str, list[float]] = defaultdict(list)
    versions: dict[str, int] = defaultdict(lambda: 1)
    delay = 0.0

    async def log_in(_: web.Request) -> web.Response:
        counts["logins"] += 1
        await asyncio.sleep(delay)
        return web.json_response({"auth": {"client_token": "hvs.bench", "lease_duration": 3600, "num_uses": 0}})

    async def read(request: web.Request) -> web.Response:
        counts["reads"] += 1
        path = request.match_info["path"]
        reads[path].append(time.time())
        await asyncio.sleep(delay)
        data = {f"key-{number}": value(path, number, versions[path]) for number in range(FILES)}
        return web.json_response({"data": {"data": data, "metadata": {"version": versions[path]}}})

    async def collect(request: web.Request) -> web.Response:
        counts["trace_bytes"] += len(await request.read())
        return web.Response(content_type="application/x-protobuf")

    async def reset(request: web.Request) -> web.Response:
        nonlocal delay
        delay = float(request.query.get("delay_ms", "0")) / 1000
        counts.clear()
        reads.clear()
        return web.Response()

    async def change(request: web.Request) -> web.Response:
        path = request.match_info["path"]
        versions[path] += 1
        return web.json_response(versions[path])

    async def show(_: web.Request) -> web.Response:
        return web.json_response(counts)

    async def when(_: web.Request) -> web.Response:
        return web.json_response(reads)

    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/auth/kubernetes/login", log_in)
    app.router.add_get("/v1/secret/data/{path:.+}", read)
    app.router.add_post("/v1/traces", collect)
    app.router.add_post("/reset", reset)
    app.router.add_post("/change/{path:.+}", change)
    app.router.add_get("/counts", show)
    app.router.add_get("/reads", when)
    return app


if __name__ == "__main__":
    uvloop.install()
    web.run_app(application(), host="127.0.0.1", port=int(sys.argv[1]), access_log=None)
