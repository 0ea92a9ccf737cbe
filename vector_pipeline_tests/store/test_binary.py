"""What is made for Postgres in its binary form comes back from it as what it was."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vector_pipeline.store.binary import Array, Int4Array, TextArray, UuidArray
from vector_pipeline.store.connection import Connection, Database

KEYS = st.lists(st.binary(min_size=16, max_size=16))
NUMBERS = st.lists(st.integers(-(2**31), 2**31 - 1))
TEXTS = st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")))


def _back(connection: Connection, array: Array, element: str = "a") -> list[object]:
    return [row[0] for row in connection.execute(f"SELECT {element} FROM unnest(%s) AS a".encode(), (array,))]


@pytest.mark.slow
def test_arrays_come_back_as_they_were(database: Database) -> None:
    with database.connect() as connection:

        @settings(max_examples=50)
        @given(KEYS, NUMBERS, TEXTS)
        def holds(keys: list[bytes], numbers: list[int], texts: list[str]) -> None:
            assert _back(connection, UuidArray(keys), "uuid_send(a)") == keys
            assert _back(connection, Int4Array(numbers)) == numbers
            assert _back(connection, TextArray(texts)) == texts

        holds()
