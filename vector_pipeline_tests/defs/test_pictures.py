"""Pictures and tables in metadata: bounded, whatever the figures and names are."""

from __future__ import annotations

import base64
import re
from collections import Counter
from itertools import repeat
from xml.etree import ElementTree

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vector_pipeline.defs.pictures import (
    BARS,
    HEIGHT,
    NAME_LENGTH,
    TABLE_ROWS,
    WIDTH,
    column_schema,
    histogram,
    outcome_table,
    shortened,
)

SVG = "{http://www.w3.org/2000/svg}"


def bars(found: dg.MarkdownMetadataValue) -> list[dict[str, float]]:
    """The place and size of each bar in the picture, which is well-formed XML."""
    picture = re.search(r"base64,([^)]+)\)", str(found.value))
    assert picture is not None
    svg = ElementTree.fromstring(base64.b64decode(picture[1]))
    return [
        {name: float(bar.attrib[name]) for name in ("x", "y", "width", "height")}
        for bar in svg.iter(f"{SVG}rect")
        if "x" in bar.attrib
    ]


def text(found: dg.MarkdownMetadataValue) -> str:
    return str(found.value).rpartition("\n\n")[2]


# Every value up to a number, as short chunks have them; or a few, also larger than any file: a figure fails no run.
DENSE = st.integers(1, 200).map(lambda number: Counter(range(number)))
SPARSE = st.dictionaries(st.integers(0, 10**30), st.integers(1, 10**12), min_size=1, max_size=60).map(Counter)
COUNTS = DENSE | SPARSE


@given(COUNTS)
def test_a_histogram_fits_into_its_picture(counts: Counter[int]) -> None:
    found = bars(histogram(counts, "tokens"))
    assert 1 <= len(found) <= BARS
    for bar in found:
        assert 0 <= bar["x"] <= bar["x"] + bar["width"] <= WIDTH + 0.2
        assert 0 <= bar["y"] <= HEIGHT
        assert bar["y"] + bar["height"] == pytest.approx(HEIGHT, abs=0.2)
    assert max(bar["height"] for bar in found) == HEIGHT


@given(COUNTS)
def test_a_histogram_does_not_grow_with_the_number_of_values(counts: Counter[int]) -> None:
    assert len(str(histogram(counts, "tokens").value)) < 6_000


def test_the_figures_stand_under_the_picture() -> None:
    found = histogram(Counter({100: 3, 300: 1}), "tokens")
    assert text(found) == "4 chunks of 100 to 300 tokens, 150 on average"
    assert [round(bar["height"] / HEIGHT, 2) for bar in bars(found)] == [1.0, 0.33]


def test_one_value_is_one_bar_and_no_value_is_no_picture() -> None:
    one = histogram(Counter({400: 1_234}), "tokens")
    assert len(bars(one)) == 1
    assert text(one) == "1,234 chunks of 400 to 400 tokens, 400 on average"
    assert histogram(Counter(), "tokens").value == "nothing to show"


@given(st.text(st.characters(), max_size=200))
def test_a_name_is_one_line_of_bounded_length(name: str) -> None:
    found = shortened(name)
    assert found.isprintable()
    assert len(found) <= NAME_LENGTH + 3


def test_a_long_name_keeps_its_beginning_and_its_end() -> None:
    assert shortened("a" * NAME_LENGTH) == "a" * NAME_LENGTH
    found = shortened("reports/" + "x" * NAME_LENGTH + "/2024.pdf")
    assert found.startswith("reports/x")
    assert found.endswith("x/2024.pdf")
    assert " … " in found


def test_a_table_of_files_is_cut_and_says_how_many_are_left_out() -> None:
    row = ("a.txt", "rejected", "is empty")
    whole = outcome_table(repeat(row, TABLE_ROWS))
    assert len(whole.records) == TABLE_ROWS
    assert whole.records[0].data == {"file": "a.txt", "outcome": "rejected", "reason": "is empty"}
    cut = outcome_table(repeat(row, TABLE_ROWS + 1_234))
    assert len(cut.records) == TABLE_ROWS + 1
    assert cut.records[-1].data["file"] == "… and 1,234 more"
    assert [column.name for column in cut.schema.columns] == ["file", "outcome", "reason"]
    assert outcome_table(()).records == []


def test_a_schema_has_the_columns_in_their_order() -> None:
    schema = column_schema({"source": ("string", "path"), "text": ("large_string", "what it says")})
    assert [(c.name, c.type, c.description) for c in schema.columns] == [
        ("source", "string", "path"),
        ("text", "large_string", "what it says"),
    ]
