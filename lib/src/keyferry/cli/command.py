"""Reads the arguments, runs one command and turns what went wrong into a line and an exit status."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from keyferry.cli import arguments
from keyferry.cli.lacking import Lacking
from keyferry.errors import KeyferryError
from keyferry.keys import KeyFileError

WRONG, UNUSABLE, INTERRUPTED = 1, 2, 130
"""Exit statuses: something is wrong with what was looked at; the command could not look; it was interrupted."""

Command = Callable[[argparse.Namespace], Coroutine[Any, Any, int]]

TABLE = {
    "volumes": "keyferry.cli.volumes",
    "contents": "keyferry.cli.contents",
    "backends": "keyferry.cli.backends",
    "dead-letters": "keyferry.cli.deadletters",
    "explain": "keyferry.cli.explain",
    "doctor": "keyferry.cli.doctor",
    "top": "keyferry.cli.top",
    "keys": "keyferry.cli.keysets",
}
"""Command to the module whose ``run`` does it. Imported when asked for: ``keyferry keys`` runs where nothing but the
library is installed."""


def main(told: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit status: 0 all is well; 1 something is wrong with what was looked at, or could not be done; 2 the
        command was used wrongly or could not reach what it needs. The reason is on standard error.
    """
    asked = arguments.parser().parse_args(told)
    try:
        return asyncio.run(_run(asked))
    except (Lacking, KeyferryError) as error:
        return _told(error, UNUSABLE)
    except KeyFileError as error:
        return _told(error, WRONG)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever reads us has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _told(error, WRONG)


async def _run(asked: argparse.Namespace) -> int:
    try:
        module = importlib.import_module(TABLE[asked.command])
    except ModuleNotFoundError as error:
        raise Lacking(f"{error.name} is not installed: pip install 'keyferry[cli]'") from None
    if asked.debug:
        importlib.import_module("keyferry.telemetry").set_up_logs("keyferry", "debug")
    else:  # asyncio remarks upon how nats-py ends TLS, each time: nobody at a keyboard can mend that
        logging.getLogger("asyncio").setLevel(logging.ERROR)
    run: Command = module.run
    return await run(asked)


def _told(error: Exception, status: int) -> int:
    sys.stderr.write(f"keyferry: {error}\n")
    return status
