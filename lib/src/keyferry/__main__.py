"""The ``keyferry`` command."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from keyferry import keys


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand.

    Returns:
        The process's exit status: 0, or 1 when what was asked could not be done (the reason is on standard error).
    """
    asked = _parser().parse_args(arguments)
    try:
        if asked.action == "create":
            keys.create(asked.dir)
        elif asked.action == "rotate":
            keys.rotate(asked.dir, delay=0.0 if asked.now else keys.ACTIVATION_DELAY)
        if asked.action == "manifests":
            sys.stdout.write(json.dumps(keys.manifests(asked.dir, asked.namespace), indent=1) + "\n")
        else:
            sys.stdout.write(_table(asked.dir))
    except (keys.KeyFileError, OSError) as error:
        sys.stderr.write(f"keyferry: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="keyferry", description="Keyferry's command line")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    key_sets = commands.add_parser("keys", help="create, rotate and show the key sets that seal and sign")
    actions = key_sets.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, help_text in (
        ("create", "make public.json, fetcher.json and syncer.json"),
        ("rotate", "add a new key to each set; the last one before it stays valid"),
        ("show", "list key ids and since when they are used"),
        ("manifests", "print the files as ConfigMap and Secrets for `kubectl apply -f -`"),
    ):
        action = actions.add_parser(name, help=help_text)
        action.add_argument("--dir", type=Path, required=True, help="the folder of the key files")
        if name == "rotate":
            action.add_argument("--now", action="store_true", help="use the new keys at once, after a compromise")
        if name == "manifests":
            action.add_argument("--namespace", default="kube-system", help="where the services run (kube-system)")
    return parser


def _table(directory: Path) -> str:
    public = keys.KeyFile.public(directory).keys
    sets: tuple[tuple[str, keys.Keys[Any]], ...] = (
        ("fetcher", public.fetcher),
        ("signing", public.signing),
        ("syncer", public.syncer),
    )
    rows = [
        f"{name:8} {key_id:18} used from {datetime.fromtimestamp(active_from, UTC):%Y-%m-%d %H:%M:%S} UTC"
        for name, key_set in sets
        for key_id, active_from, _ in key_set.entries
    ]
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.exit(main())
