"""Connections: what they know, and what is left of them."""

from __future__ import annotations

from psycopg.adapt import Dumper, Loader

from vector_pipeline.store.connection import Database


def test_connecting_again_and_again_leaves_nothing_behind(database: Database) -> None:
    def adapters(of: type[object]) -> set[type[object]]:
        return {of}.union(*(adapters(kind) for kind in of.__subclasses__()))

    database.connect().close()
    before = adapters(Dumper) | adapters(Loader)
    for _ in range(3):
        with database.connect() as connection:
            row = connection.execute("SELECT '[1,2]'::vector, '[3]'::halfvec").fetchone()
    assert adapters(Dumper) | adapters(Loader) == before
    assert row is not None
    assert [value.to_list() for value in row] == [[1, 2], [3]]
