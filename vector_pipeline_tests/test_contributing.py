"""CONTRIBUTING.md: each change of its table has one file or room, a test and its line of registration.

And each module of the rooms that it names has a test of its own name.
"""

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


def modules() -> list[Path]:
    """The modules of the rooms that CONTRIBUTING names, relative to the package."""
    package = REPOSITORY / "vector_pipeline"
    rule = re.search(r"^Each module of (.+) has its tests in", (REPOSITORY / "CONTRIBUTING.md").read_text("utf-8"), re.M)
    assert rule is not None
    rooms = re.findall(r"`(\w+)/`", rule[1])
    found = [module for room in rooms for module in sorted((package / room).rglob("*.py"))]
    return [module.relative_to(package) for module in found if module.name != "__init__.py"]


@pytest.mark.parametrize("module", modules(), ids=str)
def test_a_module_has_its_tests_where_one_looks_for_them(module: Path) -> None:
    tests = Path(__file__).parent / module.with_name(f"test_{module.name}")
    assert tests.exists(), f"{module} has no {tests.relative_to(REPOSITORY)}"
    assert re.search(r"^def test_", tests.read_text("utf-8"), re.MULTILINE)
