"""What the rotator counts."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

CONTENTS = Gauge("keyferry_rotation_contents", "Contents in the schedule, which all rotators share.")
VOLUMES = Gauge("keyferry_rotation_volumes", "Volumes in the schedule, which all rotators share.")
LAG = Histogram(
    "keyferry_rotation_due_lag_seconds",
    "From when a content was due to its first hints, by why it was due.",
    ["why"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
HINTS = Counter("keyferry_rotation_hints_total", "Volumes that were told to ask again.")
REPEATS = Counter("keyferry_rotation_repeats_total", "Volumes that were told again, since they had not done it.")
WORDS = Counter(
    "keyferry_rotation_volume_events_total",
    "What nodes told of volumes: answered hints, failed refreshes, joined, left, kept, and what came late.",
    ["outcome"],
)
CHANGES = Counter(
    "keyferry_rotation_changes_total",
    "Changes heard of: acted upon, of unknown secrets, repeated, or malformed.",
    ["provider", "outcome"],
)
LOST = Counter("keyferry_rotation_claims_lost_total", "Due contents that a rotator took and did not finish.")
ENDED = Counter("keyferry_rotation_contents_ended_total", "Contents that no volume holds any more.")
REBUILDS = Counter("keyferry_rotation_rebuilds_total", "Times the schedule was made anew, by outcome.", ["outcome"])
DROPPED = Counter("keyferry_rotation_volumes_dropped_total", "Volumes whose node has been lost.")
