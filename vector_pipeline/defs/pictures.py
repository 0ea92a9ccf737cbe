"""Pictures and tables for the metadata of a materialization: plain values in, Dagster metadata out."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Mapping

import dagster as dg

from vector_pipeline.sources.base import printable

WIDTH, HEIGHT, BARS = 480, 160, 24

# The most rows of a metadata table: events are kept for ever, and the manifest has the rest.
TABLE_ROWS = 200

# Characters of a name; longer ones push the other columns out of sight.
NAME_LENGTH = 60


def histogram(counts: Counter[int], unit: str) -> dg.MarkdownMetadataValue:
    """A bar chart of how often each value occurs, as an SVG picture in Markdown, with the figures under it."""
    if not counts:
        return dg.MetadataValue.md("nothing to show")
    values = sorted(counts)
    total = counts.total()
    mean = sum(value * count for value, count in counts.items()) / total
    low, high = values[0], values[-1]
    width = max(1, -(-(high - low + 1) // BARS))
    bars = Counter({(value - low) // width: 0 for value in values})
    for value, count in counts.items():
        bars[(value - low) // width] += count
    picture = base64.b64encode(_svg(bars, low, high, unit).encode()).decode()
    return dg.MetadataValue.md(
        f"![distribution](data:image/svg+xml;base64,{picture})\n\n"
        f"{total:,} chunks of {low:,} to {high:,} {unit}, {mean:,.0f} on average"
    )


def _svg(bars: Counter[int], low: int, high: int, unit: str) -> str:
    tallest = max(bars.values())
    slot = WIDTH / (max(bars) + 1)
    rectangles = "".join(
        f'<rect x="{index * slot + 1:.1f}" y="{HEIGHT - count / tallest * HEIGHT:.1f}" '
        f'width="{max(1.0, slot - 2):.1f}" height="{count / tallest * HEIGHT:.1f}" fill="#4f43dd"/>'
        for index, count in sorted(bars.items())
    )
    text = 'font-family="sans-serif" font-size="12" fill="#555"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT + 20}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT + 20}"><rect width="100%" height="100%" fill="#fff"/>{rectangles}'
        f'<text x="2" y="{HEIGHT + 15}" {text}>{low:,}</text>'
        f'<text x="{WIDTH - 2}" y="{HEIGHT + 15}" text-anchor="end" {text}>{high:,} {unit}</text></svg>'
    )


def shortened(name: str) -> str:
    """A file's name for a table: on one line, and without its middle if it is long."""
    name = printable(name)
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH // 2]} … {name[-NAME_LENGTH // 2 :]}"


def outcome_table(outcomes: Iterable[tuple[str, str, str]]) -> dg.TableMetadataValue:
    """A table of files: (path, outcome, reason or ''), at most TABLE_ROWS of them."""
    records = [
        dg.TableRecord({"file": shortened(path), "outcome": outcome, "reason": reason})
        for path, outcome, reason in outcomes
    ]
    shown = records[:TABLE_ROWS]
    if len(records) > TABLE_ROWS:
        shown.append(dg.TableRecord({"file": f"… and {len(records) - TABLE_ROWS:,} more", "outcome": "", "reason": ""}))
    schema = dg.TableSchema([dg.TableColumn("file"), dg.TableColumn("outcome"), dg.TableColumn("reason")])
    return dg.MetadataValue.table(records=shown, schema=schema)


def column_schema(columns: Mapping[str, tuple[str, str]]) -> dg.TableSchema:
    """A table's columns for the UI: name to (type, description)."""
    return dg.TableSchema([dg.TableColumn(name, type=kind, description=text) for name, (kind, text) in columns.items()])
