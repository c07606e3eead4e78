"""Dashboards and alerts ask only for what services export; alerts fire when they should, and lead to a page."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from keyferry import audit
from keyferry.errors import AccessDenied
from keyferry.resources import Content
from keyferry.telemetry.logs import JsonFormatter
from keyferry.testing import queries
from keyferry.testing.prometheus import binaries

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "observability.md").read_text()
SERVICES = ("node_driver", "fetcher", "rotator", "syncer")
TARGET = {"job", "instance", "le"}
OF_PROMETHEUS = {"up": (), "ALERTS": ("alertname", "alertstate", "severity")}
DUMP = """
import importlib, json, pkgutil, sys
service = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(service.__path__, service.__name__ + "."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from prometheus_client import REGISTRY
names = {}
for name, collector in REGISTRY._names_to_collectors.items():
    names[name] = list(getattr(collector, "_labelnames", ()))
print(json.dumps(names))
"""


@cache
def declared(service: str) -> Mapping[str, list[str]]:
    """Metric to label names, of a service as it is when it has been imported and has done nothing yet."""
    argv = [sys.executable, "-c", DUMP, service]
    told: Mapping[str, list[str]] = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
    return told


def exported() -> dict[str, Any]:
    recorded = {rule["record"]: () for rule in queries.rules() if "record" in rule}
    ours = {name: labels for service in SERVICES for name, labels in declared(service).items()}
    return {**OF_PROMETHEUS, **recorded, **ours}


QUERIES = [*queries.asked_of("prometheus"), *queries.variables(), *queries.asked_by_rules()]


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.where)
def test_only_what_is_exported_is_asked_for(query: queries.Query) -> None:
    """Each metric is one that a service exports, and each label is one that it has."""
    assert queries.unknown(query, exported(), TARGET) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rate(keyferry_volume[5m])", "nobody exports keyferry_volume"),
        ('keyferry_volumes{pod="x"}', "keyferry_volumes has no label pod"),
        ("sum by (node) (rate(node_publish_total[5m]))", "nothing in it has node"),
        ("keyferry_volumes > absent_metric offset 5m", "nobody exports absent_metric"),
    ],
)
def test_what_is_not_exported_is_noticed(text: str, problem: str) -> None:
    """The test before this one would notice a wrong name."""
    assert queries.unknown(queries.Query("here", text), exported(), TARGET) == [f"here: {problem}"]


def test_every_metric_of_ours_is_described() -> None:
    """docs/observability.md has a row for each metric and its labels, and for no other."""
    section = PAGE.partition("\n## Every metric\n")[2]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", section, re.MULTILINE)
    told = {name: sorted(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    # Of what is named in several ways, the registry's own base name has no samples; those with _bucket and so on do.
    ours = {
        name: sorted(labels)
        for service in SERVICES
        for name, labels in declared(service).items()
        if not name.startswith(("python_", "process_")) and not name.endswith(("_created", "_bucket", "_sum", "_count"))
    }
    bases = {name for name in ours if f"{name}_total" in ours}
    assert told == {name: labels for name, labels in ours.items() if name not in bases}


def test_dashboards_are_as_built(tmp_path: Path) -> None:
    """The JSON that Grafana imports is what the generator writes: run ``python deploy/dashboards/build.py``."""
    subprocess.run([sys.executable, "-B", queries.DASHBOARDS / "build.py", tmp_path], check=True)

    built = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert {path.name: path.read_text() for path in queries.DASHBOARDS.glob("*.json")} == built
    assert len(built) == 6


def test_no_data_source_is_named() -> None:
    """Every panel asks a data source that the reader chooses; a uid of somebody's Grafana is nowhere."""
    sources = [
        part["datasource"]["uid"]
        for _, panel in queries.panels()
        for part in (panel, *panel.get("targets", ()))
        if "datasource" in part
    ]
    assert set(sources) == {"${datasource}", "${loki}"}


def test_panels_do_not_overlap() -> None:
    """Each panel has its place on the grid of 24 columns, and an id of its own."""
    for dashboard in {name for name, _ in queries.panels()}:
        places = [(panel["id"], panel["gridPos"]) for name, panel in queries.panels() if name == dashboard]
        cells = [
            (column, line)
            for _, at in places
            for column in range(at["x"], at["x"] + at["w"])
            for line in range(at["y"], at["y"] + at["h"])
        ]
        assert len(cells) == len(set(cells))
        assert len({number for number, _ in places}) == len(places)
        assert max(column for column, _ in cells) < 24


def promtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([binaries().promtool, *words], capture_output=True, text=True, check=False)


def test_rules_are_rules() -> None:
    """Prometheus would load the files, templates of annotations included."""
    done = promtool("check", "rules", *sorted(queries.ALERTS.glob("*.rules.yaml")))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted((queries.ALERTS / "tests").glob("*.yaml")), ids=lambda path: path.name)
