"""Writes the generated pages of the reference from the code: ``python docs/reference/generate.py [folder]``."""  # noqa: INP001 - a script, no package

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import code_pages
import contract_pages
import object_pages

PAGES: Mapping[str, Callable[[], str]] = {
    "settings.md": code_pages.settings,
    "metrics.md": code_pages.metrics,
    "errors.md": contract_pages.errors,
    "streams.md": contract_pages.streams,
    "events.md": object_pages.events,
    "annotations.md": object_pages.marks,
    "fields.md": object_pages.fields,
}
_NOTE = "<!-- Written by docs/reference/generate.py: change that, or the code, and run `make docs`. -->"


def main(folder: Path) -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (folder / name).write_text(f"{page().rstrip()}\n\n{_NOTE}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
