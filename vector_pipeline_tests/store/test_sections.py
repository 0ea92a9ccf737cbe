"""Chunks of long documents stand in sections: what readers see is as if each row held its own place."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vector_pipeline.store import schema
from vector_pipeline.store.chunks import SourceRows
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.rows import LoadOutcome, delete_sources, load_sources
from vector_pipeline.store.sections import SECTION_RULES, SectionRules
from vector_pipeline_tests.support.corpus import embed, key_of, own, rows_of, scalar

MAX = 8
ANY_CONNECTION = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


SHORT = SectionRules(ends_one_in=2, minimum=1, maximum=MAX, short_document=3)


def document(texts: Sequence[str], metadata: str = "{}", document_id: str = "") -> SourceRows:
    """A file whose chunks follow one another with two characters between them, as paragraphs do."""
    source = rows_of("a.txt", texts, metadata=metadata)
    start, chunks = 0, []
    for chunk in source.chunks:
        length = len(chunk.page_content)
        chunks.append(replace(chunk, document_id=document_id, start_char=start, end_char=start + length))
        start += length + 2
    return replace(source, chunks=chunks)


def reload(connection: Connection, source: SourceRows, rules: SectionRules = SECTION_RULES) -> LoadOutcome:
    own(connection, "A1", [source.path])
    if source.chunks:
        embed(connection, sorted({chunk.page_content for chunk in source.chunks}))
    return load_sources(connection, "A1", [source], rules=rules)


def seen(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT document_id, chunk_index, start_char, end_char, page_content, metadata, token_count "
        "FROM document_chunks ORDER BY document_id, chunk_index"
    ).fetchall()


def expected(source: SourceRows) -> list[tuple[Any, ...]]:
    chunks = sorted(source.chunks, key=lambda chunk: (chunk.document_id, chunk.chunk_index))
    known = {"{}": {}, '{"a": 1}': {"a": 1}}
    return [
        (c.document_id, c.chunk_index, c.start_char, c.end_char, c.page_content, known[c.metadata], c.token_count)
        for c in chunks
    ]


LOST = (
    "SELECT count(*) FROM chunk_sections s FULL JOIN (SELECT DISTINCT section FROM chunks WHERE section IS NOT NULL) c "
    "USING (section) WHERE s.source_key IS NULL OR c.section IS NULL"
)
TEXTS = st.lists(st.sampled_from([f"text {'x' * n}" for n in range(12)]), max_size=25)
VERSIONS = st.lists(st.tuples(TEXTS, TEXTS, st.sampled_from(["{}", '{"a": 1}'])), min_size=2, max_size=6)


@pytest.mark.slow
@ANY_CONNECTION
@given(versions=VERSIONS)
def test_after_any_edits_every_chunk_stands_where_it_should(
    connection: Connection, versions: list[tuple[list[str], list[str], str]]
) -> None:
    for first, second, metadata in versions:
        source = document(first, metadata)
        # A file of two documents, of which either may be short or long.
        source = replace(source, chunks=[*source.chunks, *document(second, document_id="#2").chunks])
        reload(connection, source, SHORT)
        if scalar(connection, "SELECT to_regclass('document_chunks')::text"):
            assert seen(connection) == expected(source)
        assert scalar(connection, LOST) == 0
        assert reload(connection, source, SHORT).written == 0


@pytest.mark.slow
@ANY_CONNECTION
@given(edits=st.lists(st.tuples(st.sampled_from(["insert", "delete", "replace"]), st.integers(0, 10**6)), max_size=12))
def test_each_edit_of_a_long_document_writes_few_rows(connection: Connection, edits: list[tuple[str, int]]) -> None:
    texts = [f"part {n}" for n in range(100)]
    reload(connection, document(texts), SHORT)
    for turn, (what, number) in enumerate(edits):
        place = number % len(texts)
        texts[place : place + (what != "insert")] = [] if what == "delete" else [f"{what} at {place}, turn {turn}"]
        outcome = reload(connection, document(texts), SHORT)
        assert seen(connection) == expected(document(texts))
        # One out and one in; of the section that it was in, and of one that it is parted from or joined with, some.
        assert outcome.written <= 2 + 2 * MAX


@pytest.mark.parametrize("place", [0, 40], ids=["top", "end"])
def test_an_insertion_at_either_end_writes_one_row_and_says_what_moved(connection: Connection, place: int) -> None:
    texts = [f"part {n}" for n in range(40)]
    reload(connection, document(texts))
    before = dict(connection.execute("SELECT page_content, updated_at FROM document_chunks").fetchall())
    source = document([*texts[:place], "new", *texts[place:]])
    assert reload(connection, source).written == 1
    assert seen(connection) == expected(source)
    after = dict(connection.execute("SELECT page_content, updated_at FROM document_chunks").fetchall())
    assert {text for text in texts if after[text] > before[text]} == set(texts[place:])


def test_a_paragraph_replaced_by_one_as_long_writes_that_row_alone(connection: Connection) -> None:
    texts = [f"part {n:02}" for n in range(60)]
    reload(connection, document(texts))
    before = dict(connection.execute("SELECT page_content, xmin::text FROM chunks").fetchall())
    texts[30] = "text 30"
    assert reload(connection, document(texts)).written == 2
    after = dict(connection.execute("SELECT page_content, xmin::text FROM chunks").fetchall())
    assert {text for text in after if after[text] != before.get(text)} == {"text 30"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM chunks WHERE chunk_index % 7 = 0",
        "DELETE FROM chunks",
        "DELETE FROM chunk_sections",
        "UPDATE chunks SET section = NULL WHERE chunk_index % 7 = 0",
    ],
)
def test_what_somebody_broke_by_hand_the_next_load_brings_back(connection: Connection, damage: str) -> None:
    source = document([f"part {n}" for n in range(60)])
    reload(connection, source, SHORT)
    connection.execute(damage.encode())
    reload(connection, source, SHORT)
    assert seen(connection) == expected(source)
    assert scalar(connection, LOST) == 0


def test_readers_see_one_version_while_two_runs_edit_a_long_file(database: Database) -> None:
    base = [f"part {n}" for n in range(60)]
    versions = [document(base), document(["top", *base]), document([*base[:30], *base[31:]])]
    whole = [[row[1:5] for row in expected(version)] for version in versions]
    failures: list[str] = []
    stop = threading.Event()
    with database.connect() as connection:
        for version in versions:
            reload(connection, version, SHORT)

    def write(seed: int) -> None:
        with database.connect() as own_connection:
            for turn in range(20):
                load_sources(own_connection, "A1", [versions[(seed + turn) % 3]], rules=SHORT)

    def read() -> None:
        with database.connect() as own_connection:
            while not stop.is_set():
                if (found := [row[1:5] for row in seen(own_connection)]) not in whole:
                    failures.append(f"{len(found)} rows, of no version")

    reader = threading.Thread(target=read)
    reader.start()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, range(2)))
    stop.set()
    reader.join()
    assert failures == []


def test_a_deleted_file_leaves_no_section(connection: Connection) -> None:
    reload(connection, document([f"part {n}" for n in range(10)]), SHORT)
    assert scalar(connection, "SELECT count(*) > 1 FROM chunk_sections")
    own(connection, "A2", ["a.txt"], gone=True)
    delete_sources(connection, "A2", [uuid.UUID(bytes=key_of("a.txt"))])
    assert scalar(connection, "SELECT count(*) FROM chunk_sections") == 0


OLD_VIEW = (
    "CREATE VIEW document_chunks AS SELECT c.id, c.source, c.document_id, c.chunk_index, c.start_char, c.end_char, "
    "c.page_content, c.metadata, c.token_count, c.content_hash, e.embedding, c.created_at, c.updated_at FROM "
    "(SELECT content_hash, embedding FROM embeddings_m_4 UNION ALL SELECT content_hash, embedding FROM "
    "embeddings_m_4_landing) e JOIN chunks c USING (content_hash)"
)
PLACES = "SELECT chunk_index, start_char, end_char, page_content FROM document_chunks"


def _migrate_to(database: Database, monkeypatch: pytest.MonkeyPatch, number: int) -> list[int]:
    files = schema._files()
    with monkeypatch.context() as before:
        before.setattr(schema, "_files", lambda: {n: text for n, text in files.items() if n <= number})
        # Repairs read tables of later migrations, which are there in every run.
        before.setattr(schema, "repair", lambda *_: None)
        return schema.migrate(database)


def test_a_database_from_before_is_brought_over_with_its_view(
    fresh_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(fresh_database_url)
    _migrate_to(database, monkeypatch, 6)
    with database.connect() as connection:
        connection.execute("INSERT INTO spaces VALUES ('m_4', 'm', 4, 'vector', 'active')")
        for table in ("embeddings_m_4", "embeddings_m_4_landing"):
            connection.execute(
                f"CREATE TABLE {table} (content_hash uuid PRIMARY KEY, embedding vector(4), "
                "created_at timestamptz NOT NULL DEFAULT now())".encode()
            )
        connection.execute(OLD_VIEW.encode())
        connection.execute("CREATE VIEW somebodys AS SELECT chunk_index FROM document_chunks")
        connection.execute("GRANT SELECT ON document_chunks TO PUBLIC")
        connection.execute(
            "INSERT INTO embeddings_m_4 (content_hash, embedding) VALUES (gen_random_uuid(), '[1,2,3,4]')"
        )
        connection.execute(
            "INSERT INTO chunks (id, source_key, source, document_id, chunk_index, start_char, end_char, page_content, "
            "metadata, token_count, content_hash) SELECT gen_random_uuid(), gen_random_uuid(), 'a.txt', '', 7, 70, 74, "
            "'text', '{}', 1, content_hash FROM embeddings_m_4"
        )
    assert schema.migrate(database)[0] == 7
    with database.connect() as connection:
        assert connection.execute(PLACES).fetchall() == [(7, 70, 74, "text")]
        assert scalar(connection, "SELECT chunk_index FROM somebodys") == 7
        assert scalar(connection, "SELECT has_table_privilege('public', 'document_chunks', 'SELECT')")
        section, source = uuid.UUID(int=1), uuid.UUID(int=2)
        connection.execute(
            "INSERT INTO chunk_sections VALUES (%s, %s, '', %s, 10, 100, 0, 0)", (section, source, section)
        )
        connection.execute("UPDATE chunks SET section = %s", (section,))
        assert connection.execute(PLACES).fetchall() == [(17, 170, 174, "text")]
