"""Starts the node-driver."""

import sys

from keyferry.service import run
from node_driver.app import serve
from node_driver.settings import Settings

if __name__ == "__main__":
    sys.exit(run(serve, Settings, name="node-driver"))
