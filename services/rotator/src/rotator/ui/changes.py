"""What has changed between two views, as the page is told of it by server-sent events."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from rotator.ui.tables import Row, Table
from rotator.ui.views import View


@dataclass
class Sent:
    """What a page has been sent so far."""

    sections: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)

    def news(self, view: View) -> dict[str, Any]:
        """What to send so that the page shows this view; empty if it does already.

        Returns:
            Each section that has changed, whole; of each table that has changed, the order of its rows, and the rows
            that are new or different.
        """
        sections = {name: told for name, told in view.sections.items() if self.sections.get(name) != told}
        tables = {
            name: _table(table, before.rows if before else {})
            for name, table in view.tables.items()
            if not (before := self.tables.get(name)) or not _is_same(before, table)
        }
        self.sections, self.tables = view.sections, view.tables
        return sections | tables


def _is_same(one: Table, other: Table) -> bool:
    return one == other and list(one.rows) == list(other.rows)  # dicts are equal in any order


def _table(table: Table, known: dict[str, Row]) -> dict[str, Any]:
    return {
        "total": table.total,
        "page": table.page,
        "pages": table.pages,
        "order": list(table.rows),
        "rows": {name: row for name, row in table.rows.items() if known.get(name) != row},
    }


def event(name: str, about: dict[str, Any]) -> bytes:
    """A server-sent event (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
    return f"event: {name}\ndata: {json.dumps(about, separators=(',', ':'))}\n\n".encode()


HEARTBEAT = b": here\n\n"
"""Keeps proxies from ending a connection that has no news, and shows us whether somebody is there."""
