"""What the backends were asked, by their own account: OpenBao's audit log, the proxy before AWS, the emulators."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

from keyferry.testing.demo.cluster import Base

Calls = Counter[tuple[str, str]]
"""How often, by backend and call."""


def asked(base: Base) -> Calls:
    """Everything until now."""
    with base.stack.openbao.audit.open() as lines:
        found = audited(lines)
    found.update(("AWS", call.target.rpartition(".")[2]) for call in base.aws.calls)
    # The SDK asks each vault once without a token, to learn where tokens are had.
    found.update(("Azure", call.operation) for call in base.azure.faults.calls if call.authorized)
    found.update(("Google", call.method) for call in base.google.faults.calls)
    return found


def audited(lines: Iterable[str]) -> Calls:
    """The requests of an audit log, one JSON object a line, each of which tells a request or its answer."""
    entries = (json.loads(line) for line in lines)
    requests = (entry["request"] for entry in entries if entry["type"] == "request")
    return Counter(("OpenBao", f"{request['operation']} {request['path']}") for request in requests)


def table(columns: Sequence[tuple[str, Calls]]) -> Table:
    """The calls of each pod, a column each, with a sum for each."""
    drawn = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    drawn.add_column("backend")
    drawn.add_column("call")
    for title, _ in columns:
        drawn.add_column(title, justify="right")
    for backend, call in sorted({key for _, calls in columns for key in calls}, reverse=True):
        drawn.add_row(backend, call, *(_number(calls[backend, call]) for _, calls in columns))
    drawn.add_row("", "all", *(_number(calls.total()) for _, calls in columns), style="bold")
    return drawn


def _number(count: int) -> Text:
    return Text(str(count), style="" if count else "green")
