from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rotator.ui.query import CONTENT_ORDERS, STATES, VOLUME_ORDERS, Query
from rotator.ui.rights import Scope
from rotator.ui.scheduled import Scheduled
from rotator.ui.views import View, view
from rotator.ui.volumes import Failure, Volume

from .conftest import NOW, failing, volume

NAMESPACES = ("shop", "bank", "lab")
EVERYTHING = Scope(everywhere=True)


def marked(namespace: str, number: int, *, shared: bool, state: str) -> Volume:
    """A volume whose every text says of which namespace it is."""
    mark = f"of-{namespace}-{number}"
    return volume(
        mark,
        namespace,
        class_name=mark,
        node=mark,
        provider=mark,
        state=state,
        content_key="shared" if shared else mark,
        objects=((mark, mark),),
        left_out=(mark,),
        failure=Failure("NOT_FOUND", mark, mark) if state == "failing" else None,
    )


volumes = st.lists(
    st.builds(
        marked,
        st.sampled_from(NAMESPACES),
        st.integers(0, 99),
        shared=st.booleans(),
        state=st.sampled_from(["ok", "failing", "stale"]),
    ),
    max_size=12,
)
queries = st.builds(
    Query,
    namespace=st.sampled_from(["", *NAMESPACES]),
    class_name=st.sampled_from(["", "of-bank-1"]),
    state=st.sampled_from(STATES),
    text=st.sampled_from(["", "of-", "bank"]),
    sort=st.sampled_from(VOLUME_ORDERS),
    is_descending=st.booleans(),
    content_sort=st.sampled_from(CONTENT_ORDERS),
    content_is_descending=st.booleans(),
    page=st.integers(1, 3),
)


def text(shown: View) -> str:
    """All that goes out."""
    tables = {name: [table.total, table.rows] for name, table in shown.tables.items()}
    return json.dumps([shown.sections, tables])


@given(volumes, st.frozensets(st.sampled_from(NAMESPACES)), queries)
def test_nothing_of_a_namespace_that_may_not_be_seen_goes_out(
    known: list[Volume], allowed: frozenset[str], query: Query
) -> None:
    """Whatever is there and is asked for, no text of another namespace's volume is in the view."""
    contents = {each.content_key: Scheduled(NOW - 1, 60_000, NOW + 1, 9, is_claimed=False) for each in known}

    shown = text(view(known, contents, Scope(namespaces=allowed), query, now_ms=NOW))

    assert [name for name in NAMESPACES if name not in allowed and f"of-{name}" in shown] == []


@given(volumes, st.frozensets(st.sampled_from(NAMESPACES)), queries)
def test_what_may_not_be_seen_changes_nothing_but_two_numbers(
    known: list[Volume], allowed: frozenset[str], query: Query
) -> None:
    """A viewer's view is that of a cluster that has their namespaces alone, but for how much is hidden."""
    scope, theirs = Scope(namespaces=allowed), [each for each in known if each.namespace in allowed]

    whole, alone = (view(each, {}, scope, query, now_ms=NOW) for each in (known, theirs))

    for shown in (whole, alone):
        del shown.sections["summary"]["hidden_volumes"], shown.sections["summary"]["hidden_contents"]
    assert whole == alone


def test_names_that_no_namespace_has_are_seen_by_who_sees_all() -> None:
    """An empty namespace, which would stand for all of them, is none that anybody may list."""
    known = [volume("a", ""), volume("b", "shop")]

    assert rows(known, Scope(namespaces=frozenset({"shop"}))) == ["n1 shop-b"]
    assert rows(known, EVERYTHING) == ["n1 -a", "n1 shop-b"]


def rows(known: list[Volume], scope: Scope = EVERYTHING, **about: Any) -> list[str]:
    """The volumes that are shown, in order."""
    return list(view(known, {}, scope, Query(**about), now_ms=NOW).tables["volumes"].rows)


