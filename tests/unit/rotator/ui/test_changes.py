from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rotator.ui.changes import Sent, event
from rotator.ui.tables import Table
from rotator.ui.views import View

rows = st.dictionaries(st.sampled_from("abcdef"), st.fixed_dictionaries({"state": st.sampled_from(["ok", "failing"])}))
tables = st.builds(lambda found: Table(len(found), 1, 1, found), rows)
views = st.builds(
    lambda number, table: View({"summary": {"volumes": number}}, {"volumes": table}), st.integers(0, 3), tables
)


def shown(page: dict[str, Any], news: dict[str, Any]) -> dict[str, Any]:
    """What a page shows after news, by the rules of static/table.js."""
    page = {**page, **{name: told for name, told in news.items() if name != "volumes"}}
    if "volumes" in news:
        known = {**page.get("volumes", {}), **news["volumes"]["rows"]}
        page["volumes"] = {name: known[name] for name in news["volumes"]["order"]}
    return page


@given(st.lists(views, min_size=1, max_size=6))
def test_news_make_every_page_show_the_view(each_second: list[View]) -> None:
    """Whatever views follow each other, a page that takes in the news of each shows it, in its order."""
    sent = Sent()
    page: dict[str, Any] = {}
    for told in each_second:
        page = shown(page, json.loads(json.dumps(sent.news(told))))

        assert page["summary"] == told.sections["summary"]
        assert list(page["volumes"].items()) == list(told.tables["volumes"].rows.items())
        assert sent.news(told) == {}


def test_a_row_that_stays_is_not_sent_again() -> None:
    """Only what is new or different goes out."""
    sent = Sent()
    sent.news(View({}, {"volumes": Table(2, 1, 1, {"a": {"state": "ok"}, "b": {"state": "ok"}})}))

    news = sent.news(View({}, {"volumes": Table(2, 1, 1, {"b": {"state": "ok"}, "a": {"state": "failing"}})}))

    assert news == {
        "volumes": {"total": 2, "page": 1, "pages": 1, "order": ["b", "a"], "rows": {"a": {"state": "failing"}}}
    }


def test_an_event_is_one_line_whatever_is_in_it() -> None:
    """No text can end its event early or begin another."""
    written = event("news", {"pod": "a\n\nevent: ended\ndata: {}\r\u2028x"}).decode()

    assert written.count("\n") == 3
    assert written.startswith("event: news\ndata: ")
    assert written.endswith("\n\n")
