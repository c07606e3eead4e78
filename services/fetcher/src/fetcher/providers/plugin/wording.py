"""Foreign words made fit to be shown: in one line, without the request's secrets and what looks like a credential."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

from fetcher.provider import ProviderRequest
from keyferry.telemetry.logs import redact

_SECRET_PARAMETER = re.compile(r"(?:key|token|password|secret)$", re.IGNORECASE)  # such as Akeyless's access key
_SHORT = 4  # characters; shorter values are struck as whole words only, or they would shred every text
_LINE = 16  # characters from which a line or a part of a value is a secret by itself


def strike(text: str, request: ProviderRequest, *, longest: int) -> str:
    """The text for people.

    Args:
        text: A plugin's words; they may quote anything that it was sent or has read.
        request: What it was sent.
        longest: Characters that are kept.
    """
    needles = sorted({form for value in _secrets(request) for form in _forms(value)}, key=len, reverse=True)
    if needles:
        text = re.sub("|".join(map(_pattern, needles)), "***", text)
    shown = "".join(c if c.isprintable() else " " for c in redact(text)).strip()
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def _secrets(request: ProviderRequest) -> Iterator[str]:
    for token in request.tokens.values():
        yield token
        yield from (part for part in token.split(".") if len(part) >= _LINE)
    for value in request.node_publish_secret.values():
        yield value
        yield from (line for line in value.splitlines() if len(line) >= _LINE)
    yield from (value for name, value in request.parameters.items() if _SECRET_PARAMETER.search(name))


def _forms(value: str) -> Iterator[str]:
    """A value and what it looks like inside JSON, a URL or base64."""
    if not value.strip():
        return
    yield value
    yield value.strip()
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield quote(value, safe="")
    yield quote_plus(value)
    if len(value) >= _SHORT:
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(value.encode()).decode().rstrip("=")


def _pattern(needle: str) -> str:
    return re.escape(needle) if len(needle) >= _SHORT else rf"(?<!\w){re.escape(needle)}(?!\w)"
