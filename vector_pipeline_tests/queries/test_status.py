"""What `status` says of a source and of one file of it."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from vector_pipeline.cli.reports import show_status
from vector_pipeline.pipeline.pipeline import open_pipeline
from vector_pipeline.pipeline.scan_options import ScanOptions
from vector_pipeline.queries.status import read_status
from vector_pipeline.settings import Settings
from vector_pipeline.sources.opening import open_source
from vector_pipeline.stages.scan import scan


def test_what_the_last_scan_left_out_is_told_with_its_reason(
    tmp_path: Path, fresh_database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number in range(11):
        (corpus / f"{number:02}.txt").write_text("x")
        os.utime(corpus / f"{number:02}.txt", (1, 1))
    source = open_source(str(corpus))
    with open_pipeline(Settings.of(home=tmp_path / "home", database_url=fresh_database_url)) as pipeline:
        assert read_status(pipeline)["scans"] == []
        scan(pipeline.database, source, ScanOptions())
        for path in corpus.iterdir():
            path.unlink()
        (corpus / "밖으로.txt").symlink_to("/etc/hostname")
        (corpus / "slow\nly.txt").write_text("x")
        (corpus / "slides.psd").write_text("x")
        scan(pipeline.database, source, ScanOptions(quiet_seconds=1_000))
        found = read_status(pipeline)
    (told,) = found["scans"]
    assert (told["root"], told["withheld"], told["waiting"], told["passed_over"]) == (str(corpus), 11, 1, 1)
    assert told["not_read"] == {".psd": 1}
    assert [file["source"] for file in told["left_out"]] == ["밖으로.txt", "slow\nly.txt"]
    show_status(found)
    lines = capsys.readouterr().out.splitlines()
    (scanned,) = [line for line in lines if line.startswith("scanned")]
    assert scanned.endswith("11 missing, 1 still being written, 1 passed over, 1 of kinds that are not read (1 .psd)")
    assert "left out  밖으로.txt: link leads out of the source; not followed" in lines
    assert any(line.startswith("left out  slow\\nly.txt: changed a moment ago") for line in lines)
    assert any(line.startswith("missing   11 files") and "--confirm-deletions" in line for line in lines)


@pytest.mark.parametrize("name", ["김치.txt", "café.txt"])
def test_a_file_is_found_however_its_name_is_typed(tmp_path: Path, fresh_database_url: str, name: str) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    stored = unicodedata.normalize("NFD", name)
    (corpus / stored).write_text("x")
    with open_pipeline(Settings.of(home=tmp_path / "home", database_url=fresh_database_url)) as pipeline:
        scan(pipeline.database, open_source(str(corpus)), ScanOptions())
        for typed in (stored, name, str(corpus / stored), str(corpus / name)):
            assert [file["source"] for file in read_status(pipeline, typed)["file"]] == [stored]
        assert read_status(pipeline, "other.txt")["file"] == []

        # Both are files of their own where both are there.
        (corpus / name).write_text("y")
        scan(pipeline.database, open_source(str(corpus)), ScanOptions())
        assert [file["source"] for file in read_status(pipeline, name)["file"]] == [name]
        assert [file["source"] for file in read_status(pipeline, stored)["file"]] == [stored]
