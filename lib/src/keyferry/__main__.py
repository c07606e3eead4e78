"""The ``keyferry`` command."""

from __future__ import annotations

import sys

from keyferry.cli.command import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