def test_filters_are_exact_and_text_is_looked_for() -> None:
    """Each filter alone finds its volume; text is found in pods, classes and objects, whatever its case."""
    known = [
        volume("web", class_name="Api"),
        volume("job", "bank", node="n2", provider="aws", objects=(("Token", "1"),)),
        failing("bad"),
    ]

    assert rows(known, namespace="bank") == ["n1 bank-job"]
    assert rows(known, namespace="ban") == []
    assert rows(known, class_name="Api") == ["n1 shop-web"]
    assert rows(known, node="n2") == ["n1 bank-job"]
    assert rows(known, provider="aws") == ["n1 bank-job"]
    assert rows(known, state="failing") == ["n1 shop-bad"]
    assert rows(known, text="token") == ["n1 bank-job"]
    assert rows(known, text="api") == ["n1 shop-web"]


def test_volumes_behind_are_those_that_do_not_have_what_was_asked_for() -> None:
    """A volume confirmed before its content was asked for is behind since then; one confirmed after is not."""
    known = [volume("old", fetched_ms=NOW - 90_000), volume("new")]
    contents = {"k1": Scheduled(NOW + 5_000, 60_000, NOW - 30_000, 2, is_claimed=False)}

    shown = view(known, contents, EVERYTHING, Query(state="behind"), now_ms=NOW)

    assert [row["behind"] for row in shown.tables["volumes"].rows.values()] == [NOW - 30_000]
    assert shown.sections["summary"]["behind"] == 1
    assert shown.sections["lag"] == {
        "labels": shown.sections["lag"]["labels"],
        "counts": [0, 0, 0, 0, 1, 0, 0, 0],
        "worst_s": 30,
    }


def test_a_content_tells_how_many_hold_it_that_are_not_shown() -> None:
    """The schedule's number of members, less those that may be seen; never who they are."""
    contents = {"k1": Scheduled(NOW - 60_000, 60_000, 0, 5, is_claimed=False)}

    shown = view(
        [volume("a"), volume("b", "bank")], contents, Scope(namespaces=frozenset({"shop"})), Query(), now_ms=NOW
    )

    (content,) = shown.tables["contents"].rows.values()
    assert (content["classes"], content["volumes"], content["others"]) == (["shop/db"], 1, 4)
    assert shown.sections["summary"]["late"] == 1


def test_failures_say_what_to_do_the_newest_first() -> None:
    """Code, reason, message and fix of each volume whose last refresh failed."""
    known = [failing("a", told_ms=NOW - 5), failing("b", told_ms=NOW, reason="Strange"), volume("c")]

    shown = view(known, {}, EVERYTHING, Query(), now_ms=NOW).sections["failures"]

    assert [(each["pod"], each["reason"], each["message"]) for each in shown] == [
        ("b", "Strange", "b is away"),
        ("a", "SecretNotFound", "a is away"),
    ]
    assert shown[1]["fix"].startswith("create the object in the backend")


def test_ten_thousand_volumes_are_a_page_of_fifty() -> None:
    """What goes out does not grow with the cluster; a page beyond the last is the last."""
    known = [failing(f"p{n:05}", f"ns-{n % 500}", node=f"n{n % 900}", class_name=f"c{n % 700}") for n in range(10_000)]

    shown = view(known, {}, EVERYTHING, Query(sort="pod", page=9_999), now_ms=NOW)

    table = shown.tables["volumes"]
    assert (table.total, table.page, table.pages, len(table.rows)) == (10_000, 200, 200, 50)
    assert [row["pod"] for row in table.rows.values()] == [f"p{n:05}" for n in range(9_950, 10_000)]
    assert len(text(shown)) < 64 * 1024


def test_orders_can_be_turned_round() -> None:
    """Ascending and descending are each other's reverse, for each column."""
    known = [volume(f"p{n}", node=f"n{n % 3}", fetched_ms=NOW - n) for n in range(9)]

    for order in VOLUME_ORDERS:
        assert rows(known, sort=order, is_descending=True) == rows(known, sort=order)[::-1]
