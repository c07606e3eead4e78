"""What it means when Google refuses a token, in words for whoever set up the identities."""

from __future__ import annotations

import re
from http import HTTPStatus

from fetcher.providers.gcp.identity import PodIdentity
from fetcher.providers.gcp.rest import Answer
from keyferry.errors import AccessDenied, KeyferryError, ProviderUnavailable, RateLimited

NO_AUTH = "unable to obtain auth for mount"

_LONGEST_REASON = 200  # characters
_LONGEST_WAIT = 300.0  # seconds, whatever Retry-After says
_OPAQUE = re.compile(
    r"""
    ://[^/\s@]*@                    # user and password of a URL
    | \bey[\w-]{6,}(?:\.[\w-]*)+    # JWTs
    | \bya29\.[\w.-]+               # Google's tokens
    | [\w+=-]{41,}                  # whatever else looks like a key; project and pool names have up to 32 letters
    """,
    re.VERBOSE | re.ASCII,
)


def exchange(answer: Answer, doing: str, *, hidden: str) -> KeyferryError | None:
    """What an exchange's answer means if it is an error; Google's reason is about the identity, so it is shown.

    Args:
        answer: Of an OAuth 2.0 endpoint (RFC 6749, section 5.2) or of one of Google's other APIs.
        doing: What was attempted.
        hidden: What was sent and must not be shown.
    """
    if failure := _unusable(answer, doing):
        return failure
    if answer.status == HTTPStatus.OK:
        return None
    return AccessDenied(f"{NO_AUTH}: {doing}: status {answer.status}: {_reason(answer, hidden)}")


def impersonation(answer: Answer, doing: str, identity: PodIdentity) -> KeyferryError | None:
    """What the IAM Credentials API's answer means if it is an error."""
    if failure := _unusable(answer, doing):
        return failure
    if answer.status == HTTPStatus.OK:
        return None
    first = (*identity.delegates, identity.impersonated)[0]
    member = f"service account {identity.namespace}/{identity.service_account} of {identity.pool.name}"
    return AccessDenied(
        f"{NO_AUTH}: {doing}: status {answer.status}: the account does not exist, or {member} may not act as {first}: "
        "give it roles/iam.workloadIdentityUser there, and delegates roles/iam.serviceAccountTokenCreator on the next"
    )


def _unusable(answer: Answer, doing: str) -> KeyferryError | None:
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        text = answer.headers.get("retry-after", "")
        seconds = min(max(float(text), 1.0), _LONGEST_WAIT) if text.isascii() and text.isdecimal() else None
        return RateLimited(f"{NO_AUTH}: {doing}: Google asks for fewer calls", retry_after=seconds)
    # A proxy that knows no such host, for one, must not pass for a Google that refuses.
    if answer.status != HTTPStatus.OK and not answer.document().get("error"):
        return ProviderUnavailable(f"{NO_AUTH}: {doing}: the answer ({answer.status}) is none of Google's")
    return None


def _reason(answer: Answer, hidden: str) -> str:
    """Google's own words on one line, without what was sent and without anything that looks like a token."""
    found = answer.document()
    error = found.get("error")
    words = (
        [error.get("status"), error.get("message")]
        if isinstance(error, dict)
        else [error, found.get("error_description")]
    )
    text = " ".join(word for word in words if isinstance(word, str)).replace(hidden, "…")
    line = "".join(letter for letter in " ".join(text.split()) if letter.isprintable())
    return _OPAQUE.sub("…", line)[:_LONGEST_REASON] or "it gives no reason"
