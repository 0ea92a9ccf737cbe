"""Connections: what they know, and what is left of them."""

from __future__ import annotations

import gc

from vector_pipeline.store.connection import Database


def test_connecting_again_and_again_leaves_nothing_behind(database: Database) -> None:
    def classes() -> int:
        gc.collect()
        return sum(isinstance(thing, type) for thing in gc.get_objects())

    database.connect().close()
    before = classes()
    for _ in range(10):
        with database.connect() as connection:
            row = connection.execute("SELECT '[1,2]'::vector, '[3]'::halfvec").fetchone()
    assert classes() == before
    assert row is not None
    assert [value.to_list() for value in row] == [[1, 2], [3]]
