"""Which versions of Redis and Valkey have holes that we know of; whoever may run scripts there can use some of them."""

from __future__ import annotations

import re
from typing import Any

from keyferry.settings import SettingsError

# The rounds of fixes of July 2026 (CVE-2026-56684 and CVE-2026-63639 in Valkey, Redis' own of the 24th), which include
# those of before, such as CVE-2025-49844: a script that runs code in the server.
SAFE_PATCHES = {
    "redis": {(6, 2): 23, (7, 2): 15, (7, 4): 10, (8, 2): 8, (8, 4): 5, (8, 6): 5, (8, 8): 1},
    "valkey": {(7, 2): 14, (8, 0): 10, (8, 1): 9, (9, 0): 5, (9, 1): 1},
}
"""Of each line of releases, the first patch without them. Releases before and between these lines are refused, later
ones are taken."""

ANY_VERSION = "KEYFERRY_REDIS_ANY_VERSION"
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


def check_store_server(hello: Any) -> None:
    """Return if a server has no hole that we know of.

    Args:
        hello: Its answer to HELLO, as RESP 2 has it: names and values by turns; anything else is no answer.

    Raises:
        SettingsError: it has, or does not say what it is.
    """
    told = dict(zip(hello[::2], hello[1::2], strict=False)) if isinstance(hello, list) else {}
    server, version = _text(told.get(b"server")), _text(told.get(b"version"))
    lines, match = SAFE_PATCHES.get(server), _VERSION.match(version)
    if lines is None or match is None:
        raise SettingsError(
            "the server of KEYFERRY_REDIS_URL does not say which version of Redis or Valkey it is: let our user run "
            f"HELLO, which Redis has since 6.0, or set {ANY_VERSION}=true"
        )
    line, patch = (int(match[1]), int(match[2])), int(match[3])
    if line > max(lines) or patch >= lines.get(line, patch + 1):
        return
    safe = " or ".join(f"{major}.{minor}.{first}" for (major, minor), first in sorted(lines.items()))
    raise SettingsError(
        f"the server of KEYFERRY_REDIS_URL is {server} {version}, which has known holes: run {safe}, or later; or set "
        f"{ANY_VERSION}=true where whoever runs it mends them without a new version"
    )


def _text(told: Any) -> str:
    return told.decode(errors="replace")[:32] if isinstance(told, bytes) else ""