def test_alerts_fire_when_they_should(path: Path) -> None:
    """As their own tests say (`promtool test rules`)."""
    done = promtool("test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_both_ways() -> None:
    """For each severity of an alert there is a moment when it fires, and for each alert one when it does not."""
    fires, silent = set(), set()
    for path in (queries.ALERTS / "tests").glob("*.yaml"):
        for case in yaml.safe_load(path.read_text())["tests"]:
            for expected in case["promql_expr_test"]:
                (alert,) = re.findall(r'alertname="(\w+)"', expected["expr"])
                severities = re.findall(r'severity="(\w+)"', str(expected["exp_samples"]))
                fires |= {(alert, severity) for severity in severities}
                silent |= set() if severities else {alert}
    rules = {(rule["alert"], rule["labels"]["severity"]) for rule in queries.alerts()}
    assert fires == rules
    assert silent == {alert for alert, _ in rules}


ALERTS = sorted({rule["alert"] for rule in queries.alerts()})
HEADINGS = ["What it means", "What users feel", "How to look", "How to mend it"]


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_a_page(alert: str) -> None:
    """Whoever is paged finds what it means, what users feel, how to look and how to mend it."""
    page = (DOCS / "runbooks" / f"{alert}.md").read_text()
    assert page.startswith(f"# {alert}\n")
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == HEADINGS


def test_every_page_has_an_alert_that_leads_to_it() -> None:
    """The annotation of each alert names its page's file in the repository; no page is left of an alert that went."""
    told = {rule["alert"]: rule["annotations"]["runbook_url"] for rule in queries.alerts()}
    assert told == {alert: f"docs/runbooks/{alert}.md" for alert in ALERTS}
    assert sorted(path.stem for path in (DOCS / "runbooks").glob("*.md")) == ALERTS


def test_every_alert_is_listed() -> None:
    """The table of docs/observability.md has each alert with its severities, and no other."""
    rows = re.findall(r"^\| \[(\w+)\]\(runbooks/(\w+)\.md\) \| ([\w, ]+) \|", PAGE, re.MULTILINE)
    told = {(alert, severity) for alert, _, severities in rows for severity in severities.split(", ")}
    assert told == {(rule["alert"], rule["labels"]["severity"]) for rule in queries.alerts()}
    assert all(alert == page for alert, page, _ in rows)


def test_the_scrape_job_is_one(tmp_path: Path) -> None:
    """Prometheus takes the page's configuration, and it makes the job names that dashboards and alerts know."""
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    # Debian's Prometheus is built without Kubernetes' service discovery; all else it knows.
    (tmp_path / "prometheus.yml").write_text(text.replace("kubernetes_sd_configs: [{role: pod}]", "static_configs: []"))
    done = promtool("check", "config", "--syntax-only", tmp_path / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    asked = {job for query in QUERIES for job in re.findall(r'job="keyferry-([\w-]+)"', query.text)}
    assert asked <= set(re.findall(r"regex: \(([\w|-]+)\)", text)[0].split("|"))


def test_every_field_of_the_audit_is_described(caplog: pytest.LogCaptureFixture) -> None:
    """The table of docs/observability.md has each field that a record may have."""
    section = PAGE.partition("\n## Who got what\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    with audit.written_to(audit.LOGS, "fetcher"):
        record = audit.Record("node-a", "csi-1", "r-1")
        record.deliver(Content("vault", "k", b"d", 1, (), ()), "backend", unchanged=False)
        record.refuse(AccessDenied("no"))
    lines = [json.loads(JsonFormatter("fetcher").format(each)) for each in caplog.records]
    fields = {name for line in lines for name in line}
    assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} == fields | {"trace_id", "span_id"}


@pytest.mark.parametrize("alert", ALERTS)
def test_what_pages_ask_is_exported(alert: str) -> None:
    """Queries in runbooks are held to the same as those on dashboards."""
    page = (DOCS / "runbooks" / f"{alert}.md").read_text()
    asked = [queries.Query(alert, text) for text in re.findall(r"```promql\n(.*?)```", page, re.DOTALL)]
    assert [problem for query in asked for problem in queries.unknown(query, exported(), TARGET)] == []
