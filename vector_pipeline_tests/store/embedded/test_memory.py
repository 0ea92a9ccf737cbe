"""The embedded server's memory follows the machine, or the container that it runs in."""

from __future__ import annotations

import psycopg
import pytest

from vector_pipeline.store.embedded.machine import memory_mb
from vector_pipeline.store.embedded.memory import memory_settings


@pytest.mark.parametrize(
    ("memory", "shared_buffers", "maintenance"),
    [(512, "128MB", "64MB"), (8_192, "1024MB", "512MB"), (24_000, "3000MB", "1500MB"), (262_144, "4096MB", "2048MB")],
)
def test_settings_are_a_share_of_the_memory_within_bounds(memory: int, shared_buffers: str, maintenance: str) -> None:
    settings = memory_settings(memory, 2)
    assert (settings["shared_buffers"], settings["maintenance_work_mem"]) == (shared_buffers, maintenance)
    assert settings["max_parallel_workers"] == "8"
    assert memory_settings(memory, 32)["max_parallel_workers"] == "32"


def test_the_server_takes_the_settings(database_url: str) -> None:
    expected = memory_settings(memory_mb(), 1)["shared_buffers"]
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "SELECT pg_size_bytes(current_setting('shared_buffers')) = pg_size_bytes(%s)", (expected,)
        )
        assert row.fetchone() == (True,)
