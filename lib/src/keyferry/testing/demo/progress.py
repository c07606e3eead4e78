"""Tells on the terminal what the demo does: numbered steps, and a tick with the time taken for each thing done."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.status import Status
from rich.text import Text

from keyferry.testing.demo.failure import Failure, blame
from keyferry.testing.processes import Server

_NARROWEST, _WIDEST = 80, 100  # columns
_NAME, _TIME = 34, 8
INDENT = 3


@dataclass
class Item:
    """Something under way.

    Attributes:
        detail: What to tell about it once it is done.
        seconds: What it took, where that is measured by itself.
    """

    detail: str = ""
    seconds: float | None = None


class Terminal(Console):
    """Standard output, which may be a pipe whose reader has had enough: then the rest is told to nobody."""

    def on_broken_pipe(self) -> None:
        """See rich; its own way, to exit at once, would leave what was started to itself."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


class Progress:
    """What is shown; on a terminal, with a spinner beside what is under way.

    Args:
        console: Where.
        clock: Seconds that only go forward.
    """

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._console = console
        self._clock = clock
        self._steps = 0
        self._under_way: list[str] = []
        self._status: Status | None = None
        # What reads a pipe is not as narrow as rich supposes.
        self.width = max(_NARROWEST, min(console.width, _WIDEST)) if console.is_terminal else _WIDEST
        console.width = self.width

    def step(self, title: str) -> None:
        """Begin the next step."""
        self._steps += 1
        self._console.print()
        self.say(Text.assemble((f"{self._steps}", "bold cyan"), "  ", (title, "bold")), indent=0)

    @contextmanager
    def item(self, name: str, *, needs: Sequence[Server] = ()) -> Iterator[Item]:
        """Tick something off when the block ends.

        Args:
            name: What it is.
            needs: The servers whose logs may say why it failed.

        Raises:
            Failure: whatever the block raised.
        """
        item, begun = Item(), self._clock()
        self._spin(begin=name)
        try:
            yield item
        except Exception as error:
            self._spin(end=name)
            self._line("✗", "red", name, item, self._clock() - begun)
            raise error if isinstance(error, Failure) else blame(name, error, needs) from error
        except BaseException:
            self._spin(end=name)
            raise
        self._spin(end=name)
        self._line("✓", "green", name, item, self._clock() - begun if item.seconds is None else item.seconds)

    def say(self, what: RenderableType, *, indent: int = INDENT) -> None:
        """Show a text or a drawing."""
        self._console.print(Padding(what, (0, 0, 0, indent), expand=False), highlight=False)

    def explain(self, failure: Failure) -> None:
        """Show what went wrong."""
        self._console.print()
        self.say(Text.assemble(("✗ ", "red"), (f"{failure.part}: ", "bold red"), failure.reason), indent=0)
        for excerpt in failure.excerpts:
            self._console.print()
            self.say(Text(excerpt, style="dim"))
        for note in getattr(failure, "__notes__", ()):
            self._console.print()
            self.say(Text(note), indent=0)

    def _line(self, mark: str, colour: str, name: str, item: Item, seconds: float) -> None:
        room = self.width - INDENT - 2 - _NAME - 1 - _TIME
        detail = item.detail if len(item.detail) < room else item.detail[: room - 2] + "…"
        self.say(
            Text.assemble(
                (mark, colour), " ", f"{name:<{_NAME}} ", (f"{detail:<{room}}", "dim"), f"{_time(seconds):>{_TIME}}"
            )
        )

    def _spin(self, *, begin: str = "", end: str = "") -> None:
        self._under_way = [name for name in [*self._under_way, begin] if name not in {"", end}]
        text = Text(", ".join(self._under_way), style="dim")
        if self._status and self._under_way:
            self._status.update(text)
        elif self._status:
            self._status.stop()
            self._status = None
        elif self._under_way and self._console.is_terminal:
            self._status = self._console.status(text)
            self._status.start()


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 0.1 else f"{seconds * 1000:.1f} ms"  # noqa: PLR2004 - reads well
