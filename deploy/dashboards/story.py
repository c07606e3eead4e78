"""The dashboard that tells the story of one volume: logs and traces, since no metric names a pod."""
# ruff: noqa: INP001 - a script beside what it writes, no package

from __future__ import annotations

from parts import Json, Panel, Row, dashboard, datasource, textbox

STORY = """\
Type a **pod** as `namespace/name`, or a **volume id** (`csi-…`), above.

| what | where |
|---|---|
| who got what, which version, from where | first panel: the audit records of the fetchers |
| what the services said of it | second panel |
| the trace of one mount or refresh | open a line, follow `trace_id` |
| numbers | metrics have no pod labels: see Mounts and Rotation for its node and backend |
"""


def story() -> Json:
    """The story of one volume."""
    one = '(volume_id="$volume_id" and volume_id!="" or pod="$pod" and pod!="")'
    streams = '{namespace=~"$namespace"} | json'
    panels = [
        Panel("Where what is", about=STORY, kind="text", width=24),
        Panel("Who got what", {"": f'{streams} | logger="keyferry.audit" | {one}'}, kind="logs", width=24),
        Panel(
            "What was said of it",
            {"": f'{streams} | logger!="keyferry.audit" | service=~"node-driver|fetcher|rotator|syncer" | {one}'},
            kind="logs",
            width=24,
        ),
    ]
    variables = [
        datasource("loki", "loki", "Logs"),
        datasource("tempo", "tempo", "Traces"),
        {**textbox("namespace", "Namespace of Keyferry"), "query": "kube-system|keyferry.*"},
        textbox("pod", "Pod"),
        textbox("volume_id", "Volume id"),
    ]
    made = dashboard(
        "keyferry-volume", "Keyferry / One volume", "The story of one volume.", [Row("Story", panels)], variables
    )
    for panel in made["panels"]:
        if panel["type"] == "logs":
            panel["fieldConfig"] = {"defaults": {}, "overrides": [_trace_link()]}
    return made


def _trace_link() -> Json:
    pane = (
        '{"volume":{"datasource":"${tempo}","queries":[{"refId":"A","queryType":"traceql",'
        '"query":"${__value.raw}"}],"range":{"from":"now-6h","to":"now"}}}'
    )
    link = {"title": "Trace", "url": f"/explore?schemaVersion=1&panes={pane}", "targetBlank": True}
    return {
        "matcher": {"id": "byName", "options": "trace_id"},
        "properties": [{"id": "links", "value": [link]}],
    }
