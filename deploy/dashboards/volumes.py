"""Dashboards about volumes: how they are mounted, how they are kept current, and the story of one."""
# ruff: noqa: INP001 - a script beside what it writes, no package

from __future__ import annotations

from parts import RATE, Json, Panel, Row, choice, dashboard, per_second, quantile

NODES = choice("instance", "Node-driver", "label_values(keyferry_volumes, instance)")
PHASES = "mount|seal|queue|verify|fetch|open|write"


def mounts() -> Json:
    """How mounts go, and where their time goes."""
    calls = 'method="NodePublishVolume",instance=~"$instance"'
    outcome = [
        Panel(
            "Mounts",
            {"mounts": per_second("keyferry_phase_seconds_count", where='phase="mount",instance=~"$instance"')},
            "ops",
            "First publishes that got a content.",
        ),
        Panel(
            "Failures, by reason",
            {"{{error_type}}": per_second("node_publish_error_total", "error_type", 'instance=~"$instance"')},
            "ops",
            "kubelet tries again, so that one pod counts many times.",
        ),
        Panel(
            "Volumes",
            {"{{instance}}": 'keyferry_volumes{instance=~"$instance"}'},
            about="Published now.",
        ),
        Panel(
            "Calls of kubelet",
            {"{{method}} {{code}}": per_second("keyferry_rpc_total", "method, code", 'instance=~"$instance"')},
            "ops",
            "With those for volumes that are published already: kubelet repeats them about once a minute.",
        ),
        Panel(
            "Publish and unpublish, as upstream counts them",
            {
                "publish {{provider}}": per_second("node_publish_total", "provider", 'instance=~"$instance"'),
                "unpublish": per_second("node_unpublish_total", where='instance=~"$instance"'),
            },
            "ops",
        ),
        Panel(
            "Unpublishes that fail",
            {"{{instance}}": per_second("node_unpublish_error_total", "instance", 'instance=~"$instance"')},
            "ops",
        ),
    ]
    time = [
        Panel(
            "Time of NodePublishVolume",
            {f"p{q}": quantile(q / 100, "keyferry_rpc_seconds", where=calls) for q in (50, 90, 99)},
            "s",
            "Points are traces of single mounts. Repeated calls are in it, and fast.",
            width=12,
            exemplars=True,
        ),
        Panel(
            "Time of each phase, p99",
            {"{{phase}}": quantile(0.99, "keyferry_phase_seconds", "phase", where=f'phase=~"{PHASES}"')},
            "s",
            "queue, verify, fetch at the fetchers; seal at both; open, mount, write at the node.",
            width=12,
            exemplars=True,
        ),
        Panel(
            "CPU for each mount",
            {
                "node-driver": per_second("process_cpu_seconds_total", where='job="keyferry-node-driver"')
                + " / "
                + per_second("keyferry_phase_seconds_count", where='phase="mount"')
            },
            "s",
            "The budget is 2.2 ms when there is nothing else to do.",
        ),
        Panel(
            "Slowest nodes, p99",
            {"{{instance}}": f"topk(10, {quantile(0.99, 'keyferry_rpc_seconds', 'instance', calls)})"},
            "s",
        ),
        Panel(
            "Most failing nodes",
            {"{{instance}}": f"topk(10, sum by (instance) (rate(node_publish_error_total[{RATE}])))"},
            "ops",
        ),
    ]
    rows = [Row("Outcomes", outcome), Row("Time", time)]
    return dashboard("keyferry-mounts", "Keyferry / Mounts", "How mounts go, and where their time goes.", rows, [NODES])


def rotation() -> Json:
    """Whether pods have what their backends have."""
    schedule = [
        Panel(
            "In the schedule",
            {"contents": "max(keyferry_rotation_contents)", "volumes": "max(keyferry_rotation_volumes)"},
            about="Volumes on nodes and in the schedule should be the same number.",
        ),
        Panel(
            "Lag, p99",
            {"{{why}}": quantile(0.99, "keyferry_rotation_due_lag_seconds", "why")},
            "s",
            "From when a content was due to the hint, by why it was due.",
        ),
        Panel(
            "Hints",
            {
                "hints": per_second("keyferry_rotation_hints_total"),
                "repeated": per_second("keyferry_rotation_repeats_total"),
            },
            "ops",
            "Volumes told to ask again. Repeated ones had not answered.",
        ),
        Panel(
            "What nodes tell",
            {"{{outcome}}": per_second("keyferry_rotation_volume_events_total", "outcome")},
            "ops",
        ),
        Panel(
            "Schedule made anew, claims lost, volumes dropped",
            {
                "made anew: {{outcome}}": f"sum by (outcome) (increase(keyferry_rotation_rebuilds_total[{RATE}]))",
                "claims lost": f"sum(increase(keyferry_rotation_claims_lost_total[{RATE}]))",
                "volumes dropped": f"sum(increase(keyferry_rotation_volumes_dropped_total[{RATE}]))",
            },
        ),
        Panel("Contents ended", {"ended": per_second("keyferry_rotation_contents_ended_total")}, "ops"),
    ]
    refreshes = [
        Panel(
            "Refreshes",
            {"{{provider}}, rotated: {{rotated}}": per_second("rotation_reconcile_total", "provider, rotated")},
            "ops",
        ),
        Panel(
            "Refreshes that fail",
            {"{{provider}} {{error_type}}": per_second("rotation_reconcile_error_total", "provider, error_type")},
            "ops",
            "Those volumes keep what they have.",
        ),
        Panel(
            "Time of a refresh",
            {f"p{q}": quantile(q / 100, "rotation_reconcile_duration_sec") for q in (50, 99)},
            "s",
            exemplars=True,
        ),
        Panel("Answers that came too late", {"outdated": per_second("keyferry_refresh_outdated_total")}, "ops"),
    ]
    changes = [
        Panel("Sources", {"{{source}}": "max by (source) (keyferry_change_source_connected)"}, about="1 while heard."),
        Panel(
            "Events",
            {"{{source}} {{outcome}}": per_second("keyferry_change_events_total", "source, outcome")},
            "ops",
        ),
        Panel(
            "Changes",
            {"{{provider}} {{outcome}}": per_second("keyferry_rotation_changes_total", "provider, outcome")},
            "ops",
        ),
        Panel(
            "Event to being heard, p99",
            {"{{source}}": quantile(0.99, "keyferry_change_event_lag_seconds", "source")},
            "s",
        ),
    ]
    synced = [
        Panel("Syncers that work", {"leading": "sum(keyferry_syncer_leading)"}, about="One."),
        Panel("Secrets written", {"{{provider}}": per_second("sync_k8s_secret_total", "provider")}, "ops"),
        Panel("Secrets refused", {"refused": per_second("keyferry_sync_refused_total")}, "ops"),
        Panel("Waiting", {"{{kind}}": "sum by (kind) (keyferry_syncer_waiting)"}),
        Panel(
            "Handed to the syncers",
            {"{{outcome}}": per_second("keyferry_handovers_total", "outcome")},
            "ops",
        ),
        Panel(
            "Kubernetes Events",
            {"{{reason}} {{outcome}}": per_second("keyferry_events_total", "reason, outcome")},
            "ops",
        ),
    ]
    rows = [
        Row("Schedule", schedule),
        Row("Refreshes", refreshes),
        Row("Change events", changes),
        Row("Synced Secrets", synced),
    ]
    return dashboard("keyferry-rotation", "Keyferry / Rotation", "Do pods have what their backends have?", rows, [])
