"""A trace as a waterfall in the terminal: one line a span, its bar where and as long as it ran."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.text import Text

from keyferry.testing.otlp import Span, SpanEvent

_WIDEST_SERVICE, _WIDEST_NAME, _DURATION = 14, 40, 10  # columns; the bars take the rest
_COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_red")
_MOST_TICKS = 5


@dataclass(frozen=True)
class _Layout:
    """Columns of a line, and where in them a moment stands."""

    start_ns: int
    length_ns: int
    service: int
    name: int
    bars: int

    def half(self, time_ns: int) -> int:
        """A moment in half columns: bars begin and end at either half of a character."""
        return round((time_ns - self.start_ns) / self.length_ns * self.bars * 2)

    def column(self, time_ns: int) -> int:
        return min(self.half(time_ns) // 2, self.bars - 1)


def waterfall(spans: Sequence[Span], *, width: int = 100) -> Text:
    """Draw the spans of one trace, for `rich.print` or, as `.plain`, for a file.

    Spans stand below their parent by start time; one whose parent is not among them is a root. Span events are ticks
    below the bar.

    Args:
        spans: One or more.
        width: Columns of the terminal, 80 or more.
    """
    rows = list(_tree(spans))
    services = list(dict.fromkeys(span.service for span, _ in rows))
    colours = dict(zip(services, itertools.cycle(_COLOURS), strict=False))
    layout = _lay_out(rows, width)
    lines = [_title(spans, services, layout.length_ns), _axis(layout)]
    for span, branch in rows:
        lines.append(_span_line(span, branch, layout, colours[span.service]))
        lines += _event_lines(span, branch, layout)
    return Text("\n").join(lines)


def _lay_out(rows: Sequence[tuple[Span, str]], width: int) -> _Layout:
    start = min(span.start_ns for span, _ in rows)
    length = max(1, max(span.end_ns for span, _ in rows) - start)
    service = min(_WIDEST_SERVICE, max(len(span.service) for span, _ in rows))
    name = min(_WIDEST_NAME, max(len(branch + span.name) for span, branch in rows))
    return _Layout(start, length, service, name, bars=width - service - name - _DURATION - 3)


def _tree(spans: Sequence[Span]) -> Iterator[tuple[Span, str]]:
    """Yield spans depth first with the branch drawn before their name."""
    ids = {span.span_id for span in spans}
    ordered = sorted(spans, key=lambda span: (span.start_ns, -span.end_ns))

    def below(parent: Span, indent: str) -> Iterator[tuple[Span, str]]:
        children = [span for span in ordered if span.parent_id == parent.span_id]
        for child in children:
            is_last = child is children[-1]
            yield child, indent + ("└ " if is_last else "├ ")
            yield from below(child, indent + ("  " if is_last else "│ "))

    for root in (span for span in ordered if span.parent_id not in ids):
        yield root, ""
        yield from below(root, "")


def _title(spans: Sequence[Span], services: Sequence[str], length_ns: int) -> Text:
    facts = f"{len(spans)} spans · {len(services)} services · {_milliseconds(length_ns)}"
    return Text.assemble(("trace ", "dim"), (spans[0].trace_id, "bold"), (f" · {facts}", "dim"))


def _axis(layout: _Layout) -> Text:
    """Write round milliseconds above the columns where they fall."""
    step = _round_up(layout.length_ns / _MOST_TICKS)
    cells = [" "] * (layout.bars + _DURATION)
    for tick in range(int(layout.length_ns / step) + 1):
        label = f"{tick * step / 1e6:g}"
        column = layout.column(layout.start_ns + round(tick * step))
        cells[column : column + len(label) + 1] = [*label, " "]
    return Text(" " * (layout.service + layout.name + 2) + "".join(cells).rstrip() + " ms", style="dim")


def _round_up(step_ns: float) -> float:
    power = 10.0 ** math.floor(math.log10(step_ns))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step_ns)


def _span_line(span: Span, branch: str, layout: _Layout, colour: str) -> Text:
    colour = "red" if span.status == "error" else colour
    return Text.assemble(
        (_fit(span.service, layout.service), colour),
        " ",
        (branch, "dim"),
        (_fit(span.name, layout.name - len(branch)), "bold" if not branch else ""),
        " ",
        (_bar(span, layout), colour),
        " ",
        (f"{_milliseconds(span.end_ns - span.start_ns):>{_DURATION}}", colour),
    )


def _bar(span: Span, layout: _Layout) -> str:
    begin = min(layout.half(span.start_ns), layout.bars * 2 - 1)
    end = max(layout.half(span.end_ns), begin + 1)  # the shortest span is still seen
    glyphs = {(True, True): "█", (True, False): "▌", (False, True): "▐", (False, False): " "}
    filled = [begin <= half < end for half in range(layout.bars * 2)]
    return "".join(glyphs[pair] for pair in zip(filled[::2], filled[1::2], strict=True))


def _event_lines(span: Span, branch: str, layout: _Layout) -> Iterator[Text]:
    """Draw ticks with the events' names beside them, as many on a line as fit; the tree's lines go on."""
    trunk = branch.replace("├", "│").replace("└", " ")
    margin = " " * (layout.service + 1) + _fit(trunk, layout.name) + " "
    line = ""
    for event in sorted(span.events, key=lambda event: event.time_ns):
        column, text = _tick(event, layout)
        if line and column <= len(line):
            yield Text.assemble((margin, "dim"), (line, "dim italic"))
            line = ""
        line = line.ljust(column) + text
    if line:
        yield Text.assemble((margin, "dim"), (line, "dim italic"))


def _tick(event: SpanEvent, layout: _Layout) -> tuple[int, str]:
    """Return the column where the text begins, and the text: the name right of its tick, or left for want of room."""
    column = layout.column(event.time_ns)
    name = event.name if len(event.name) < layout.bars else event.name[: layout.bars - 2] + "…"
    if column + 1 + len(name) <= layout.bars:
        return column, "╵" + name
    return max(0, column - len(name)), name + "╵"


def _fit(text: str, columns: int) -> str:
    columns = max(columns, 1)
    return text.ljust(columns) if len(text) <= columns else text[: columns - 1] + "…"


def _milliseconds(nanoseconds: int) -> str:
    milliseconds = nanoseconds / 1e6
    return f"{milliseconds:.2f} ms" if milliseconds < 100 else f"{milliseconds:,.0f} ms"  # noqa: PLR2004  # three digits tell enough
