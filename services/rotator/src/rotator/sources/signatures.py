"""Signatures over a request: the Standard Webhooks scheme, for which senders find libraries in most languages.

``webhook-signature`` holds ``v1,<base64>`` of HMAC-SHA256 over ``<webhook-id>.<webhook-timestamp>.<body>``, several
with spaces between; a secret is ``whsec_<base64>``, or any other text as it is.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence

from keyferry.errors import AccessDenied

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"

_WINDOW_SECONDS = 300
_LONGEST_ID = 256
_LONGEST_TIMESTAMP = 12
_MOST_SIGNATURES = 8


def sign(secret: bytes, identifier: str, timestamp: int, body: bytes) -> str:
    """The signature header of a request."""
    text = f"{identifier}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(_key(secret), text, hashlib.sha256)).decode()


def verify(headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], now: float) -> str:
    """The id of a request that one of the secrets has signed within the last five minutes.

    Raises:
        AccessDenied: it is not signed, not by one of them, or not lately.
    """
    identifier, stamp, shown = (headers.get(name, "") for name in (ID, TIMESTAMP, SIGNATURE))
    if not 0 < len(identifier) <= _LONGEST_ID or not shown:
        raise AccessDenied("a request without webhook-id and webhook-signature")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= _LONGEST_TIMESTAMP):
        raise AccessDenied("a request without a webhook-timestamp in Unix seconds")
    if abs(now - int(stamp)) > _WINDOW_SECONDS:
        raise AccessDenied("a request signed more than five minutes ago, or by a wrong clock")
    try:
        expected = [sign(secret, identifier, int(stamp), body).encode() for secret in secrets]
    except UnicodeEncodeError:
        raise AccessDenied("a webhook-id that is no text") from None
    given = [each.encode(errors="surrogatepass") for each in shown.split(" ")[:_MOST_SIGNATURES]]
    if not sum(hmac.compare_digest(one, other) for one in expected for other in given):
        raise AccessDenied("a signature that does not hold")
    return identifier


def _key(secret: bytes) -> bytes:
    if secret.startswith(b"whsec_"):
        try:
            return base64.b64decode(secret.removeprefix(b"whsec_"), validate=True)
        except ValueError:
            return secret
    return secret
