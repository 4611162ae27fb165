"""Tables of samples, and how they are written as Markdown and JSON; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.figures import median

_MISSING = "–"


@dataclass(frozen=True, slots=True)
class Row:
    """One measure.

    Attributes:
        cells: its samples by column; a column that has none is shown as missing.
        compared: whether a ratio to another column says anything.
    """

    name: str
    unit: str
    cells: Mapping[str, Sequence[float]]
    compared: bool = True


@dataclass(slots=True)
class Table:
    """Rows that share their columns.

    Attributes:
        reference: the column that the others' ratios are to, or "" for none.
        notes: sentences shown below it.
    """

    title: str
    columns: Sequence[str]
    rows: list[Row]
    reference: str = ""
    notes: list[str] = field(default_factory=list)


def number(value: float) -> str:
    """A value with about three digits that count."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def cell(row: Row, column: str, reference: str) -> str:
    """The column's median, with its ratio to the reference's where that is another one."""
    samples = row.cells.get(column)
    if not samples:
        return _MISSING
    value = median(samples)
    base = row.cells.get(reference)
    if not row.compared or column == reference or not base or not median(base):
        return number(value)
    return f"{number(value)} ({value / median(base):.2f})"


def markdown(table: Table) -> str:
    """The table under its heading, with its notes."""
    names = [f"{row.name}, {row.unit}" if row.unit else row.name for row in table.rows]
    lines = [
        f"## {table.title}",
        "",
        "| | " + " | ".join(table.columns) + " |",
        "|---|" + "---:|" * len(table.columns),
    ]
    for name, row in zip(names, table.rows, strict=True):
        cells = [cell(row, column, table.reference) for column in table.columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    if table.reference in table.columns:
        lines += ["", f"In brackets: ratio to {table.reference}."]
    for note in table.notes:
        lines += ["", note]
    return "\n".join(lines) + "\n"


def document(about: Mapping[str, str], tables: Sequence[Table], notes: Sequence[str]) -> str:
    """The whole page."""
    facts = "\n".join(f"- {key}: {value}" for key, value in about.items())
    parts = ["# wxproxy beside other proxies\n", facts + "\n", *map(markdown, tables)]
    if notes:
        parts.append("## Notes\n\n" + "\n".join(f"- {note}" for note in notes) + "\n")
    return "\n".join(parts)


def as_data(
    about: Mapping[str, str], tables: Sequence[Table], notes: Sequence[str]
) -> dict[str, Any]:
    """The same for programs, with every sample."""
    return {
        "about": dict(about),
        "tables": [
            {
                "title": table.title,
                "reference": table.reference,
                "notes": table.notes,
                "rows": [_row_data(row) for row in table.rows],
            }
            for table in tables
        ],
        "notes": list(notes),
    }


def _row_data(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "unit": row.unit,
        "medians": {column: median(samples) for column, samples in row.cells.items() if samples},
        "samples": {column: list(samples) for column, samples in row.cells.items()},
    }
