"""Lists of a vault in pages, linked as Key Vault links them: by an opaque token, and with the port written out."""

import base64
import binascii
import json
from collections.abc import Sequence
from typing import TypeVar

from yarl import URL

T = TypeVar("T")

_LARGEST = 25


class BadPage(Exception):
    """The request asks for a page that cannot be; the text is Key Vault's."""


def page(listed: Sequence[T], url: URL) -> tuple[Sequence[T], str | None]:
    """The page that a request asks for, and the link to the next one.

    Args:
        listed: All there is.
        url: Of the request.

    Raises:
        BadPage: there is none of this size, or at this place.
    """
    size = _size(url.query.get("maxresults", str(_LARGEST)))
    start = _start(url.query.get("$skiptoken"))
    if start + size >= len(listed):
        return listed[start:], None
    token = base64.b64encode(json.dumps({"NextMarker": start + size, "TargetLocation": 0}).encode()).decode()
    port = url.port or 443
    link = url.update_query({"$skiptoken": token, "maxresults": str(size)})
    return listed[start : start + size], str(link).replace(f"//{link.authority}", f"//{link.host}:{port}", 1)


def _size(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= _LARGEST):
        raise BadPage(f"The maxresults parameter must be between 1 and {_LARGEST}.")
    return int(text)


def _start(token: str | None) -> int:
    if token is None:
        return 0
    try:
        return int(json.loads(base64.b64decode(token, validate=True))["NextMarker"])
    except (binascii.Error, ValueError, LookupError, TypeError):
        raise BadPage("The skiptoken parameter is not valid.") from None
