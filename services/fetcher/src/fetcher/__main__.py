"""Starts the fetcher."""

import sys

from fetcher.app import serve
from fetcher.settings import Settings
from keyferry.service import run

if __name__ == "__main__":
    sys.exit(run(serve, Settings, name="fetcher"))
