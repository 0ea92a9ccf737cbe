"""Context: what stands in front of a chunk, one line each, never long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vector_pipeline.text.context import MAX_CHARACTERS, Context, context_of

HEADINGS = {"headings": ["Leave", "Carer's leave"]}
TABLE = {"table_header": "| 이름 | 날짜 |"}


@pytest.mark.parametrize(
    ("kind", "source", "metadata", "notes", "expected"),
    [
        ("none", "a.md", {"title": "T"}, HEADINGS, ""),
        ("headings", "a.md", {"title": "T"}, HEADINGS, "Leave > Carer's leave\n"),
        ("headings", "a.md", {}, {}, ""),
        ("title", "hr/leave.2026.md", {}, HEADINGS, "leave\nLeave > Carer's leave\n"),
        ("title", "a.md", {"title": "A  title\nof two lines"}, {}, "A title of two lines\n"),
        ("title", "연차.txt", {"title": ""}, {}, "연차\n"),
        ("title", ".hidden", {"title": None, "headings": "no list"}, {}, ""),
        ("headings", "a.md", {}, {**HEADINGS, **TABLE}, "Leave > Carer's leave\n| 이름 | 날짜 |\n"),
        ("headings", "a.csv", TABLE, {}, ""),  # a field of the file, not a table that the chunk is in
    ],
)
def test_the_context_is_as_documented(
    kind: Context, source: str, metadata: dict[str, object], notes: dict[str, object], expected: str
) -> None:
    assert context_of(kind, source, metadata, notes) == expected


@given(st.sampled_from(["headings", "title"]), st.text(), st.text(), st.lists(st.text()), st.text(alphabet="| a"))
def test_no_context_is_long_or_empty_lines(
    kind: Context, source: str, title: str, headings: list[str], header: str
) -> None:
    context = context_of(kind, source, {"title": title}, {"headings": headings, "table_header": header.strip()})
    assert len(context) <= MAX_CHARACTERS
    assert context == "" or context.endswith("\n")
    assert all(line.strip() for line in context.splitlines())
