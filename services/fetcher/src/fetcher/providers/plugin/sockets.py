"""Finds a plugin's socket by the provider's name, and nothing outside the configured folders."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keyferry.errors import InvalidSecretProviderClass, ProviderUnavailable

_NAME = re.compile(r"[a-zA-Z0-9_-]{0,30}")  # upstream's, pkg/secrets-store/provider_client.go
_LONGEST_PATH = 107  # bytes; sockaddr_un holds no more
_RETRY_SECONDS = 5.0  # more than the fetcher waits itself: a pod's events shall say at once which plugin is missing


@dataclass(frozen=True, slots=True)
class Socket:
    """A plugin's socket as it is now.

    Attributes:
        path: Where it is, without symbolic links.
        stamp: Device, inode and change time: they differ once the plugin has made a new one. An inode alone may be
            given out again.
    """

    path: str
    stamp: tuple[int, int, int]


def find(name: str, folders: Sequence[str]) -> Socket:
    """The socket ``<name>.sock`` of the first folder that has one.

    Raises:
        InvalidSecretProviderClass: no plugin can have this name.
        ProviderUnavailable: none has, now.
    """
    if not _NAME.fullmatch(name):
        raise InvalidSecretProviderClass(
            f'error connecting to provider "{name}": invalid provider: provider "{name}": '
            f"spec.provider has up to 30 letters, digits, hyphens and underscores"
        )
    for folder in folders:
        found = _socket(Path(folder).resolve(), f"{name}.sock")
        if found is not None:
            return _fitting(found, name)
    raise ProviderUnavailable(
        f'error connecting to provider "{name}": provider not found: provider "{name}": there is no socket {name}.sock '
        f"in {', '.join(folders)}: check the spelling of spec.provider, and that the plugin runs beside the fetcher",
        retry_after=_RETRY_SECONDS,
    )


def _socket(folder: Path, file: str) -> Socket | None:
    path = Path(os.path.realpath(folder / file))  # and not resolve(), which cannot bear a loop
    try:
        about = path.stat()
    except OSError:
        return None
    if not path.is_relative_to(folder) or not stat.S_ISSOCK(about.st_mode):
        return None
    return Socket(str(path), (about.st_dev, about.st_ino, about.st_ctime_ns))


def _fitting(socket: Socket, name: str) -> Socket:
    if len(os.fsencode(socket.path)) > _LONGEST_PATH:
        raise ProviderUnavailable(
            f'error connecting to provider "{name}": the path of its socket is longer than {_LONGEST_PATH} bytes: '
            f"mount its folder at a shorter one (KEYFERRY_PLUGIN_DIRS)",
            retry_after=_RETRY_SECONDS,
        )
    return socket
