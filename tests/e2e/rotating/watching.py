"""Reads volumes all the time, as pods do, and notes whatever a pod should never see."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_PAUSE_SECONDS = 0.01
_TRIES = 5  # a folder that is switched away while it is read is gone; the next look finds its successor


class Watcher:
    """A thread that reads the files `password` and `user` of volumes, which hold the same value at any time.

    Attributes:
        problems: What was seen: a volume without content, with half of it, or with an older one than before.
        looks: How often all volumes were read.
    """

    def __init__(self, targets: list[Path]) -> None:
        self._targets = targets
        self._last = dict.fromkeys(targets, "")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.problems: list[str] = []
        self.looks = 0

    async def __aenter__(self) -> Self:
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_PAUSE_SECONDS):
            for target in self._targets:
                self._look(target)
            self.looks += 1

    def _look(self, target: Path) -> None:
        values = look(target)
        if len(values) != 1:
            self._note(f"{target} holds {sorted(values) or 'nothing'}")
            return
        (value,) = values
        if value < self._last[target]:
            self._note(f"{target} went back from {self._last[target]} to {value}")
        self._last[target] = value

    def _note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


def look(target: Path) -> set[str]:
    """The values of a volume's files at one moment; none if they cannot be read."""
    for _ in range(_TRIES):
        try:
            folder = os.open(target / "..data", os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            time.sleep(_PAUSE_SECONDS)
            continue
        try:
            return {_read(folder, name) for name in ("password", "user")}
        except FileNotFoundError:
            continue
        finally:
            os.close(folder)
    return set()


def _read(folder: int, name: str) -> str:
    descriptor = os.open(name, os.O_RDONLY, dir_fd=folder)
    with os.fdopen(descriptor) as file:
        return file.read()
