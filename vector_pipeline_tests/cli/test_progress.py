"""The time left is that of the work that is left."""

from __future__ import annotations

import pytest

from vector_pipeline.cli import output
from vector_pipeline.cli.output import Progress


def test_files_that_are_rejected_or_deleted_are_no_work_that_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "LINE_EVERY_SECONDS", 0.0)
    progress = Progress(quiet=False)
    for what, amount in (("files to load", 3), ("files loaded", 1), ("files rejected", 1), ("files deleted", 1)):
        progress.advance(what, amount)
    printed = capsys.readouterr().err.splitlines()
    assert [line.endswith(" left") for line in printed] == [False, True, True, False]
