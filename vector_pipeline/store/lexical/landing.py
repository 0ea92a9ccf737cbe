"""Terms of new texts: the run that loads their rows writes them to a landing table, and every search reads all of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from psycopg import Cursor

from vector_pipeline.store.binary import Int4Array, TextArray, UuidArray
from vector_pipeline.store.connection import Connection
from vector_pipeline.text.terms import frequencies

TEXTS_IN_BLOCK = 128


def select_uncut(connection: Connection, hashes: Iterable[bytes]) -> set[bytes]:
    """The hashes whose texts have no terms yet."""
    rows = connection.execute(
        "SELECT pg_catalog.uuid_send(h) FROM pg_catalog.unnest(%s) AS h WHERE NOT EXISTS (SELECT FROM "
        "lexical_texts t WHERE "
        "t.content_hash = h) AND NOT EXISTS (SELECT FROM lexical_landing l WHERE l.content_hash = h)",
        (UuidArray(hashes),),
        prepare=True,
    )
    return {row[0] for row in rows}


def land_terms(connection: Connection, texts: Mapping[bytes, str]) -> int:
    """Split texts (by hash) that have no terms yet, and write their terms; returns the number of these texts.

    Runs in the caller's transaction. A text that another run brings at the same moment is written once.
    """
    uncut = select_uncut(connection, texts) if texts else ()
    if not uncut:
        return 0
    # In the order of their hashes, so that two loads with the same texts never deadlock.
    hashes = sorted(uncut)
    with connection.pipeline():  # the server reads one block while this process prepares the next
        landed = [
            _insert(connection, hashes[start : start + TEXTS_IN_BLOCK], texts)
            for start in range(0, len(hashes), TEXTS_IN_BLOCK)
        ]
    return sum(cursor.rowcount for cursor in landed)


def _insert(connection: Connection, hashes: Sequence[bytes], texts: Mapping[bytes, str]) -> Cursor[Any]:
    found = [frequencies(texts[content_hash]) for content_hash in hashes]
    return connection.execute(
        "INSERT INTO lexical_landing (content_hash, length, terms) "
        "SELECT h, l, t::jsonb FROM unnest(%s, %s, %s) AS u (h, l, t) ON CONFLICT DO NOTHING",
        (
            UuidArray(hashes),
            Int4Array([sum(counts.values()) for counts in found]),
            TextArray([orjson.dumps(counts).decode() for counts in found]),
        ),
    )
