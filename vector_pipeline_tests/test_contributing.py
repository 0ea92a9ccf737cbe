"""The table in CONTRIBUTING.md: each change has one file or room, a test where it says, and its line of registration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
ROWS = [
    [cell.strip() for cell in line.strip("|\n ").split("|")]
    for line in (REPOSITORY / "CONTRIBUTING.md").read_text("utf-8").splitlines()
    if line.startswith("| a") or line.startswith("| how")
]


def test_the_table_names_the_changes_that_newcomers_make() -> None:
    changes = " ".join(row[0] for row in ROWS)
    for change in ("file format", "chunking rule", "provider", "ranking", "kind of source", "migration", "setting"):
        assert change in changes


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_a_row_names_is_there(row: list[str]) -> None:
    _, file, test, registration = row
    for path in re.findall(r"`(vector_pipeline[^`]*)`", f"{file} {test}"):
        found = REPOSITORY / path
        assert found.exists(), path
        assert found.is_file() or any(found.glob("test_*.py" if "_tests" in path else "*")), path
    named = re.match(r"`(\w+)` in `([^`]+)`", registration)
    if named:
        assert re.search(rf"\b{named[1]}\b", (REPOSITORY / "vector_pipeline" / named[2]).read_text("utf-8"))
