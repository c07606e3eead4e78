"""The fetcher's own credentials, wherever Google's library finds them (Application Default Credentials)."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC
from functools import partial

import google.auth
import requests
from google.auth.credentials import with_scopes_if_required
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.auth.transport.requests import Request


@dataclass(frozen=True, slots=True)
class Found:
    """An access token and when it ends, in Unix seconds."""

    value: str = field(repr=False)
    expires: float


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is none; `may_pass` if another try may help."""

    why: str
    may_pass: bool


def token(scope: str, ca_file: str) -> Found | Failure:
    """A token of its own; blocks for as long as Google takes.

    Args:
        scope: What for.
        ca_file: PEM file with the CAs of private endpoints; empty for the public ones.
    """
    try:
        with requests.Session() as session:
            # Scopes only afterwards: with them, `default` would also ask for a project that nobody needs.
            credentials, _ = google.auth.default()
            credentials = with_scopes_if_required(credentials, [scope])  # type: ignore[no-untyped-call]  # has no types
            # Said with each call: on the session it would yield to REQUESTS_CA_BUNDLE.
            credentials.refresh(partial(Request(session=session), verify=ca_file or None))
    except DefaultCredentialsError:
        return Failure(
            "there are none: give the fetcher Workload Identity, or GOOGLE_APPLICATION_CREDENTIALS", may_pass=False
        )
    except GoogleAuthError as error:  # its text may quote what was sent and answered
        return Failure(f"Google gives no token ({type(error).__name__})", may_pass=bool(error.retryable))
    expiry = credentials.expiry
    return Found(str(credentials.token), expiry.replace(tzinfo=UTC).timestamp() if expiry else time.time())
