"""The API as a process: `python -m keyferry.testing.kube --port N --kubeconfig FILE`, until SIGTERM or SIGINT."""

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

from keyferry.testing.kube import crds
from keyferry.testing.kube.server import KubeAPI


async def serve(port: int, kubeconfig: Path | None, definitions: Path | None, history: int) -> None:
    """Runs the API; prints one JSON line with its url and kubeconfig when it is ready."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with KubeAPI(port, crds=crds.load(definitions) if definitions else [], history=history) as api:
        path = _copied(api.kubeconfig, kubeconfig) if kubeconfig else api.kubeconfig
        sys.stdout.write(json.dumps({"url": api.url, "kubeconfig": str(path)}) + "\n")
        sys.stdout.flush()
        await stop.wait()


def _copied(source: Path, target: Path) -> Path:
    target.touch(mode=0o600)
    target.write_text(source.read_text())
    return target


def main() -> None:
    """Parses the command line and serves."""
    parser = argparse.ArgumentParser(prog="python -m keyferry.testing.kube", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="TCP port on 127.0.0.1 (default: a free one)")
    parser.add_argument("--kubeconfig", type=Path, help="file to write the administrator's kubeconfig to")
    parser.add_argument("--crds", type=Path, help="folder of CustomResourceDefinition YAML files to load first")
    parser.add_argument("--history", type=int, default=10_000, help="changes that a watch can look back on")
    args = parser.parse_args()
    asyncio.run(serve(args.port, args.kubeconfig, args.crds, args.history))


if __name__ == "__main__":
    main()
