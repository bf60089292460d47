"""One table of what was measured: ours beside a peer, in the same run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement, ready to be shown."""

    name: str
    figure: str  # ours
    beside: str  # the peer's in the same run; empty where there is none
    ratio: str
    bar: str  # what it must reach


_HEADS = Row("measurement", "ours", "beside", "ratio", "bar")


def show(rows: Sequence[Row]) -> str:
    """The rows as aligned text, heads first."""
    cells = [(row.name, row.figure, row.beside, row.ratio, row.bar) for row in (_HEADS, *rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(5)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )
