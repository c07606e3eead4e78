"""ListSecrets: Google's filters, and pages that belong to one question.

Of the filter language (secret-manager/docs/filtering) it understands AND, OR, NOT, and terms on name and labels.
"""

import re
import zlib
from collections.abc import Sequence
from typing import Any

import grpc
from google.cloud.secretmanager_v1.types import resources, service

from keyferry.testing.gcp.rpc import Refused

_TERM = re.compile(r'(?P<no>NOT )?(?P<field>name|labels\.[\w-]+) ?(?P<how>[:=]) ?(?P<value>"[^"]*"|[\w./*-]+)')


def listed(secrets: Sequence[resources.Secret], asked: Any, largest: int) -> service.ListSecretsResponse:
    """One page.

    Args:
        secrets: All of the parent's.
        asked: The request.
        largest: Secrets in a page, whatever is asked for.

    Raises:
        Refused: the filter cannot be read, or the page belongs to another question.
    """
    terms = _read(asked.filter)
    found = [secret for secret in secrets if all(any(_holds(term, secret) for term in some) for some in terms)]
    question = zlib.crc32(f"{asked.parent}|{asked.filter}".encode())
    begin = _begin(asked.page_token, question)
    end = begin + min(asked.page_size or largest, largest)
    return service.ListSecretsResponse(
        secrets=found[begin:end],
        next_page_token=f"{question:x}-{end}" if end < len(found) else "",
        total_size=0 if asked.filter else len(found),
    )


def _begin(token: str, question: int) -> int:
    if not token:
        return 0
    asked, _, begin = token.partition("-")
    if asked != f"{question:x}" or not begin.isdecimal():
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "The page token is not valid for this request.")
    return int(begin)


def _read(text: str) -> list[list[re.Match[str]]]:
    """Terms, one of each group of which must hold: OR binds closer than AND, as in all Google's filters (AIP-160)."""
    groups = [[_TERM.fullmatch(term.strip()) for term in group.split(" OR ")] for group in text.split(" AND ") if text]
    if not all(all(group) for group in groups):
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "The filter is not valid.")
    return [[term for term in group if term] for group in groups]


def _holds(term: re.Match[str], secret: resources.Secret) -> bool:
    value = term["value"].strip('"')
    has = secret.name if term["field"] == "name" else secret.labels.get(term["field"].removeprefix("labels."))
    if has is None:
        found = False
    elif term["how"] == "=":
        found = has == value
    else:  # has: anywhere in it, in whatever case
        found = value == "*" or value.lower() in has.lower()
    return found != bool(term["no"])
