from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vector_pipeline.errors import SourceError
from vector_pipeline.pipeline.scan_options import ScanOptions
from vector_pipeline.sources.opening import open_source
from vector_pipeline.sources.patterns import Rules
from vector_pipeline.sources.selection import Choice, Selection
from vector_pipeline.stages.scan import scan
from vector_pipeline.store.connection import Database

FILES = (
    "a.txt",
    "b.md",
    "build/c.txt",
    "docs/a.txt",
    "docs/build/d.md",
    "docs/deep/er/e.txt",
    "docs/x.log.txt",
    "[a].txt",
)

_NAME = st.sampled_from(
    [
        *("a.txt", "*.txt", "*", "docs", "build", "b.?d", "d*", "[ab].*", "[!a].md", "deep", "e.txt", "**", "\\*"),
        *("*t*t", "*.*t", "a*t*", "*o*s*", "*[a-z]*e*", "d**p", "*b*u*d"),
    ]
)
_PATTERN = st.builds(
    lambda negated, anchored, parts, folder: negated + anchored + "/".join(parts) + folder,
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "/"]),
    st.lists(_NAME, min_size=1, max_size=3),
    st.sampled_from(["", "/"]),
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    return root


def _ignored_by_git(root: Path) -> set[str]:
    found = subprocess.run(
        ["git", "-C", str(root), "check-ignore", "--no-index", "-z", "--stdin"],
        input="\0".join(FILES),
        capture_output=True,
        text=True,
    )
    return set(filter(None, found.stdout.split("\0")))


@settings(max_examples=150, deadline=None)
@given(st.lists(_PATTERN, min_size=1, max_size=4), st.lists(_PATTERN, max_size=2))
def test_an_ignore_file_leaves_out_what_git_would(repository: Path, root: list[str], docs: list[str]) -> None:
    for name, lines in ((".", root), ("docs", docs)):
        for file in (".gitignore", ".vectorignore"):
            (repository / name / file).write_text("# a comment\n\n" + "\n".join(lines) + "\n")
    selection = Selection(open_source(str(repository)))
    assert {name for name in FILES if not selection.wants(name)} == _ignored_by_git(repository)


@settings(max_examples=150, deadline=None)
@given(st.text("ab*?[]!/\\-^ .", max_size=12))
def test_no_line_breaks_the_rules(line: str) -> None:
    for path in ("a", "b/a", "a b"):
        Rules.of([line]).decides(path, is_folder=False)


def _wanted(root: Path, include: str = "", exclude: str = "") -> set[str]:
    source = open_source(str(root))
    selection = Selection(source, Choice(include, exclude))
    return {item.path for item in source.walk(selection.wants)}


def test_settings_say_what_is_wanted_and_kinds_that_are_off_are_read_where_they_are_asked_for(tmp_path: Path) -> None:
    for name in ("a.md", "b.pdf", "code/c.py", "code/d.md", "drafts/e.md", "f.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert _wanted(tmp_path) == {"a.md", "b.pdf", "code/d.md", "drafts/e.md"}
    assert _wanted(tmp_path, exclude="drafts/, *.pdf") == {"a.md", "code/d.md"}
    assert _wanted(tmp_path, include="*.py\n*.pdf") == {"b.pdf", "code/c.py"}
    assert _wanted(tmp_path, include="*, !drafts/") == {"a.md", "b.pdf", "code/c.py", "code/d.md"}
    assert _wanted(tmp_path, include="code/", exclude="*.py") == {"code/d.md"}


def test_what_is_left_out_later_is_deleted_and_counted(database: Database, tmp_path: Path) -> None:
    for name in ("a.md", "b.md", "drafts/c.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    source = open_source(str(tmp_path))
    assert scan(database, source, ScanOptions()).new == 3
    (tmp_path / ".vectorignore").write_text("drafts/\n")
    found = scan(database, source, ScanOptions(choice=Choice(exclude="b.md")))
    assert (found.deleted, found.unchanged, found.left_out) == (2, 1, 2)
    assert "2 left out by INCLUDE, EXCLUDE or .vectorignore" in str(found)


def test_an_ignore_file_that_cannot_be_read_stops_the_listing(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("x")
    (tmp_path / ".vectorignore").write_bytes(b"\xff\xfe")
    with pytest.raises(SourceError, match=r"\.vectorignore.*cannot be read"):
        _wanted(tmp_path)


HOSTILE = [
    "*a" * 60 + "b",
    "*a/" * 30 + "b",
    "**/" * 60 + "b",
    "**/*a/" * 30 + "b",
    "**/a/*/" * 30 + "**/b",
    "[a-z]*" * 60 + "!",
    "?*" * 100 + "b",
    "*" * 4_000,
    "[" * 1_000_000,
    " " * 1_000_000,
    "*a" * 500_000,
]


@pytest.mark.parametrize("pattern", HOSTILE, ids=[pattern[:10] for pattern in HOSTILE])
@pytest.mark.parametrize("path", ["a" * 4_000, "a/" * 2_000 + "a", "aa/" * 1_300 + "a"], ids=["name", "deep", "both"])
def test_no_pattern_takes_long(pattern: str, path: str) -> None:
    """A .vectorignore is part of a source, and whoever writes there must not hold up the scan."""
    began = time.thread_time()
    Rules.of([pattern, f"/{pattern}"]).decides(path, is_folder=False)
    assert time.thread_time() - began < 1.0


@pytest.mark.parametrize(("lines", "says"), [(200_000, "1,048,576 bytes"), (10_001, "10,000 patterns")])
def test_an_ignore_file_that_is_too_long_is_not_taken_for_its_beginning(tmp_path: Path, lines: int, says: str) -> None:
    (tmp_path / ".vectorignore").write_text("a.txt\n" * lines)
    with pytest.raises(SourceError, match=rf"\.vectorignore.* more than {says}"):
        Selection(open_source(str(tmp_path))).wants("b.txt")
