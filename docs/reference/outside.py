"""Links that leave docs/ lead to files of the repository; the site has none of these, and says their paths."""  # noqa: INP001 - mkdocs loads it by its path

from __future__ import annotations

import os.path
import re
from typing import Any

_LINK = re.compile(r"\[([^\]]+)\]\((\.\.?/[^)#]+)[^)]*\)")
_DOCS = "docs"


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Called by mkdocs for each page, before it is rendered."""
    folder = os.path.join(_DOCS, os.path.dirname(page.file.src_uri))  # noqa: PTH118, PTH120 - a URI, not a path

    def told(link: re.Match[str]) -> str:
        leads_to = os.path.normpath(os.path.join(folder, link[2]))  # noqa: PTH118 - as above
        if leads_to.startswith(f"{_DOCS}/"):
            return link[0]
        text = link[1].strip("`")
        return f"`{leads_to}`" if text == leads_to else f"{link[1]} (`{leads_to}`)"

    return _LINK.sub(told, markdown)
