"""What our dashboards and alerts ask of Prometheus and of Loki, for the tests that hold it to what services export."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[4] / "deploy"
DASHBOARDS = DEPLOY / "dashboards"
ALERTS = DEPLOY / "alerts"

_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)?\{([^}]*)\}")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_NAME = re.compile(r"[a-zA-Z_:][\w:]*")
_CALL = re.compile(r"[a-zA-Z_]\w*\s*\(")
_WORDS = {"or", "and", "unless", "offset", "bool", "sum", "max", "min", "count", "topk", "avg", "inf", "nan"}


@dataclass(frozen=True)
class Query:
    """A query and where it stands."""

    where: str
    text: str


def panels() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every panel of every dashboard, with its dashboard's file name."""
    for path in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            yield path.stem, panel


def asked_of(kind: str) -> list[Query]:
    """What panels ask of a kind of data source: ``prometheus`` or ``loki``."""
    return [
        Query(f"{dashboard}: {panel['title']}", target["expr"])
        for dashboard, panel in panels()
        for target in panel.get("targets", ())
        if target["datasource"]["type"] == kind
    ]


def variables() -> list[Query]:
    """What the variables of dashboards take their values from: ``label_values(metric, label)``, as a query."""
    found = []
    for path in sorted(DASHBOARDS.glob("*.json")):
        for variable in json.loads(path.read_text())["templating"]["list"]:
            if variable["type"] == "query":
                metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()  # type: ignore[union-attr] # else the test fails, as it should
                found.append(Query(f"{path.stem}: ${variable['name']}", f"count by ({label}) ({metric})"))
    return found


def rules() -> list[Mapping[str, Any]]:
    """Every rule, recorded or alerting."""
    files = (yaml.safe_load(path.read_text()) for path in sorted(ALERTS.glob("*.rules.yaml")))
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def alerts() -> list[Mapping[str, Any]]:
    """Every alerting rule."""
    return [rule for rule in rules() if "alert" in rule]


def asked_by_rules() -> list[Query]:
    """What rules ask."""
    return [Query(str(rule.get("alert") or rule["record"]), rule["expr"]) for rule in rules()]


def filled(text: str, window: str) -> str:
    """A panel's query as Grafana sends it, with every variable at All."""
    return re.sub(r"\$\w+", ".*", text.replace("$__rate_interval", window))


def metrics_in(text: str) -> dict[str, set[str]]:
    """The metrics that a query names, each with the labels it is selected by."""
    plain = _TEXT.sub('""', text)
    found: dict[str, set[str]] = {}
    for name, matchers in _SELECTOR.findall(plain):
        found.setdefault(name, set()).update(re.findall(r"(\w+)\s*(?:=|!)", matchers))
    rest = re.sub(r"\[[^\]]*\]", " ", _CALL.sub("(", _GROUPING.sub(" ", _SELECTOR.sub(" ", plain))))
    rest = re.sub(r"\boffset\s+\w+|\b[0-9][\w.]*", " ", rest)
    for name in _NAME.findall(rest):
        if name not in _WORDS:
            found.setdefault(name, set())
    return found


def grouped_by(text: str) -> set[str]:
    """The labels that a query groups or matches by."""
    return {label for labels in _GROUPING.findall(_TEXT.sub('""', text)) for label in _NAME.findall(labels)}


def unknown(query: Query, exported: Mapping[str, Iterable[str]], anywhere: Iterable[str]) -> list[str]:
    """What a query asks for that there is not, in words.

    Args:
        query: The query.
        exported: Metric to its labels; a histogram under each of its three names.
        anywhere: Labels that any series may have.
    """
    problems, known = [], set(anywhere)
    for name, labels in metrics_in(query.text).items():
        if name not in exported:
            problems.append(f"{query.where}: nobody exports {name}")
            continue
        known |= set(exported[name])
        wrong = labels - set(exported[name]) - set(anywhere)
        problems += [f"{query.where}: {name} has no label {label}" for label in sorted(wrong)]
    return problems + [f"{query.where}: nothing in it has {label}" for label in sorted(grouped_by(query.text) - known)]
