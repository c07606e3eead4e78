"""Secrets that senders prove themselves by: read from a file whenever it changes, compared in constant time."""

from __future__ import annotations

import hmac
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger(__name__)

_SHORTEST = 16  # characters


class KeysError(Exception):
    """The file cannot serve; the text names it and the fix."""


@dataclass
class Keys:
    """The keys of a file, one a line, or one key given outright. Several hold at once, so that they can be rotated.

    Attributes:
        file: Where they are; empty for none.
        given: A key itself; empty for none.
    """

    file: str = ""
    given: str = field(default="", repr=False)
    _held: tuple[bytes, ...] = field(default=(), init=False, repr=False)
    _stamp: tuple[int, int, int] | None = field(default=None, init=False, repr=False)

    @property
    def configured(self) -> bool:
        """Whether there is anything to prove."""
        return bool(self.file or self.given)

    def load(self) -> tuple[bytes, ...]:
        """All keys.

        Raises:
            KeysError: the file cannot be read, has none, or one that is too short.
        """
        found = [self.given.encode()] if self.given else []
        if self.file:
            try:
                found += [line.strip().encode() for line in Path(self.file).read_text().splitlines() if line.strip()]
            except (OSError, ValueError):
                raise KeysError(f"{self.file} cannot be read") from None
        if not found or min(map(len, found)) < _SHORTEST:
            raise KeysError(f"{self.file or 'the key'} needs keys of {_SHORTEST} characters or more, one a line")
        return tuple(found)

    def current(self) -> tuple[bytes, ...]:
        """All keys, as the file is now; what was last good stays if it cannot be read."""
        try:
            stamp = self._look()
            if stamp != self._stamp:
                self._held, self._stamp = self.load(), stamp
        except (KeysError, OSError) as error:
            log.warning("keys are not read again: %s", error if isinstance(error, KeysError) else "the file is gone")
        return self._held

    def holds(self, shown: str) -> bool:
        """Whether this is one of the keys, in a time that tells nothing about how nearly."""
        raw = shown.encode(errors="surrogatepass")
        found = False
        for key in self.current():  # to the last one, whichever it is
            found |= hmac.compare_digest(raw, key)
        return found

    def _look(self) -> tuple[int, int, int]:
        if not self.file:
            return (0, 0, 0)
        about = os.stat(self.file)  # noqa: PTH116 - through the symlinks that Kubernetes switches
        return (about.st_mtime_ns, about.st_size, about.st_ino)
