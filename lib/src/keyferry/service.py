"""Runs a service: settings, logs, traces, signals, and the health that says how it is from its first moment on."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import uvloop

from keyferry import cores
from keyferry.bus.identity import BusSettings
from keyferry.errors import KeyferryError, place
from keyferry.health import Readiness, health
from keyferry.keys import KeyFileError
from keyferry.settings import SettingsError, address, level, load, setting
from keyferry.telemetry import set_up_logs, set_up_traces

log = logging.getLogger(__name__)

_RETRY_SECONDS = 2.0
_GC_THRESHOLD = (10_000, 10, 10)  # a mount makes few cycles; a look every 700 objects costs more than it finds


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings(BusSettings):
    """What every service is told."""

    keys_dir: str = setting(
        "KEYFERRY_KEYS_DIR", "folder of the key files that `keyferry keys create` makes", default="/etc/keyferry/keys"
    )
    http_address: str = setting(
        "KEYFERRY_HTTP_ADDRESS",
        "where /healthz, /readyz and /metrics are served; port 0 takes a free one",
        default=":8095",
        parse=address,
    )
    log_level: str = setting("KEYFERRY_LOG_LEVEL", "debug, info, warning or error", default="info", parse=level)


S = TypeVar("S", bound=ServiceSettings)
Serve = Callable[[S, Readiness], Coroutine[Any, Any, None]]


def run(serve: Serve[S], settings_class: type[S], *, name: str, environ: Mapping[str, str] = os.environ) -> int:
    """Run a service until SIGTERM or SIGINT.

    Args:
        serve: Everything the service does, until cancelled; tells what it waits for.
        settings_class: Read from the environment here, once.
        name: For logs and traces.
        environ: The environment.

    Returns:
        The exit status: 0 when told to stop, 1 on settings that cannot work (each problem is on standard error) and on
        what cannot be survived (its place is logged, not its text).
    """
    try:
        settings = load(settings_class, environ)
    except SettingsError as error:
        sys.stderr.write(f"{name}: settings:\n{error}\n")
        return 1
    set_up_logs(name, settings.log_level)
    cores.forbid()
    node = environ.get("KEYFERRY_NODE_NAME", "")
    stop_traces = set_up_traces(name, environ, {"k8s.node.name": node} if node else {})
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_until_stopped(serve, settings, name))
    finally:
        stop_traces()


async def _until_stopped(serve: Serve[S], settings: S, name: str) -> int:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_defect)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    work = loop.create_task(_serve(serve, settings), name=name)
    stopping = loop.create_task(stopped.wait())
    # What start-up made lives as long as the process: the collector need not look at it again.
    loop.call_later(_RETRY_SECONDS, _freeze)
    await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if stopped.is_set():
        work.cancel()
        log.info("stopping")
    try:
        await work
    except asyncio.CancelledError:
        return 0
    except Exception as error:  # noqa: BLE001 - the process ends; a traceback's text may quote a secret
        for cause in _leaves(error):
            log.critical("cannot go on: %s", _told(cause))
        return 1
    return 0


async def _serve(serve: Serve[S], settings: S) -> None:
    ready = Readiness()
    async with health(settings.http_address, ready.missing):
        await _retry_start(serve, settings, ready)


async def _retry_start(serve: Serve[S], settings: S, ready: Readiness) -> None:
    """A dependency that is away at start is waited for: nobody has to restart us when it comes."""
    while True:
        try:
            await serve(settings, ready)
        except (KeyferryError, ExceptionGroup) as error:
            causes = _leaves(error)
            if not all(isinstance(cause, KeyferryError) and cause.retry_after is not None for cause in causes):
                raise
            for cause in causes:
                log.warning("cannot start yet: %s", _told(cause))
            ready.failed(f"cannot start yet: {'; '.join(_told(cause) for cause in causes)}")
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return


def _leaves(error: BaseException) -> list[BaseException]:
    """The errors that a task group has wrapped, or the error itself."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


def _told(error: BaseException) -> str:
    if isinstance(error, KeyferryError | KeyFileError | SettingsError):
        return str(error)
    reason = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
    return f"{place(error)}{reason}"


def _defect(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what no task has awaited. asyncio's own would log its text, which may quote a secret."""
    error = context.get("exception")
    log.error("%s: %s", context["message"], place(error) if error else "no exception")


def _freeze() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLD)
