"""Says which backend addresses a class may name: the fetcher sends a pod's token there, so not every URL will do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from keyferry.errors import InvalidSecretProviderClass

# One strict expression instead of a URL parser: what checks the host and what later connects to it can then never
# disagree about which part of the text the host is. No userinfo, no query, no fragment, ASCII only.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>(?:/[A-Za-z0-9._~-]*)*)",
    re.ASCII,
)
_LAST_PORT = 65535


def refusal(url: str, patterns: Sequence[str] = ()) -> str | None:
    """Why a backend must not be asked at this address, in words that continue a field's name; None when it may.

    Args:
        url: What the class or the settings name; its text is never quoted, it may hold a password.
        patterns: Host globs such as ``*.vault.svc`` or ``vault.example.com:8200``, of which one must match; one without
            a port allows every port. Empty allows every host.
    """
    match = _URL.fullmatch(url)
    if match is None or ".." in match["path"] or int(match["port"] or 0) > _LAST_PORT:
        return "is not a usable URL: write http:// or https://, a host, and a port if need be, without user or query"
    host = match["host"].lower()
    port = match["port"] or ("443" if match["scheme"] == "https" else "80")
    if patterns and not any(_matches(host, port, pattern.lower()) for pattern in patterns):
        return (
            f"names host {host} on port {port}, which this cluster does not allow: choose an allowed host, or have the "
            f"operator add this one to KEYFERRY_ALLOWED_BACKENDS"
        )
    return None


def allowed(url: str, patterns: Sequence[str] = ()) -> None:
    """Let an address pass that `refusal` has nothing against.

    Raises:
        InvalidSecretProviderClass: saying what is wrong with it.
    """
    if reason := refusal(url, patterns):
        raise InvalidSecretProviderClass(f"the backend's address {reason}")


def _matches(host: str, port: str, pattern: str) -> bool:
    names = (host, f"{host}:{port}")
    # An IPv6 address in brackets is a character class to fnmatch: it is compared as it stands.
    return pattern in names or any(fnmatchcase(name, pattern) for name in names)
