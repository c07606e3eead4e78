"""What can be read of a token, verified or not, and what may be said of it."""

from __future__ import annotations

import base64
import json
from typing import Any

from keyferry.errors import IdentityRefused
from keyferry.kube import Json

_LONGEST_TOKEN = 16 * 1024  # a bound token has about a thousand characters; longer ones are not worth parsing
_LONGEST_QUOTE = 64


def header(token: str) -> Json:
    """What a token says of its own signature, unverified."""
    # Not jwt.get_unverified_header: that takes the whole token apart, which the check of the signature does again, and
    # would be a third of the cost. What is read here only chooses the key.
    return part(token, 0)


def part(token: str, index: int) -> Json:
    """Header (0) or claims (1) of a token that nobody has verified; empty where there are none."""
    try:
        told = json.loads(base64.urlsafe_b64decode(token.split(".", 2)[index] + "=="))
    except (ValueError, IndexError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def at(claims: Json, *path: str) -> Any:
    """A claim of Kubernetes' own; None where it is missing."""
    told: Any = claims.get("kubernetes.io")
    for name in path:
        told = told.get(name) if isinstance(told, dict) else None
    return told


def time_of(claims: Json, name: str) -> float:
    """Unix seconds.

    Raises:
        IdentityRefused: the claim is missing, or is no time.
    """
    told = claims.get(name)
    if not isinstance(told, int | float) or isinstance(told, bool):
        raise IdentityRefused(f"token claim {name} is {quoted(told)}, expected a time")
    return float(told)


def quoted(told: Any) -> str:
    """Somebody else's text, short and on one line; names of Kubernetes objects fit."""
    if told is None:
        return "missing"
    text = json.dumps(told, ensure_ascii=True)
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"


def shape(token: str, audience: str) -> str:
    """What may be said of a token.

    Raises:
        IdentityRefused: there is none, or one that is too long to be looked at.
    """
    if not token:
        raise IdentityRefused(
            f'the request carries no service account token for audience "{audience}": '
            "add it to spec.tokenRequests of the CSIDriver object (Helm value tokenRequests)"
        )
    form = f"{'a JWT' if token.count('.') == 2 else 'not a JWT'} of {len(token)} characters"  # noqa: PLR2004 - RFC 7515
    if len(token) > _LONGEST_TOKEN:
        raise IdentityRefused(f"the service account token is too long ({form})")
    return form
