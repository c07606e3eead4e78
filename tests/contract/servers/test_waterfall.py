from collections.abc import Sequence

from keyferry.testing.otlp import Span, SpanEvent
from keyferry.testing.waterfall import waterfall

START = 1_700_000_000 * 10**9


def span(
    name: str, start: float, end: float, *, parent: str = "", service: str = "node", events: Sequence[SpanEvent] = ()
) -> Span:
    """A span whose id is its name; times in ms."""
    begin, finish = START + int(start * 1e6), START + int(end * 1e6)
    return Span("ab" * 16, name, parent, name, service, "internal", begin, finish, events=events)


def event(name: str, at: float) -> SpanEvent:
    return SpanEvent(name, START + int(at * 1e6), {})


def test_a_trace_is_drawn_as_a_tree_beside_bars() -> None:
    """Children stand below their parent by start time, each bar where and as long as the span ran."""
    spans = [
        span("write", 15, 20, parent="publish"),
        span("publish", 0, 20),
        span("process", 6, 9, parent="fetch", service="fetcher"),
        span("fetch", 5, 10, parent="publish", events=[event("sealed", 7.5)]),
    ]

    drawn = waterfall(spans, width=80).plain.splitlines()

    assert drawn == [
        "trace abababababababababababababababab · 4 spans · 2 services · 20.00 ms",
        "                    0           5           10           15         20 ms",
        "node    publish     █████████████████████████████████████████████████   20.00 ms",
        "node    ├ fetch                 ████████████▌                            5.00 ms",
        "        │                             ╵sealed",
        "fetcher │ └ process               ▐███████                               3.00 ms",
        "node    └ write                                          ████████████    5.00 ms",
    ]


def test_every_line_fits_the_width() -> None:
    """Long names are cut, and an event at the right edge has its name to the left."""
    late = event("the very end", 100)
    spans = [
        span("a" * 80, 0, 100, service="s" * 30, events=[late]),
        span("b", 99.9999, 100, parent="a" * 80, events=[event("x" * 200, 50)]),
    ]

    drawn = waterfall(spans, width=100).plain.splitlines()

    assert max(len(line) for line in drawn) <= 100
    assert any(line.endswith("the very end╵") for line in drawn)


def test_the_shortest_span_is_seen() -> None:
    """Even nothing takes half a column, at either end."""
    spans = [span("root", 0, 1000), span("first", 0, 0, parent="root"), span("last", 1000, 1000, parent="root")]

    _, _, _, first, last = waterfall(spans).plain.splitlines()

    assert "▌" in first
    assert "▐" in last


def test_a_span_whose_parent_is_missing_is_a_root() -> None:
    """A trace whose kubelet span was never exported is still drawn."""
    drawn = waterfall([span("publish", 0, 1, parent="kubelet")]).plain

    assert "node publish █" in drawn


def test_a_trace_of_no_length_is_drawn() -> None:
    """A single instant has a bar and no division by zero."""
    assert "0.00 ms" in waterfall([span("instant", 0, 0)]).plain


def test_failed_spans_are_red() -> None:
    """A failure is seen at a glance."""
    failed = Span("ab" * 16, "1", "", "publish", "node", "server", START, START + 1, status="error")

    assert any(str(part.style) == "red" for part in waterfall([failed]).spans)
