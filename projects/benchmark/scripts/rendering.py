"""Pieces of Markdown, and figures as text."""

import textwrap
from typing import Any, Callable, Mapping, Sequence

WIDTH = 88

Show = Callable[[float], str]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def paragraph(text: str) -> str:
    return wrap(text)


def item(text: str) -> str:
    """Of a list."""
    return wrap(text, "* ", "  ")


def wrap(text: str, first_indent: str = "", indent: str = "") -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=first_indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def spreads(columns: Mapping[str, Mapping[str, Any]], show: Show) -> str:
    """A table of summaries: columns, each of the same rows."""
    rows = [
        (name, *(spread(one[name], show) for one in columns.values()))
        for name in next(iter(columns.values()))
    ]
    return table(("", *columns), rows)


def spread(summary: Mapping[str, Any], show: Show) -> str:
    return f"{show(summary['median'])} ({show(summary['min'])}–{show(summary['max'])})"


def rounded(value: float) -> str:
    """A whole number of three digits that count; the files have all."""
    return f"{float(f'{value:.3g}'):,.0f}"


def significant(value: float) -> str:
    return rounded(value) if value >= 1000 else f"{value:.3g}"


def count(number: int, name: str) -> str:
    return f"{number:,} {name}" if number == 1 else f"{number:,} {name}s"
