"""A mounted volume as a pod sees it: its tree with modes and owners, and what the files hold."""

from __future__ import annotations

import grp
import pwd
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from rich.text import Text

_OWNER, _SIZE = 12, 6  # columns


def tree(root: Path) -> Text:
    """Each entry with mode, owner, size and, for a symlink, where it points, depth first."""
    lines = [_line(root, "", str(root.name) + "/"), *_below(root, "")]
    return Text("\n").join(lines)


def _below(folder: Path, indent: str) -> Iterator[Text]:
    entries = sorted(folder.iterdir())
    for entry in entries:
        is_last = entry is entries[-1]
        is_folder = entry.is_dir() and not entry.is_symlink()
        shown = entry.name + ("/" if is_folder else f" → {entry.readlink()}" if entry.is_symlink() else "")
        yield _line(entry, indent + ("└ " if is_last else "├ "), shown)
        if is_folder:
            yield from _below(entry, indent + ("  " if is_last else "│ "))


def _line(entry: Path, branch: str, shown: str) -> Text:
    status = entry.lstat()
    size = f"{status.st_size} B" if stat.S_ISREG(status.st_mode) else ""
    owner = f"{_name(status.st_uid, _user)}:{_name(status.st_gid, _group)}"
    facts = f"{stat.filemode(status.st_mode)}  {owner:<{_OWNER}} {size:>{_SIZE}}  "
    return Text.assemble((facts, "dim"), (branch, "dim"), shown)


def _user(number: int) -> str:
    return pwd.getpwuid(number).pw_name


def _group(number: int) -> str:
    return grp.getgrgid(number).gr_name


def _name(number: int, look_up: Callable[[int], str]) -> str:
    try:
        return look_up(number)
    except KeyError:
        return str(number)


def contents(root: Path) -> Mapping[str, str]:
    """Every file that a pod is meant to read, by name: not those that the atomic writer keeps for itself."""
    names = sorted(each.name for each in root.iterdir() if not each.name.startswith(".."))
    return {name: (root / name).read_text() for name in names}


def shown(files: Mapping[str, str]) -> Text:
    """What ``cat`` would show of each file; of several lines, the first and how many there are."""
    width = max(len(name) for name in files)
    return Text("\n").join(_cat(f"{name:<{width}}", value.splitlines()) for name, value in files.items())


def _cat(name: str, lines: Sequence[str]) -> Text:
    more = f"  and {len(lines) - 1} more lines" if len(lines) > 1 else ""
    return Text.assemble(("cat ", "dim"), f"{name}  ", (lines[0], "yellow"), (more, "dim"))
