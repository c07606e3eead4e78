"""``keyferry keys``: makes, rotates, shows and prints the key sets. Needs nothing but the library."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from keyferry import keymaking, keys


async def run(asked: argparse.Namespace) -> int:
    """Do it.

    Raises:
        KeyFileError, OSError: it cannot be done.
    """
    if asked.action == "create":
        keymaking.create(asked.dir)
    elif asked.action == "rotate":
        keymaking.rotate(asked.dir, delay=0.0 if asked.now else keymaking.ACTIVATION_DELAY, mac=asked.mac)
    if asked.action == "manifests":
        sys.stdout.write(json.dumps(keymaking.manifests(asked.dir, asked.namespace), indent=1) + "\n")
        return 0
    rows = _rows(asked.dir)
    sys.stdout.write(json.dumps({"keys": rows}, indent=1) + "\n" if asked.json else _table(rows))
    return 0


def _rows(directory: Path) -> list[dict[str, str]]:
    public = keys.KeyFile.public(directory).keys
    sets: tuple[tuple[str, keys.Keys[Any]], ...] = (
        ("fetcher", public.fetcher),
        ("signing", public.signing),
        ("syncer", public.syncer),
    )
    return [
        {"set": name, "id": key_id, "active_from": f"{datetime.fromtimestamp(active_from, UTC):%Y-%m-%dT%H:%M:%SZ}"}
        for name, key_set in sets
        for key_id, active_from, _ in key_set.entries
    ]


def _table(rows: list[dict[str, str]]) -> str:
    return "".join(
        f"{row['set']:8} {row['id']:18} used from {row['active_from'].replace('T', ' ').removesuffix('Z')} UTC\n"
        for row in rows
    )
