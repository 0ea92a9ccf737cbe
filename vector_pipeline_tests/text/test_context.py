"""Context: what stands in front of a chunk, one line each, never long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vector_pipeline.text.context import MAX_CONTEXT_CHARACTERS, MAX_TITLE_CHARACTERS, Context, context_of

HEADINGS = {"headings": ["Leave", "Carer's leave"]}


@pytest.mark.parametrize(
    ("kind", "source", "metadata", "expected"),
    [
        ("none", "a.md", {**HEADINGS, "title": "T"}, ""),
        ("headings", "a.md", {**HEADINGS, "title": "T"}, "Leave > Carer's leave\n"),
        ("headings", "a.md", {}, ""),
        ("title", "hr/leave.2026.md", HEADINGS, "leave\nLeave > Carer's leave\n"),
        ("title", "a.md", {"title": "A  title\nof two lines"}, "A title of two lines\n"),
        ("title", "연차.txt", {"title": ""}, "연차\n"),
        ("title", ".hidden", {"title": None, "headings": "no list"}, ""),
    ],
)
def test_the_context_is_as_documented(kind: Context, source: str, metadata: dict[str, object], expected: str) -> None:
    assert context_of(kind, source, metadata) == expected


@given(st.sampled_from(["headings", "title"]), st.text(), st.text(), st.lists(st.text()))
def test_no_context_is_long_or_empty_lines(kind: Context, source: str, title: str, headings: list[str]) -> None:
    context = context_of(kind, source, {"title": title, "headings": headings})
    assert len(context) <= MAX_CONTEXT_CHARACTERS + MAX_TITLE_CHARACTERS + 2
    assert context == "" or context.endswith("\n")
    assert all(line.strip() for line in context.splitlines())
