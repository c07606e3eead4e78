"""What a vault's lists say of objects and versions, page by page, and which of them a class means."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fetcher.options import Selection
from fetcher.providers.azure.entry import NAME, VERSION

_MOST_PAGES = 1500  # of 25 at most; some are shorter


@dataclass(frozen=True, slots=True)
class Listed:
    """An object, or one version of it, as a list tells it.

    Attributes:
        name: Of the object.
        version: Its id; empty where objects are listed.
        enabled: Whether it may be read.
        created: Unix seconds.
        tags: Of the version; where objects are listed, of the newest.
    """

    name: str
    version: str
    enabled: bool
    created: float
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list, and where the next part is; None at its end."""

    items: Sequence[Listed]
    link: str | None


class TooLong(Exception):
    """The list does not end within reason."""


def listed(about: Any) -> Listed:
    """One item of a list.

    Args:
        about: Properties as the SDK gives them, of a secret, a key or a certificate.

    Raises:
        ValueError, TypeError, AttributeError, ArithmeticError: it is none, or of a name that cannot be.
    """
    version, tags = about.version or "", about.tags or {}
    if not NAME.fullmatch(about.name) or (version and not VERSION.fullmatch(version)):
        raise ValueError
    if not isinstance(tags, Mapping):
        raise TypeError
    created = about.created_on.timestamp() if about.created_on else 0.0
    return Listed(about.name, version, about.enabled is not False, created, tags)


async def every(page: Callable[[str | None], Awaitable[Page]], most: int) -> list[Listed]:
    """All items of a list.

    Args:
        page: Asks for the page that a link leads to; for the first one without a link.
        most: Items.

    Raises:
        TooLong: there are more, or the pages do not end.
    """
    found: list[Listed] = []
    link = None
    for _ in range(_MOST_PAGES):
        got = await page(link)
        found += got.items
        link = got.link
        if len(found) > most:
            break
        if link is None:
            return found
    raise TooLong


def newest_first(versions: Iterable[Listed]) -> list[str]:
    """Ids of the enabled ones, by the time they were made."""
    enabled = [each for each in versions if each.enabled and each.version]
    return [each.version for each in sorted(enabled, key=lambda each: each.created, reverse=True)]


def matching(selection: Selection, objects: Iterable[Listed]) -> list[str]:
    """Names of the enabled ones that a selection means, in their order; Key Vault's names have no case."""
    prefix = selection.prefix.lower()
    return sorted(
        {
            each.name
            for each in objects
            if each.enabled
            and each.name.lower().startswith(prefix)
            and all(each.tags.get(tag) == value for tag, value in selection.tags)
        }
    )


def rest(selection: Selection, name: str) -> str:
    """The file of a selected object; `Selection.rest` for a prefix in other letters than the object's."""
    return selection.rest(selection.prefix + name[len(selection.prefix) :])
