"""What Key Vault's refusals mean, without its own words: they may quote what was sent."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from azure.core.exceptions import AzureError, HttpResponseError

from fetcher.providers.azure.wanted import Reference
from keyferry.errors import (
    AccessDenied,
    InvalidSecretProviderClass,
    KeyferryError,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    SecretNotFound,
)

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}", re.ASCII)
_AKV = re.compile(r"\bAKV[0-9]{5}\b", re.ASCII)
_LONGEST_WAIT = 300.0  # seconds, whatever Retry-After says
_TOLD_WITH_CODE = {HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}

# Inner codes of 403, which Key Vault answers for what exists and may be read, but not now.
_STATES = {
    "SecretDisabled": "this version is disabled",
    "KeyDisabled": "this version is disabled",
    "CertificateDisabled": "this version is disabled",
    "SecretExpired": "this version has expired",
    "SecretNotYetValid": "this version is not valid yet",
}
_DENIALS = {
    "ForbiddenByPolicy": "the vault's access policy does not grant {right}",
    "AccessDenied": "the vault's access policy does not grant {right}",
    "ForbiddenByRbac": "no role assignment grants {right}: assign {role}",
    "ForbiddenByFirewall": "the vault's firewall does not let the fetcher's address in",
    "ForbiddenByConnection": "the vault takes private connections only",
}
_HINTS = {
    "AKV10032": "the vault belongs to another tenant: see tenantID",
    "AKV10022": "the vault wants tokens for another resource: see cloudName",
}
_ROLES = {"secret": "Key Vault Secrets User", "key": "Key Vault Crypto User", "cert": "Key Vault Certificate User"}
_RIGHTS = {"secret": "secrets/{verb}", "key": "keys/{verb}", "cert": "certificates/{verb}"}


class Withheld(SecretNotFound):
    """The vault has it, but somebody has disabled it: no reason to leave out what is ``optional``."""


class TokenRefused(AccessDenied):
    """The vault does not take the access token, whatever it was for."""


_BY_STATUS: dict[int, tuple[type[KeyferryError], str]] = {
    HTTPStatus.BAD_REQUEST: (InvalidSecretProviderClass, "the vault refuses name or version"),
    HTTPStatus.UNAUTHORIZED: (TokenRefused, "the vault does not take the access token"),
    HTTPStatus.FORBIDDEN: (AccessDenied, "the vault does not grant {right}: a role such as {role} does"),
    HTTPStatus.NOT_FOUND: (SecretNotFound, "the vault has no such {kind}, or not in this version"),
    HTTPStatus.REQUEST_TIMEOUT: (ProviderUnavailable, "the vault failed"),
    HTTPStatus.TOO_MANY_REQUESTS: (RateLimited, "the vault asks for fewer calls"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """An error, reduced to what is safe to tell."""

    status: int
    code: str
    inner: str
    akv: str
    retry_after: float | None


def answer(error: HttpResponseError) -> Answer:
    """What of an error's answer is safe to tell."""
    response: Any = error.response
    text, retry_after = "", ""
    if response is not None:
        try:
            text = response.text()
        except (AzureError, ValueError, LookupError):
            text = ""
        retry_after = response.headers.get("Retry-After") or ""
    told = _document(text).get("error")
    told = told if isinstance(told, dict) else {}
    inner = next((value for name, value in told.items() if name.lower() == "innererror"), None)
    akv = _AKV.search(str(told.get("message", "")))
    return Answer(
        status=int(error.status_code or 0),
        code=_code(told.get("code")),
        inner=_code(inner.get("code") if isinstance(inner, dict) else None),
        akv=akv[0] if akv else "",
        retry_after=seconds(retry_after),
    )


def seconds(retry_after: str) -> float | None:
    """How long Azure asks to wait, within reason; None if it does not say."""
    if not (retry_after.isascii() and retry_after.isdecimal() and len(retry_after) < len("1000000")):
        return None
    return min(max(float(retry_after), 1.0), _LONGEST_WAIT)


def explain(error: AzureError | ValueError, reference: Reference, doing: str, verb: str = "get") -> KeyferryError:
    """The error that the pod's owner reads.

    Args:
        error: Of a call; a ValueError is the SDK's refusal of the vault's challenge, or of an answer.
        reference: What was read.
        doing: The same in words, with whose identity it was.
        verb: The right that it takes.
    """
    if not isinstance(error, HttpResponseError):
        return ProviderUnavailable(f"{doing}: {_unanswered(error)}")
    told = answer(error)
    if told.status < HTTPStatus.BAD_REQUEST:
        return ProviderUnavailable(f"{doing}: the answer makes no sense")
    if told.status in _TOLD_WITH_CODE and not told.code:
        # A proxy that knows no such page, for one, must not pass for a vault that has no such secret.
        return ProviderUnavailable(f"{doing}: the answer ({told.status}) is not Key Vault's")
    kind, words = _meaning(told, reference, verb)
    code = "/".join(code for code in (told.code, told.inner, told.akv) if code)
    text = f"{doing}: {words} ({told.status}{f' {code}' if code else ''})"
    if kind is ProviderError:
        return ProviderError(text, code="FAILED_PRECONDITION", reason="ProviderError")
    return kind(text, retry_after=told.retry_after if kind.retry_after else None)


def _meaning(told: Answer, reference: Reference, verb: str) -> tuple[type[KeyferryError], str]:
    if told.inner in _STATES:
        return Withheld, f"{_STATES[told.inner]}: enable it, or add another"
    if told.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ProviderUnavailable, "the vault failed"
    if told.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND) and not reference.name:
        return ProviderUnavailable, "the vault does not list what it has"  # the class named nothing that could be wrong
    kind, words = _BY_STATUS.get(told.status, (ProviderError, "the vault refuses it"))
    words = _HINTS.get(told.akv) or (_DENIALS.get(told.inner) if kind is AccessDenied else None) or words
    right = _RIGHTS[reference.kind].format(verb=verb)
    return kind, words.format(kind=reference.kind, right=right, role=_ROLES[reference.kind])


def _unanswered(error: AzureError | ValueError) -> str:
    if isinstance(error, ValueError):
        return "the vault's answer makes no sense, or it asks for tokens of another domain than its own"
    names = {type(error).__name__, type(error.inner_exception).__name__}
    if any("Certificate" in name or "SSL" in name for name in names):
        return "its certificate is not trusted, or it speaks no TLS: see KEYFERRY_AZURE_CA_FILE"
    if any("DNS" in name for name in names):
        return "its name is not known: there may be no vault of this name"
    if any("Timeout" in name for name in names):
        return "no answer in time"
    return f"it cannot be reached or broke off ({type(error).__name__})"


def _document(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def _code(value: object) -> str:
    return value if isinstance(value, str) and _CODE.fullmatch(value) else ""
