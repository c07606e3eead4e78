"""What a page has its reader do, command by command, and a shell that does it."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.unit.docs.pages import blocks

SHELLS = ("sh", "bash")
LIMIT_SECONDS = 120.0

# The reader's own image: nothing can be pulled here, and what is there ends at once if it is not told to stay.
_OWN_IMAGE = re.compile(r"^([ -]*)image: myapp:latest$", re.MULTILINE)
_AN_IMAGE = r'\1image: localhost/busybox:1\n\1command: [sleep, "3600"]'
_NAMED = re.compile(r"# (\S+\.\w+)\n")


@dataclass(frozen=True)
class Step:
    """One command of a page, or one file that it shows.

    Attributes:
        text: As it stands there.
        file: The file's name, from its first line; empty for a command.
    """

    text: str
    file: str = ""


def steps(page: Path) -> Iterator[Step]:
    """The files and commands of a page, in order."""
    for block in blocks(page):
        if block.language in SHELLS:
            yield from (Step(text) for text in commands(block.text))
        elif named := _NAMED.match(block.text):
            yield Step(block.text, named[1])


def commands(text: str) -> Iterator[str]:
    """The commands of a block, each whole: with what continues it, its here-document, its loop."""
    pending = ""
    for line in text.splitlines(keepends=True):
        if pending or (line.strip() and not line.lstrip().startswith("#")):
            pending += line
            if _is_whole(pending):
                yield pending.strip()
                pending = ""
    assert not pending, f"no command: {pending}"


def inline(page: Path, program: str) -> Iterator[str]:
    """The commands of a program that stand in the page's prose, with what is meant of them."""
    prose = re.sub(r"^( *)```.*?^\1```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    yield from re.findall(rf"`({program} [^`\n]+)`", prose)


def _is_whole(text: str) -> bool:
    """Whether the shell would wait for more."""
    if text.endswith("\\\n"):
        return False
    read = subprocess.run(["/bin/bash", "-n"], input=text, capture_output=True, text=True, check=False)
    return not read.stderr  # bash warns of a here-document that does not end, and fails for the rest


@dataclass(frozen=True)
class Done:
    """What became of a command.

    Attributes:
        status: Its exit status.
        output: What it printed, errors last.
    """

    status: int
    output: str


@dataclass
class Shell:
    """The reader's terminal: a folder, the programs, and what the reader puts for the page's placeholders.

    Attributes:
        folder: Where commands run, and files are written.
        env: All of their environment.
        words: What stands on the pages, to what it is here.
        done: What ran, by the text on the page.
    """

    folder: Path
    env: Mapping[str, str] = field(repr=False)
    words: dict[str, str]
    done: dict[str, Done]

    def filled(self, text: str, more: Mapping[str, str] | None = None) -> str:
        """A text of a page with this cluster's names."""
        for word, here in {**(more or {}), **self.words}.items():
            text = re.sub(rf"(?<![\w.-]){re.escape(word)}(?![\w-])", lambda _, here=here: here, text)  # type: ignore[misc] # a default that a lambda's type does not show
        return _OWN_IMAGE.sub(_AN_IMAGE, text)

    async def run(self, text: str, more: Mapping[str, str] | None = None) -> Done:
        """Run a command as a person would, but without a terminal.

        Args:
            text: As on the page.
            more: More placeholders.

        Returns:
            What became of it; one that does not end is ended, with the status 124 of timeout(1).
        """
        pipe, none = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        limited = ("timeout", f"{LIMIT_SECONDS:.0f}", "bash", "-e", "-o", "pipefail", "-c", self.filled(text, more))
        process = await asyncio.create_subprocess_exec(
            *limited, stdin=none, stdout=pipe, stderr=pipe, cwd=self.folder, env=dict(self.env)
        )
        out, err = await process.communicate()
        said = Done(process.returncode or 0, (out + err).decode(errors="replace"))
        self.done[text] = said
        return said

    async def take(self, step: Step, more: Mapping[str, str] | None = None) -> None:
        """Write the file, or run the command, whatever becomes of it."""
        if step.file:
            (self.folder / step.file).write_text(self.filled(step.text, more))
        else:
            await self.run(step.text, more)
