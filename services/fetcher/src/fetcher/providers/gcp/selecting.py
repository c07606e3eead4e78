"""Finds the secrets that an entry selects, by Secret Manager's listing."""

from __future__ import annotations

import re
from typing import Any

from fetcher.options import MAX_SELECTED, Selection
from fetcher.providers.gcp.methods import LIST
from fetcher.providers.gcp.reading import Reader
from fetcher.providers.gcp.resources import Resource, secret_id
from keyferry.errors import ContentTooLarge, ProviderUnavailable

_PAGE = 1000  # secrets; Google gives up to 25,000, which would be megabytes
_MAX_PAGES = 100
# Words that a filter can hold without quotes, as in Google's examples (secret-manager/docs/filtering).
_WORD = re.compile(r"(?!(?:AND|OR|NOT)\Z)[A-Za-z0-9_][A-Za-z0-9_-]*", re.ASCII)


async def selected(reader: Reader, listing: Resource, selection: Selection) -> list[str]:
    """The ids of the secrets that are selected, sorted.

    Raises:
        ContentTooLarge: more than a selection may stand for.
        KeyferryError: they cannot be listed.
    """
    found: set[str] = set()
    token = ""
    for _ in range(_MAX_PAGES):
        page = await reader.call(LIST, listing, page_size=_PAGE, page_token=token, filter=filter_of(selection))
        found.update(_matching(page, selection))
        if len(found) > MAX_SELECTED:
            raise ContentTooLarge(f"{listing}: more than {MAX_SELECTED} match: select fewer")
        following = page.next_page_token
        if not following:
            return sorted(found)
        if following == token:
            raise ProviderUnavailable(f"{listing}: the answer makes no sense: a page follows itself")
        token = following
    raise ContentTooLarge(f"{listing}: more than {_MAX_PAGES} pages of secrets: select with a longer prefix, or labels")


def filter_of(selection: Selection) -> str:
    """A filter that lets through all that is selected, and perhaps more: ``name`` looks for a part, not a beginning."""
    terms = [f"name:{selection.prefix}"] if _WORD.fullmatch(selection.prefix) else []
    terms += [
        f"labels.{label}={value}"
        for label, value in selection.tags
        if _WORD.fullmatch(label) and _WORD.fullmatch(value)
    ]
    return " AND ".join(terms)


def _matching(page: Any, selection: Selection) -> set[str]:
    """Those of a page that are selected indeed."""
    ids = {secret_id(secret.name): secret.labels for secret in page.secrets}
    return {
        name
        for name, labels in ids.items()
        if name and name.startswith(selection.prefix) and all(labels.get(tag) == value for tag, value in selection.tags)
    }
