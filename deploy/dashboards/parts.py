"""What Grafana dashboards are made of: rows of panels, each with its queries, laid out by themselves."""
# ruff: noqa: INP001 - a script beside what it writes, no package

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

SCHEMA = 41  # Grafana 11.6 and 12; newer ones migrate it by themselves
WIDTH, HEIGHT = 24, 7
PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}
LOKI = {"type": "loki", "uid": "${loki}"}

RATE = "$__rate_interval"

Json = dict[str, Any]


def per_second(metric: str, by: str = "", where: str = "") -> str:
    """A counter's rate, summed up: by labels, of the series where label matchers hold."""
    selected = f"{metric}{{{where}}}" if where else metric
    return f"sum by ({by}) (rate({selected}[{RATE}]))" if by else f"sum(rate({selected}[{RATE}]))"


def quantile(q: float, histogram: str, by: str = "", where: str = "") -> str:
    """A quantile of a histogram, named without ``_bucket``; as `per_second` otherwise."""
    return f"histogram_quantile({q}, {per_second(f'{histogram}_bucket', f'le, {by}' if by else 'le', where)})"


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        title: What it shows.
        queries: Legend to PromQL or LogQL.
        unit: Grafana's name of it.
        about: Shown on hover: what to make of it.
        kind: ``timeseries``, ``stat``, ``table``, ``logs`` or ``text`` (whose text is ``about``).
        width: Of 24.
        exemplars: Whether points lead to traces.
    """

    title: str
    queries: dict[str, str] = field(default_factory=dict)
    unit: str = "short"
    about: str = ""
    kind: str = "timeseries"
    width: int = 8
    exemplars: bool = False

    @property
    def source(self) -> Json:
        """Where its data is."""
        return LOKI if self.kind == "logs" else PROMETHEUS


@dataclass(frozen=True)
class Row:
    """A heading with panels under it."""

    title: str
    panels: Sequence[Panel]


def datasource(name: str, kind: str, label: str) -> Json:
    """A variable with which the reader chooses among the data sources of a kind: no dashboard names one itself."""
    return {"name": name, "type": "datasource", "query": kind, "label": label, "hide": 0, "refresh": 1}


def textbox(name: str, label: str) -> Json:
    """A variable that the reader types."""
    empty = {"text": "", "value": ""}
    return {"name": name, "type": "textbox", "label": label, "query": "", "current": empty, "options": [empty]}


def choice(name: str, label: str, query: str) -> Json:
    """A variable with values from Prometheus, all of them at first."""
    every = {"text": "All", "value": "$__all"}
    return {
        "name": name,
        "type": "query",
        "label": label,
        "datasource": PROMETHEUS,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": every,
        "sort": 1,
    }


def dashboard(uid: str, title: str, about: str, rows: Sequence[Row], variables: Sequence[Json]) -> Json:
    """A whole dashboard; ``uid`` is its own address, so that others can link to it."""
    panels: list[Json] = []
    top = 0
    for row in rows:
        panels.append(_row(len(panels) + 1, row.title, top))
        top, left = top + 1, 0
        for panel in row.panels:
            if left + panel.width > WIDTH:
                top, left = top + HEIGHT, 0
            panels.append(_panel(len(panels) + 1, panel, left, top))
            left += panel.width
        top += HEIGHT
    return {
        "uid": uid,
        "title": title,
        "description": about,
        "tags": ["keyferry"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "links": [
            {
                "type": "dashboards",
                "title": "Keyferry",
                "tags": ["keyferry"],
                "icon": "external link",
                "tooltip": "",
                "targetBlank": False,
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "templating": {"list": [datasource("datasource", "prometheus", "Metrics"), *variables]},
        "panels": panels,
    }


def _row(number: int, title: str, top: int) -> Json:
    place = {"h": 1, "w": WIDTH, "x": 0, "y": top}
    return {"id": number, "type": "row", "title": title, "gridPos": place, "collapsed": False, "panels": []}


def _panel(number: int, panel: Panel, left: int, top: int) -> Json:
    place = {"h": HEIGHT, "w": panel.width, "x": left, "y": top}
    made: Json = {"id": number, "type": panel.kind, "title": panel.title, "gridPos": place}
    if panel.kind == "text":
        return {**made, "options": {"mode": "markdown", "content": panel.about}}
    targets = [_target(panel, legend, query, index) for index, (legend, query) in enumerate(panel.queries.items())]
    return {
        **made,
        "description": panel.about,
        "datasource": panel.source,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": panel.unit, "links": []}, "overrides": []},
        "options": _options(panel),
    }


def _target(panel: Panel, legend: str, query: str, index: int) -> Json:
    target: Json = {"refId": chr(ord("A") + index), "expr": query, "datasource": panel.source}
    if panel.kind == "logs":
        return target
    instant = panel.kind in ("stat", "table")
    target |= {"legendFormat": legend, "range": not instant, "instant": instant, "exemplar": panel.exemplars}
    return target | ({"format": "table"} if panel.kind == "table" else {})


def _options(panel: Panel) -> Json:
    if panel.kind == "logs":
        return {"showTime": True, "wrapLogMessage": True, "enableLogDetails": True, "sortOrder": "Ascending"}
    if panel.kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "value"}
    if panel.kind == "table":
        return {"showHeader": True}
    return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
