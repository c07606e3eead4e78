from __future__ import annotations

from keyferry.cli.dryrun import decoded, summary
from keyferry.resources import Content, File, ObjectVersion

CANARY = b"canary-5f2a"


def test_a_content_is_counted_and_not_shown() -> None:
    """Files, sizes, modes and versions; nothing of what is in them."""
    content = Content(
        provider="vault",
        content_key="k",
        digest=b"d",
        fetched_at_ms=1,
        versions=(ObjectVersion("password", "7"),),
        files=(File("password", CANARY), File("key", CANARY * 2000, 0o400)),
        left_out=("extra",),
    )
    told = summary(content)

    assert told == "vault gave 2 files (11 B, 21 KiB; modes 0400, 0644); versions password@7; left out: extra"
    assert CANARY.decode() not in told + repr(content)


def test_a_secret_reaches_the_fetchers_as_from_kubelet() -> None:
    """Its values are decoded; what is no text is not in the way."""
    assert decoded({"clientsecret": "aHVudGVyMg==", "raw": "/w=="}) == {"clientsecret": "hunter2", "raw": "\ufffd"}
