from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyferry.errors import InvalidArgument
from rotator.ui.query import Query


def test_every_part_of_a_query_is_taken() -> None:
    """Filters, orders and pages are what the query string says; a minus turns an order round."""
    filters = {"namespace": "shop", "class": "db", "node": "n1", "provider": "aws", "state": "behind", "text": "API"}
    told = filters | {"sort": "-confirmed", "page": "3", "contents": "-due", "contents_page": "2"}

    assert Query.parsed(told) == Query(
        *("shop", "db", "n1", "aws", "behind", "api"),
        *("confirmed", True, 3),
        *("due", True, 2),
    )


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"token": "x"}, "there is no parameter 'token'"),
        ({"state": "lost"}, "state is none of ok"),
        ({"sort": "secret"}, "sort is none of namespace"),
        ({"sort": "--pod"}, "sort is none of"),
        ({"page": "0"}, "page is no number"),
        ({"page": "-1"}, "page is no number"),
        ({"page": "1e3"}, "page is no number"),
        ({"page": "9" * 4000}, "page is no number"),
        ({"page": "\u0663"}, "page is no number"),
        ({"text": "x" * 254}, "text has 254 characters"),
    ],
)
def test_what_a_query_cannot_say_is_refused(told: dict[str, str], says: str) -> None:
    """The parameter is named, with what it may be."""
    with pytest.raises(InvalidArgument, match=says):
        Query.parsed(told)


@given(st.dictionaries(st.sampled_from(["sort", "page", "state", "text", "contents", "contents_page"]), st.text()))
def test_no_query_breaks_it(told: dict[str, str]) -> None:
    """Whatever is asked is understood or refused."""
    try:
        query = Query.parsed(told)
    except InvalidArgument:
        return
    assert query.page >= 1
