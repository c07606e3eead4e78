"""A backend that answers as Vault does, as fast or as late as told, and a collector that takes traces and drops them.

``python bench/stub.py PORT``. It counts what it is asked: ``GET /counts``; ``POST /reset?delay_ms=50`` starts anew.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

import uvloop
from aiohttp import web

FILES, FILE_BYTES = 5, 1024


def value(path: str, number: int) -> str:
    """What a file holds; each path of the backend has values of its own."""
    return f"{path}#{number}:".ljust(FILE_BYTES, "x")


def application() -> web.Application:
    """The routes of Vault that the provider calls, those of the bench, and OTLP's."""
    counts: Counter[str] = Counter()
    delay = 0.0

    async def log_in(_: web.Request) -> web.Response:
        counts["logins"] += 1
        await asyncio.sleep(delay)
        return web.json_response({"auth": {"client_token": "hvs.bench", "lease_duration": 3600, "num_uses": 0}})

    async def read(request: web.Request) -> web.Response:
        counts["reads"] += 1
        await asyncio.sleep(delay)
        path = request.match_info["path"]
        data = {f"key-{number}": value(path, number) for number in range(FILES)}
        return web.json_response({"data": {"data": data, "metadata": {"version": 1}}})

    async def collect(request: web.Request) -> web.Response:
        counts["trace_bytes"] += len(await request.read())
        return web.Response(content_type="application/x-protobuf")

    async def reset(request: web.Request) -> web.Response:
        nonlocal delay
        delay = float(request.query.get("delay_ms", "0")) / 1000
        counts.clear()
        return web.Response()

    async def show(_: web.Request) -> web.Response:
        return web.json_response(counts)

    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/auth/kubernetes/login", log_in)
    app.router.add_get("/v1/secret/data/{path:.+}", read)
    app.router.add_post("/v1/traces", collect)
    app.router.add_post("/reset", reset)
    app.router.add_get("/counts", show)
    return app


if __name__ == "__main__":
    uvloop.install()
    web.run_app(application(), host="127.0.0.1", port=int(sys.argv[1]), access_log=None)
