"""Writes the dashboards: ``python deploy/dashboards/build.py [FOLDER]``; the JSON beside it is what Grafana imports."""
# ruff: noqa: INP001 - a script beside what it writes, no package

from __future__ import annotations

import json
import sys
from pathlib import Path

from health import backends, bus, overview
from story import story
from volumes import mounts, rotation

DASHBOARDS = (overview, mounts, rotation, backends, bus, story)


def main(folder: Path) -> None:
    """Write each dashboard to a file named after its address."""
    for build in DASHBOARDS:
        made = build()
        (folder / f"{made['uid']}.json").write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
