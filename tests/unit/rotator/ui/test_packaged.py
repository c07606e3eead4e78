from __future__ import annotations

import re
from importlib.resources import files

from rotator.ui.page import _STATIC

FOLDER = files("rotator.ui") / "static"


def test_every_file_of_the_page_is_served() -> None:
    """Nothing lies there that has no path, and nothing has a path that does not lie there."""
    assert sorted(each.name for each in FOLDER.iterdir()) == sorted(name for name, _ in _STATIC.values())


def test_the_page_loads_nothing_that_is_not_served() -> None:
    """Each address in it is one of ours; no script and no style stands in it, which its policy would forbid."""
    page = (FOLDER / "page.html").read_text()
    script = (FOLDER / "page.js").read_text() + (FOLDER / "table.js").read_text()

    assert set(re.findall(r'(?:href|src)="([^#][^"]*)"', page)) <= set(_STATIC)
    assert set(re.findall(r'from "\./([^"]+)"', script)) == {"table.js"}
    assert re.findall(r"<style|style=|\son\w+=|<script(?! type=\"module\" src=)", page) == []
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script) == []
