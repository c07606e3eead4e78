"""What an operator can tell about provider plugins."""

from __future__ import annotations

from dataclasses import dataclass

from keyferry.resources import MAX_CONTENT_BYTES
from keyferry.settings import setting, size, words

_LARGEST = 2**31 - 1  # gRPC keeps the limit in an int32


def _folders(text: str) -> tuple[str, ...]:
    folders = words(text)
    if not folders or not all(folder.startswith("/") for folder in folders):
        raise ValueError(f'is "{text}": write absolute paths of folders, comma-separated')
    return folders


def _message(text: str) -> int:
    largest = size(text)
    if not 0 < largest <= _LARGEST:
        raise ValueError(f'is "{text}": write a size from 1 to {_LARGEST}, such as 8Mi')
    return largest


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """Read once, when the first of them is set."""

    folders: tuple[str, ...] = setting(
        "KEYFERRY_PLUGIN_DIRS",
        "Folders where plugins put their sockets, searched in this order; empty offers none.",
        default=(),
        parse=_folders,
    )
    largest_answer: int = setting(
        "KEYFERRY_PLUGIN_MAX_MESSAGE",
        "Largest answer that is read. Twice what a volume holds, so that the class's author is told by how much.",
        default=2 * MAX_CONTENT_BYTES,
        parse=_message,
    )
