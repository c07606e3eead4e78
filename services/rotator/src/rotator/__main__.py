"""Starts the rotator."""

import sys

from keyferry.service import run
from rotator.app import serve
from rotator.settings import Settings

if __name__ == "__main__":
    sys.exit(run(serve, Settings, name="rotator"))
