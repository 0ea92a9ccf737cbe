"""A command that is started without standard streams, as by `>&- 2>&-` in a crontab."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg

from vector_pipeline_tests.support.ingesting import write_notes


def test_it_works_all_the_same(tmp_path: Path, fresh_database_url: str) -> None:
    environment = os.environ | {"DATABASE_URL": fresh_database_url, "VECTOR_PIPELINE_HOME": str(tmp_path / "home")}
    notes = write_notes(tmp_path / "notes", 3)
    command = [sys.executable, "-m", "vector_pipeline.cli", "ingest", str(notes)]
    closing = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    done = subprocess.run([*closing, *command], env=environment, timeout=100, check=False)
    assert done.returncode == 0
    with psycopg.connect(fresh_database_url) as connection:
        assert connection.execute("SELECT count(*) FROM document_chunks").fetchone() == (3,)
