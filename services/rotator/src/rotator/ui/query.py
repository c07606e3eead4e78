"""What somebody wants to look at: filters, order and page, taken strictly from a query string."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from keyferry.errors import InvalidArgument

PAGE = 50
VOLUME_ORDERS = ("namespace", "pod", "class", "provider", "node", "state", "confirmed", "behind")
CONTENT_ORDERS = ("due", "class", "provider", "volumes", "failing", "confirmed")
STATES = ("", "ok", "failing", "stale", "behind")
_LONGEST = 253
_LAST_PAGE = 100_000


@dataclass(frozen=True, slots=True)
class Query:
    """Filters are exact, but for `text`, which is looked for in pods, classes and objects; empty ones let all pass."""

    namespace: str = ""
    class_name: str = ""
    node: str = ""
    provider: str = ""
    state: str = ""
    text: str = ""
    sort: str = "namespace"
    is_descending: bool = False
    page: int = 1
    content_sort: str = "due"
    content_is_descending: bool = False
    content_page: int = 1

    @classmethod
    def parsed(cls, told: Mapping[str, str]) -> Query:
        """From a query string.

        Raises:
            InvalidArgument: a parameter that there is not, or with a value that it cannot have.
        """
        unknown = sorted(set(told) - _NAMES)
        if unknown:
            raise InvalidArgument(
                f"there is no parameter {unknown[0][:40]!r}; write one of {', '.join(sorted(_NAMES))}"
            )
        sort, is_descending = _order("sort", told.get("sort", ""), VOLUME_ORDERS)
        content_sort, content_is_descending = _order("contents", told.get("contents", ""), CONTENT_ORDERS)
        return cls(
            namespace=_text(told, "namespace"),
            class_name=_text(told, "class"),
            node=_text(told, "node"),
            provider=_text(told, "provider"),
            state=_choice("state", told.get("state", ""), STATES),
            text=_text(told, "text").lower(),
            sort=sort,
            is_descending=is_descending,
            page=_page(told, "page"),
            content_sort=content_sort,
            content_is_descending=content_is_descending,
            content_page=_page(told, "contents_page"),
        )


_NAMES = {
    *("namespace", "class", "node", "provider", "state", "text", "sort", "page", "contents", "contents_page"),
}


def _text(told: Mapping[str, str], name: str) -> str:
    text = told.get(name, "")
    if len(text) > _LONGEST:
        raise InvalidArgument(f"{name} has {len(text)} characters: write {_LONGEST} at most")
    return text


def _choice(name: str, text: str, choices: tuple[str, ...]) -> str:
    if text not in choices:
        raise InvalidArgument(f"{name} is none of {', '.join(filter(None, choices))}")
    return text


def _order(name: str, text: str, choices: tuple[str, ...]) -> tuple[str, bool]:
    order = _choice(name, text.removeprefix("-") or choices[0], choices)
    return order, text.startswith("-")


def _page(told: Mapping[str, str], name: str) -> int:
    text = told.get(name) or "1"
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(_LAST_PAGE)) and int(text)):
        raise InvalidArgument(f"{name} is no number of a page: write 1 or more")
    return int(text)
