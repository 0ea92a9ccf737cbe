"""The progress of loads: from the counts of files and the arrivals that were finished lately."""

from __future__ import annotations

import pytest

from vector_pipeline.store.connection import Connection
from vector_pipeline.store.load_progress import LoadProgress, load_progress
from vector_pipeline.store.manifest import finish_attempt
from vector_pipeline_tests.support.corpus import load, own


def test_nothing_is_said_when_nothing_is_pending(connection: Connection) -> None:
    assert load_progress(connection) is None
    load(connection, "A1", {"a.txt": ["text"]})
    assert load_progress(connection) is None


def test_the_rate_is_that_of_arrivals_finished_lately(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["one"], "b.txt": ["two"]})
    own(connection, "A2", ["c.txt", "d.txt", "e.txt"])
    found = load_progress(connection)
    assert found is not None
    assert (found.loaded, found.pending, found.files_per_minute, found.minutes_left) == (2, 3, None, None)
    assert finish_attempt(connection, "A1") == 0
    connection.execute("UPDATE arrivals SET files = 20, created_at = now() - interval '2 minutes' WHERE key = 'A1'")
    found = load_progress(connection)
    assert found is not None
    assert found.files_per_minute == pytest.approx(10, rel=0.05)
    assert found.minutes_left == pytest.approx(0.3, rel=0.05)
    # An arrival that waited for days before it was loaded counts for the last minutes alone.
    connection.execute("UPDATE arrivals SET created_at = now() - interval '2 days' WHERE key = 'A1'")
    found = load_progress(connection)
    assert found is not None
    assert found.files_per_minute == pytest.approx(20 / 15, rel=0.05)
    connection.execute("UPDATE arrivals SET finished_at = now() - interval '1 hour'")
    found = load_progress(connection)
    assert found is not None
    assert found.files_per_minute is None


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (LoadProgress(0, 5, None, 0.0), "0 of 5 files (0%), $0.00 spent today"),
        (
            LoadProgress(2_500, 7_500, 500.0, 1.234),
            "2,500 of 10,000 files (25%), 500 a minute, about 15 min left, $1.23 spent today",
        ),
        (LoadProgress(9, 1, 60.0, 0.0), "9 of 10 files (90%), 60 a minute, about a minute left, $0.00 spent today"),
        (LoadProgress(1, 999_999, 1_000.0, 0.0), "1 of 1,000,000 files (0%), 1,000 a minute, about 16.7 h left"),
    ],
)
def test_it_reads_as_a_line(progress: LoadProgress, expected: str) -> None:
    assert str(progress).startswith(expected)
