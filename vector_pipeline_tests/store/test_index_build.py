"""The build of an index: the memory and processes it takes, and how its progress is described."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from vector_pipeline.store.connection import Connection
from vector_pipeline.store.embedded.machine import free_memory_mb, processors
from vector_pipeline.store.index_build import Pace, build_memory, build_workers, create_index
from vector_pipeline.store.spaces import start_space
from vector_pipeline_tests.support.corpus import embed, space_of


def test_the_time_left_follows_the_rate_of_the_last_minute() -> None:
    pace = Pace(1_000_000)
    assert pace.note(1_000, 0.0) == 1_000
    assert str(pace) == "index: 1,000 of 1,000,000 vectors (0%)"
    for second in range(1, 121):
        assert pace.note(1_000 + 2_000 * second, float(second)) == 2_000
    assert str(pace) == "index: 241,000 of 1,000,000 vectors (24%), 2,000 a second, about 6 min left"
    # The graph no longer fits into the memory.
    for second in range(121, 182):
        pace.note(241_000 + 100 * (second - 120), float(second))
    assert str(pace) == "index: 247,100 of 1,000,000 vectors (25%), 100 a second, about 125 min left"
    pace.note(999_000, 182.0)
    assert str(pace).endswith("a second, about 0 s left")
    pace.note(1_000_000, 183.0)
    assert str(pace) == "index: 1,000,000 of 1,000,000 vectors (100%), being written to disk"


def test_an_index_is_built_in_the_memory_that_the_server_seems_to_have(connection: Connection) -> None:
    space = space_of(connection)
    said: list[str] = []
    # A quarter of it is more than the shared_buffers of any machine that the tests run on, which no session can set.
    connection.execute("SET effective_cache_size = '16GB'")
    connection.execute("SET maintenance_work_mem = '64MB'")
    assert build_memory(connection, space, 1_000, said.append) == 64
    assert not said
    assert build_memory(connection, space, 10_000_000, said.append) == 4_096
    assert "4,096 MB may be used" in said[0]
    connection.execute("SET maintenance_work_mem = '9GB'")  # a permission
    assert 5_000 < build_memory(connection, space, 10_000_000, said.append) <= 9 * 1_024
    assert len(said) == 1


def test_halves_take_little_more_than_half_the_memory(connection: Connection) -> None:
    connection.execute("SET maintenance_work_mem = '64GB'")
    half = start_space(connection, "wide-model", 1_536, index_type="halfvec")
    assert half.index_type == "halfvec"
    halves = build_memory(connection, half, 1_000_000, print)
    full = build_memory(connection, replace(half, index_type="vector"), 1_000_000, print)
    # As measured: 3.8 and 6.9 KB for a vector.
    assert 3_700 < halves < 4_200
    assert 6_700 < full < 7_500


def test_on_the_embedded_server_a_build_may_take_half_of_what_is_free(connection: Connection) -> None:
    space = replace(space_of(connection), dimensions=1_536)
    connection.execute("SET effective_cache_size = '1GB'")
    connection.execute("SET maintenance_work_mem = '64MB'")
    said: list[str] = []
    elsewhere = build_memory(connection, space, 50_000_000, said.append)
    assert "ALTER ROLE CURRENT_USER SET maintenance_work_mem = '" in said[0]
    connection.database = replace(connection.database, embedded=True)
    here = build_memory(connection, space, 50_000_000, said.append)
    assert "ALTER ROLE" not in said[1]
    free = free_memory_mb()
    assert max(elsewhere, free * 0.4) <= here <= max(elsewhere, free * 0.6)


def test_there_are_as_many_processes_as_processors(connection: Connection) -> None:
    assert build_workers(connection, 1_000) == 0
    assert build_workers(connection, 10_000_000) == min(processors() - 1, 8)


@pytest.mark.slow
def test_a_build_that_outgrows_its_memory_says_so(connection: Connection) -> None:
    space = start_space(connection, "wide-model", 2_000, index_type="vector")
    embed(connection, [f"text {number}" for number in range(8_400)], space)
    connection.execute(f"INSERT INTO {space.embeddings} SELECT * FROM {space.landing}".encode())
    said: list[str] = []
    # For one vector the least memory is taken, 64 MB.
    create_index(connection, space, space.embeddings, space.index, 1, said.append)
    (line,) = (line for line in said if "no longer fits" in line)
    assert re.fullmatch(r"hnsw graph no longer fits into maintenance_work_mem after \d+ tuples: .* slowly", line)
