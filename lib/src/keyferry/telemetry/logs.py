"""JSON logs with trace ids, and a second lock on secrets: types that hide themselves are the first."""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from opentelemetry import trace

from keyferry.errors import KeyferryError, place

# What a credential looks like, wherever it may have slipped in: a JWT, a Vault token, an AWS key id, a private key.
_CREDENTIAL = re.compile(
    r"eyJ[\w-]{5,}\.[\w-]+(?:\.[\w-]*)?|\b(?:hv[sbr]|s|b|r)\.[A-Za-z0-9_-]{20,}|\bA[SK]IA[A-Z0-9]{16}\b"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)"
)
_SECRET_NAMES = re.compile(r"token|secret_value|password|contents|private|credential|authorization", re.IGNORECASE)
_ENCODE = json.JSONEncoder(ensure_ascii=False).encode
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def redact(text: str) -> str:
    """The text with everything that looks like a credential struck out."""
    return _CREDENTIAL.sub("***", text)


class JsonFormatter(logging.Formatter):
    """One JSON object a line. An exception shows as its type and place: its text may quote a secret."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": f"{_second(int(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            line["trace_id"] = format(context.trace_id, "032x")
            line["span_id"] = format(context.span_id, "016x")
        for name, value in vars(record).items():
            if name not in _STANDARD:
                line[name] = _named(name, value)
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = _describe(record.exc_info[1])
        return _ENCODE(line)


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return _SECRET_NAMES.search(name) is not None


def _named(name: str, value: object) -> object:
    return "***" if _is_secret(name) else _plain(value)


def _plain(value: object) -> object:
    if isinstance(value, str):  # most are; what comes below takes longer to tell
        return redact(value)
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, BaseException):
        return _describe(value)
    if isinstance(value, Mapping):
        return {redact(str(name)): _named(str(name), inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return redact(str(value))


def _describe(error: BaseException) -> str:
    if isinstance(error, KeyferryError):
        return f"{error.reason}: {redact(error.message)}"
    return place(error)


def set_up_logs(service: str, level: str) -> None:
    """Send all logs to standard error as JSON; libraries speak only from WARNING up, whatever our own level."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for ours in ("keyferry", "node_driver", "fetcher", "rotator", "syncer", "__main__"):
        logging.getLogger(ours).setLevel(level.upper())
