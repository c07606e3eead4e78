"""Reads a service's settings from the environment, once, and says everything that is wrong with them at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar

T = TypeVar("T")
Parser = Callable[[str], Any]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"(\d+)(Ki|Mi|Gi)?")
_BYTES = {None: 1, "Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}
_LAST_PORT = 65535
_LEVELS = {"debug", "info", "warning", "error"}
_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class SettingsError(Exception):
    """The environment does not make a usable configuration; the text lists every problem."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is written about one setting; docs/running.md is checked against it."""

    variable: str
    parse: Parser
    doc: str
    secret: bool


def setting(variable: str, doc: str, *, default: Any = MISSING, parse: Parser = str, secret: bool = False) -> Any:
    """A dataclass field that is read from an environment variable.

    Args:
        variable: Its name.
        doc: What it does, its unit and why its default is what it is.
        default: Used when the variable is unset or empty; without one the variable is required.
        parse: Turns the text into the value; raises ValueError saying what is expected.
        secret: Hide the value from repr.
    """
    return field(default=default, repr=not secret, metadata={"setting": Known(variable, parse, doc, secret)})


def known(settings: type) -> list[tuple[Field[Any], Known]]:
    """Every setting of a class, in the order written."""
    return [(f, f.metadata["setting"]) for f in fields(settings) if "setting" in f.metadata]


def load(settings: type[T], environ: Mapping[str, str]) -> T:
    """An instance of a settings class.

    Raises:
        SettingsError: naming each variable that is missing or malformed, and what it should look like.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for f, about in known(settings):
        text = environ.get(about.variable, "")
        if text:
            try:
                values[f.name] = about.parse(text)
            except ValueError as error:
                problems.append(f"{about.variable} {error if not about.secret else 'is malformed'}")
        elif f.default is MISSING:
            problems.append(f"{about.variable} is not set: {about.doc}")
    if problems:
        raise SettingsError("\n".join(problems))
    return settings(**values)


def duration(text: str) -> float:
    """Seconds from ``1h30m``, ``90s``, ``250ms``, as Go and Kubernetes write durations."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f'is "{text}": write a duration such as 90s, 2m or 1h30m')
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def interval(text: str) -> float:
    """Seconds between repetitions; 0 and ``off`` for never."""
    return 0.0 if text.lower() in ("0", "off") else duration(text)


def size(text: str) -> int:
    """Bytes from ``4Mi``, ``64Ki`` or a plain number."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f'is "{text}": write a size such as 4Mi, 64Ki or a number of bytes')
    return int(match[1]) * _BYTES[match[2]]


def count(text: str) -> int:
    """A whole number, zero or more."""
    if not text.isdecimal():
        raise ValueError(f'is "{text}": write a whole number')
    return int(text)


def flag(text: str) -> bool:
    """True or false."""
    try:
        return _FLAGS[text.lower()]
    except KeyError:
        raise ValueError(f'is "{text}": write true or false') from None


def level(text: str) -> str:
    """A level of our own logs."""
    if text.lower() not in _LEVELS:
        raise ValueError(f'is "{text}": write debug, info, warning or error')
    return text.lower()


def address(text: str) -> str:
    """Where to listen."""
    port = text.rpartition(":")[2]
    if ":" not in text or not port.isdecimal() or int(port) > _LAST_PORT:
        raise ValueError(f'is "{text}": write host:port, or :port for all interfaces')
    return text


def words(text: str) -> tuple[str, ...]:
    """A comma-separated list."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
