"""Reads what Vault answered: JSON, or an error in our words with as much of Vault's own as is safe to show."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from fetcher.providers.vault.objects import LIST, Call
from fetcher.providers.vault.transport import Answer
from keyferry.errors import (
    AccessDenied,
    InvalidSecretProviderClass,
    KeyferryError,
    ProviderUnavailable,
    RateLimited,
    SecretNotFound,
)

_LONGEST_REASON = 200  # characters
_LONGEST_WAIT = 300.0  # seconds, whatever Retry-After says
_SHORTEST_SECRET = 4  # characters; what is shorter is cut out only where it is a word of its own
_OPAQUE = re.compile(
    r"""
    ://[^/\s@]*@                                  # user and password of a URL
    | \b(?:hv[sbr]|[sbr])\.[\w-]{8,}[\w.-]*       # Vault's tokens
    | \bey[\w-]{6,}(?:\.[\w-]*)+                  # JWTs
    | [\w+=-]{32,}                                # whatever else looks like a key
    """,
    re.VERBOSE | re.ASCII,
)


class WrittenFloat(float):
    """A number with a fraction that remembers how it was written, as Vault keeps it: 1.10 is not 1.1."""

    text: str

    @classmethod
    def of(cls, text: str) -> WrittenFloat:
        """Args: text: as in the JSON document."""
        number = cls(text)
        number.text = text
        return number


def document(answer: Answer, doing: str) -> dict[str, Any]:
    """The answer's JSON.

    Raises:
        ProviderUnavailable: it is none; a proxy or another kind of server answered.
    """
    found = _object(answer)
    if found is None:
        raise _foreign(answer, doing)
    return found


def read_failure(answer: Answer, call: Call, doing: str, token: str = "") -> KeyferryError | None:
    """What a read's answer means if it is an error; None if it is none.

    Args:
        answer: Vault's.
        call: What was asked.
        doing: In words, for messages.
        token: With which; no message shows it.
    """
    status = answer.status
    if status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    if unusable := _unusable(answer, doing):
        return unusable
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        by_method = "read" if call.method == "GET" else "create and update"
        capability = "list" if call.query == LIST else by_method
        return AccessDenied(f"{doing}: permission denied: give a policy of this role {capability} on {call.path}")
    if status == HTTPStatus.NOT_FOUND:
        return SecretNotFound(f"{doing}: {_missing(answer)}")
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return InvalidSecretProviderClass(f"{doing}: Vault does not support {call.method} here: set another method")
    reason = _reason(answer, [token, *_values(call)])
    return InvalidSecretProviderClass(f"{doing}: Vault refuses it ({status}): {reason}")


def login_failure(answer: Answer, doing: str, jwt: str) -> KeyferryError | None:
    """What a login's answer means if it is an error; Vault's reason is about the identity, so it is shown."""
    if answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    if unusable := _unusable(answer, doing):
        return unusable
    if answer.status == HTTPStatus.NOT_FOUND:
        return InvalidSecretProviderClass(
            f"{doing}: there is no such mount or namespace: see vaultAuthMountPath and vaultNamespace"
        )
    reason = _reason(answer, [jwt])
    if reason == "permission denied":  # all that auth/kubernetes says of most failures
        reason += " (Vault also says so when it cannot have the token reviewed by the Kubernetes API: see its log)"
    return AccessDenied(f"{doing}: {reason}")


def lease_failure(answer: Answer, doing: str) -> KeyferryError | None:
    """What stands in the way of a lease just now; None if Vault has decided, one way or the other."""
    return _unusable(answer, doing) if answer.status >= HTTPStatus.MULTIPLE_CHOICES else None


def is_token_gone(answer: Answer) -> bool:
    """Whether Vault does not know the token (any more), which is not the same as a policy that grants too little.

    A policy's refusal comes in the words "1 error occurred: ..."; of an unknown token all versions say no more than
    "permission denied", or "bad token" or "invalid token" with it.
    """
    errors = _errors(answer)
    told = " ".join(errors)
    return answer.status == HTTPStatus.FORBIDDEN and (
        errors == ["permission denied"] or "bad token" in told or "invalid token" in told
    )


def _unusable(answer: Answer, doing: str) -> KeyferryError | None:
    """Errors that mean the same whatever was asked. What a failing server says of itself is not for end users."""
    status = answer.status
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimited(f"{doing}: Vault asks for fewer calls", retry_after=_retry_after(answer))
    if status < HTTPStatus.BAD_REQUEST:
        return ProviderUnavailable(f"{doing}: Vault redirects ({status}): let vaultAddress name the active node")
    if status == HTTPStatus.SERVICE_UNAVAILABLE and any("sealed" in error for error in _errors(answer)):
        return ProviderUnavailable(f"{doing}: Vault is sealed")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.PRECONDITION_FAILED:
        return ProviderUnavailable(f"{doing}: Vault failed ({status}); its log says why")
    # An ingress that knows no such host, for one, must not pass for a Vault that knows no such secret.
    return _foreign(answer, doing) if _object(answer) is None else None


def _foreign(answer: Answer, doing: str) -> ProviderUnavailable:
    return ProviderUnavailable(
        f"{doing}: the answer ({answer.status}) is no JSON object: is this Vault's address, and a path of its API?"
    )


def _object(answer: Answer) -> dict[str, Any] | None:
    try:
        found = json.loads(answer.body, parse_float=WrittenFloat.of)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _missing(answer: Answer) -> str:
    found = _object(answer) or {}
    data = found.get("data")
    metadata = data.get("metadata") if isinstance(data, dict) else None
    if isinstance(metadata, dict) and metadata.get("destroyed"):
        return "this version was destroyed"
    if isinstance(metadata, dict) and metadata.get("deletion_time"):
        return "this version was deleted"
    if any("versioned" in warning for warning in _texts(found.get("warnings"))):
        return "its engine is KV version 2: write data/ after the mount, such as secret/data/app"
    if any("no handler" in error for error in _errors(answer)):
        return "no secrets engine is mounted there"
    return "there is no such secret"


def _reason(answer: Answer, hidden: Iterable[str]) -> str:
    """Vault's own words on one line, without what was sent and without anything that looks like a secret."""
    text = _line(" ".join(_errors(answer)))
    for value in sorted(filter(None, map(_line, hidden)), key=len, reverse=True):
        # The longest first: one within another must not leave a rest. Go quotes as JSON does, with or without umlauts.
        for written in (value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]):
            if len(value) >= _SHORTEST_SECRET:
                text = text.replace(written, "…")
            else:
                text = re.sub(rf"(?<!\w){re.escape(written)}(?!\w)", "…", text)
    return _OPAQUE.sub("…", text)[:_LONGEST_REASON] or "it gives no reason"


def _line(text: str) -> str:
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())


def _errors(answer: Answer) -> list[str]:
    return _texts((_object(answer) or {}).get("errors"))


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _values(call: Call) -> list[str]:
    """Every text and number in ``secretArgs``."""
    found: list[str] = []
    rest = [json.loads(call.body)] if call.body else []
    while rest:
        value = rest.pop()
        if isinstance(value, dict | list):
            rest.extend(value.values() if isinstance(value, dict) else value)
        elif isinstance(value, str):
            found.append(value)
        elif value is not None and not isinstance(value, bool):
            found.append(json.dumps(value))
    return found


def _retry_after(answer: Answer) -> float | None:
    """Seconds (RFC 9110, section 10.2.3); None if not given."""
    text = answer.headers.get("retry-after", "")
    try:
        seconds = float(text) if text.isdecimal() else (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None
    return min(max(seconds, 1.0), _LONGEST_WAIT)
