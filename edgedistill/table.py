"""Plain tables for the terminal: aligned columns, two spaces between, no frame, wherever they are printed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

INDENT = "  "

Styles = Mapping[str, Mapping[str, Any]]
"""Text of a cell -> arguments of click.style."""
NO_STYLES: Styles = {}


def lines(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Sequence[str] = (),
    styles: Styles = NO_STYLES,
) -> list[str]:
    """Head and rows as indented lines. `right` names columns of numbers; `styles` colors cells by their whole text."""
    body = [list(row) for row in rows]
    widths = [max(len(row[at]) for row in [list(head), *body]) for at in range(len(head))]

    def line(cells: Sequence[str], is_head: bool = False) -> str:
        shown: list[str] = []
        for cell, name, width in zip(cells, head, widths, strict=True):
            is_last = len(shown) == len(head) - 1
            padded = cell.rjust(width) if name in right else cell if is_last else cell.ljust(width)
            look: Mapping[str, Any] = {"dim": True} if is_head else styles.get(cell, {})
            shown.append(click.style(padded, **look) if look and padded.strip() else padded)
        return (INDENT + "  ".join(shown)).rstrip()

    return [line(head, is_head=True), *(line(row) for row in body)]
