"""Dashboards for whoever runs Keyferry: is it well, what do backends do, what does the bus do."""
# ruff: noqa: INP001 - a script beside what it writes, no package

from __future__ import annotations

from parts import RATE, Json, Panel, Row, choice, dashboard, per_second, quantile

INSTANCES = choice("instance", "Instance", "label_values(keyferry_ready, instance)")
PROVIDERS = choice("provider", "Backend", "label_values(node_publish_total, provider)")


def overview() -> Json:
    """Everything on one screen."""
    promised = [
        Panel(
            "Mounts that fail, 1 h",
            {"": "keyferry:mount_failures:ratio1h"},
            "percentunit",
            "For reasons that are not the class's or the backend administrator's. Promised: 0.1 %.",
            "stat",
        ),
        Panel(
            "Mounts above 2 s, 1 h",
            {"": "keyferry:mounts_slow:ratio1h"},
            "percentunit",
            "Promised: 1 %.",
            "stat",
        ),
        Panel(
            "Rotations more than 10 s late, 1 h",
            {"": "keyferry:rotations_late:ratio1h"},
            "percentunit",
            "From when a content was due to the hint to its nodes. Promised: 1 %.",
            "stat",
        ),
    ]
    services = [
        Panel("Ready", {"{{job}}": "sum by (job) (keyferry_ready)"}, about="Replicas of which /readyz says ok."),
        Panel("Down", {"{{job}}": 'sum by (job) (up{job=~"keyferry-.*"} == bool 0)'}, about="Targets not scraped."),
        Panel("Alerts", {"": 'ALERTS{alertname=~"Keyferry.*"}'}, about="Pending and firing.", kind="table"),
        Panel(
            "Memory",
            {"{{job}} {{instance}}": 'process_resident_memory_bytes{job=~"keyferry-.*"}'},
            "bytes",
            "The node-driver's budget is 70 MiB.",
        ),
        Panel(
            "CPU",
            {"{{job}} {{instance}}": f'rate(process_cpu_seconds_total{{job=~"keyferry-.*"}}[{RATE}])'},
            about="Cores.",
        ),
        Panel(
            "NATS and Redis",
            {
                "NATS {{job}} {{instance}}": "keyferry_bus_connected",
                "Redis {{job}} {{instance}}": "keyferry_store_connected",
            },
            about="1 while connected. A fetcher that was given no Redis shows 0.",
        ),
    ]
    work = [
        Panel("Volumes", {"volumes": "sum(keyferry_volumes)"}, about="Published now, on all nodes."),
        Panel("Mounts", {"mounts": per_second("keyferry_phase_seconds_count", where='phase="mount"')}, "ops"),
        Panel("Refreshes", {"rotated: {{rotated}}": per_second("rotation_reconcile_total", "rotated")}, "ops"),
    ]
    rows = [Row("What is promised", promised), Row("Services", services), Row("Work", work)]
    return dashboard("keyferry-overview", "Keyferry / Overview", "Is Keyferry well?", rows, [])


def backends() -> Json:
    """What backends are asked, and how they answer."""
    asked = [
        Panel(
            "Where contents come from",
            {"{{outcome}}": per_second("keyferry_contents_total", "outcome")},
            "ops",
            "Only `fetched` is a call of a backend; `renewed` is one for a lease. The rest was shared.",
            width=12,
        ),
        Panel(
            "Share of requests without a call",
            {
                "shared": f'1 - sum(rate(keyferry_contents_total{{outcome="fetched"}}[{RATE}]))'
                f" / sum(rate(keyferry_contents_total[{RATE}]))"
            },
            "percentunit",
            width=12,
        ),
        Panel(
            "Time of a fetch",
            {f"p{q}": quantile(q / 100, "keyferry_phase_seconds", where='phase="fetch"') for q in (50, 99)},
            "s",
            "Points are traces of single fetches.",
            exemplars=True,
        ),
        Panel(
            "Failed mounts, by backend and reason",
            {
                "{{provider}} {{error_type}}": per_second(
                    "node_publish_error_total", "provider, error_type", 'provider=~"$provider"'
                )
            },
            "ops",
        ),
        Panel(
            "Failed refreshes, by backend and reason",
            {
                "{{provider}} {{error_type}}": per_second(
                    "rotation_reconcile_error_total", "provider, error_type", 'provider=~"$provider"'
                )
            },
            "ops",
        ),
    ]
    kept = [
        Panel(
            "Stale contents",
            {"{{provider}}": per_second("keyferry_stale_contents_total", "provider")},
            "ops",
        ),
        Panel(
            "Renewals of leases that failed",
            {"{{provider}} {{outcome}}": per_second("keyferry_lease_renewals_failed_total", "provider, outcome")},
            "ops",
        ),
        Panel("Contents ended", {"{{outcome}}": per_second("keyferry_contents_ended_total", "outcome")}, "ops"),
        Panel("Kept for sharing", {"{{instance}}": "keyferry_contents_held_bytes"}, "bytes", width=12),
        Panel(
            "Not believed from Redis",
            {"{{instance}}": f"rate(keyferry_kept_refused_total[{RATE}])"},
            "ops",
            "Anything but zero: somebody else writes there, or keys are out of step.",
            width=12,
        ),
    ]
    rows = [Row("Calls", asked), Row("What is kept", kept)]
    about = "What backends are asked, how they answer, and what is done without them."
    return dashboard("keyferry-backends", "Keyferry / Backends", about, rows, [PROVIDERS])


def bus() -> Json:
    """What goes over NATS, and what is kept in Redis and from it."""
    messages = [
        Panel(
            "Published",
            {"{{destination}}": per_second("keyferry_bus_published_total", "destination")},
            "ops",
            width=12,
        ),
        Panel(
            "Taken, by what became of them",
            {"{{consumer}} {{outcome}}": per_second("keyferry_bus_consumed_total", "consumer, outcome")},
            "ops",
            width=12,
        ),
        Panel(
            "Time in the stream",
            {
                f"{{{{job}}}} p{q}": quantile(q / 100, "keyferry_phase_seconds", "job", where='phase="queue"')
                for q in (50, 99)
            },
            "s",
            "How long messages waited until a service took them.",
            exemplars=True,
        ),
        Panel(
            "Not done",
            {
                "{{consumer}} {{outcome}}": per_second(
                    "keyferry_bus_consumed_total", "consumer, outcome", 'outcome=~"again|defect|dead|expired"'
                )
            },
            "ops",
            "`again` comes again; `expired` was waited for by nobody any more; `dead` lies in the DEAD stream.",
        ),
        Panel("Connected", {"{{job}} {{instance}}": 'keyferry_bus_connected{instance=~"$instance"}'}),
    ]
    store = [
        Panel("Redis answers", {"{{job}} {{instance}}": 'keyferry_store_connected{instance=~"$instance"}'}),
        Panel(
            "Calls of Redis that failed",
            {"{{error}}": per_second("keyferry_store_failures_total", "error")},
            "ops",
        ),
        Panel(
            "Keys, by when the newest are from",
            {"{{file}} {{job}}": "max by (file, job) (keyferry_keys_newest_timestamp_seconds) * 1000"},
            "dateTimeFromNow",
            "All the same but for minutes around a rotation.",
        ),
    ]
    rows = [Row("Messages", messages), Row("Redis and keys", store)]
    return dashboard("keyferry-bus", "Keyferry / Bus", "What goes over NATS, and how long it waits.", rows, [INSTANCES])
