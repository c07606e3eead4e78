"""Remembers which tokens' signatures hold: a pod shows the same one at each of its refreshes, for most of an hour."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256

from fetcher.issuer import IssuerKey

_MOST = 4096
"""Tokens, of about 1 KiB each. Where more take turns than fit, each is verified anew, as if nothing were remembered."""


class Proven:
    """The payloads of tokens by what they are hashed to, each with the key that its signature was verified with.

    Nothing else is remembered: times, pod and node are looked at each time, and a key that the issuer no longer lists
    proves nothing.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._payloads: OrderedDict[bytes, tuple[IssuerKey, bytes]] = OrderedDict()

    def payload(self, token: str, key: IssuerKey) -> bytes | None:
        """The payload, if the token's signature was verified with this key."""
        digest = _digest(token)
        found = self._payloads.get(digest)
        if found is None or found[0] != key:
            return None
        self._payloads.move_to_end(digest)
        return found[1]

    def add(self, token: str, key: IssuerKey, payload: bytes) -> None:
        """The token's signature holds with this key."""
        self._payloads[_digest(token)] = key, payload
        while len(self._payloads) > self._most:
            self._payloads.popitem(last=False)


def _digest(token: str) -> bytes:
    return sha256(token.encode(errors="surrogatepass")).digest()
