"""The pages of settings and metrics, from what the services declare."""  # noqa: INP001 - beside a script, no package

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from tables import code, table

SERVICES = ("node_driver", "fetcher", "rotator", "syncer")
RUNNING = Path(__file__).parents[1] / "running.md"
_DUMP = """
import importlib, json, pkgutil, sys
service = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(service.__path__, service.__name__ + "."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from prometheus_client import REGISTRY
found = {}
for metric in REGISTRY.collect():
    collectors = [REGISTRY._names_to_collectors.get(metric.name + end) for end in ("", "_total")]
    labels = next(getattr(each, "_labelnames", ()) for each in collectors if each is not None)
    found[metric.name + "_total" * (metric.type == "counter")] = [metric.type, list(labels), metric.documentation]
print(json.dumps(found))
"""
_OTHERS = ("process_", "python_")
_SETTINGS = """# Settings

Every variable, and where [Running Keyferry by hand](../running.md#settings) has its default and meaning. In the chart
they go into `linux.settings`, `fetcher.settings`, `rotator.settings`, `syncer.settings`, `streams.settings` and
`telemetry.settings` ([Install](../install.md#services)).

"""
_METRICS = """# Metrics

What each service exports at `/metrics`. [Observability](../observability.md) says how to scrape them, and what
dashboards and alerts make of them. Besides these there are Python's own (`process_*`, `python_*`). A histogram has
`_bucket`, `_sum` and `_count`. `os_type` is always `linux`.

"""


def settings() -> str:
    """An index by variable; the tables themselves stand in docs/running.md and are tested there."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for heading, variable in _rows(RUNNING.read_text()):
        found[variable].append(f"[{heading}](../running.md#{_anchor(heading)})")
    return _SETTINGS + table(("variable", "read by"), ((code(name), ", ".join(found[name])) for name in sorted(found)))


def _rows(page: str) -> Iterator[tuple[str, str]]:
    heading = ""
    for line in page.partition("\n## Settings\n")[2].splitlines():
        if line.startswith("### "):
            heading = line.removeprefix("### ")
        elif row := re.match(r"\| `([A-Z][A-Z0-9_]+)` \|", line):
            yield heading, row[1]


def _anchor(heading: str) -> str:
    """As python-markdown's toc makes it."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())


def metrics() -> str:
    """Every metric of ours with type, labels and meaning."""
    declared = {service: _declared(service) for service in SERVICES}
    names = sorted({name for each in declared.values() for name in each if not name.startswith(_OTHERS)})
    rows = []
    for name in names:
        of = [service for service in SERVICES if name in declared[service]]
        kind, labels, meaning = declared[of[0]][name]
        who = "all" if len(of) == len(SERVICES) else ", ".join(each.replace("_", "-") for each in of)
        rows.append((code(name), kind, ", ".join(code(label) for label in labels), who, meaning))
    return _METRICS + table(("metric", "type", "labels", "service", "meaning"), rows)


def _declared(service: str) -> Mapping[str, tuple[str, list[str], str]]:
    told = subprocess.run([sys.executable, "-c", _DUMP, service], capture_output=True, check=True)  # noqa: S603 - our own
    found: Mapping[str, tuple[str, list[str], str]] = json.loads(told.stdout)
    return found
