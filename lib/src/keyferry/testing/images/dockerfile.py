"""Reads a Dockerfile of the few instructions that ours has, as stages whose variables are put in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_BARE = frozenset({"COPY", "RUN", "WORKDIR", "ENV", "USER", "EXPOSE", "ENTRYPOINT", "ARG"})


@dataclass
class Config:
    """What an image says of how it is run.

    Attributes:
        env: Variables.
        user: ``uid:gid``; root where it is empty.
        entrypoint: What is executed.
        cmd: Its arguments, unless the pod has others.
        ports: Such as ``8095/tcp``.
    """

    env: dict[str, str] = field(default_factory=dict)
    user: str = ""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()


@dataclass
class Stage:
    """One ``FROM``.

    Attributes:
        base: The image it begins with.
        name: How other stages name it; empty for the last.
        steps: ``COPY``, ``RUN``, ``WORKDIR``, ``ENV`` and ``ARG`` with the rest of their line, in order.
        config: What the other instructions say, ``ENV`` as well.
    """

    base: str
    name: str = ""
    steps: list[tuple[str, str]] = field(default_factory=list)
    config: Config = field(default_factory=Config)


def stages(path: Path) -> list[Stage]:
    """Read a Dockerfile; its global arguments have their defaults.

    Raises:
        ValueError: it has an instruction that this does not know.
    """
    found: list[Stage] = []
    arguments: dict[str, str] = {}
    for word, rest in _instructions(path.read_text()):
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append(Stage(substituted(base.strip(), arguments), name.strip()))
        elif word not in _BARE:
            raise ValueError(f"{path}: {word} is an instruction that is not read here")
        elif not found:
            arguments |= variables(rest)
        else:
            _take(found[-1], word, rest)
    return found


def _take(stage: Stage, word: str, rest: str) -> None:
    config = stage.config
    match word:
        case "USER":
            config.user = rest
        case "EXPOSE":
            config.ports += tuple(f"{port}/tcp" for port in rest.split())
        case "ENTRYPOINT":
            config.entrypoint = tuple(json.loads(rest))
        case _:
            stage.steps.append((word, rest))
    if word == "ENV":
        config.env |= variables(rest)


def _instructions(text: str) -> list[tuple[str, str]]:
    """Instructions and what they say, with their lines joined and no comments."""
    lines = "\n".join(line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    joined = re.sub(r"\\\n\s*", "", lines).splitlines()
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined]


def variables(text: str) -> dict[str, str]:
    """``A=1 B=2`` as a dictionary; a name without a value is left out."""
    return dict(word.split("=", 1) for word in text.split() if "=" in word)


def substituted(text: str, values: Mapping[str, str]) -> str:
    """The text with each ``${NAME}`` replaced."""
    return re.sub(r"\$\{(\w+)\}", lambda name: values[name[1]], text)
