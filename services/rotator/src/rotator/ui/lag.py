"""How far volumes are behind: a volume is behind from when its content was asked for anew until it has it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any

from rotator.ui.scheduled import Scheduled
from rotator.ui.volumes import Volume

BOUNDS_MS = (0, 1_000, 5_000, 15_000, 60_000, 300_000, 1_800_000)
LABELS = ("in step", "1 s", "5 s", "15 s", "1 min", "5 min", "30 min", "more")

LATE_MS = 10_000
"""A content that is due for less is being worked on."""


def behind_since(volume: Volume, contents: Mapping[str, Scheduled]) -> int:
    """Since when a volume is behind, Unix milliseconds; 0 if it is not, or nobody knows."""
    content = contents.get(volume.content_key)
    return content.asked_ms if content and volume.fetched_ms < content.asked_ms else 0


def histogram(since: Iterable[int], now_ms: int) -> dict[str, Any]:
    """How many volumes are how far behind.

    Args:
        since: Of each volume, as `behind_since` tells it.
        now_ms: The time.
    """
    counts, worst = [0] * len(LABELS), 0
    for each in since:
        behind = max(1, now_ms - each) if each else 0
        counts[bisect_left(BOUNDS_MS, behind)] += 1
        worst = max(worst, each and behind)
    # In whole seconds: what has no news for a person is no news.
    return {"labels": LABELS, "counts": counts, "worst_s": worst // 1000}
