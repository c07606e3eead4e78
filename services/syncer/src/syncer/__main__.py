"""Starts the syncer."""

import sys

from keyferry.service import run
from syncer.app import serve
from syncer.settings import Settings

if __name__ == "__main__":
    sys.exit(run(serve, Settings, name="syncer"))
