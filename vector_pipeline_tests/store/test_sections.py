"""Chunks of long documents stand in sections: what readers see is as if each row held its own place."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vector_pipeline.store import schema, sections
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.rows import delete_sources
from vector_pipeline_tests.store.corpus import key_of, load, own, scalar


@pytest.fixture
def short_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "ROWS_IN_SECTION", 3)


def seen(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT chunk_index, start_char, end_char, page_content FROM document_chunks ORDER BY chunk_index"
    ).fetchall()


def expected(texts: list[str]) -> list[tuple[Any, ...]]:
    """As tests.store.corpus.rows_of places them."""
    return [(i, i * 10, i * 10 + len(text), text) for i, text in enumerate(texts)]


EMPTY_SECTIONS = (
    "SELECT count(*) FROM chunk_sections s WHERE NOT EXISTS (SELECT FROM chunks c WHERE c.section = s.section)"
)
VERSIONS = st.lists(st.lists(st.sampled_from([f"text {n}" for n in range(12)]), max_size=25), min_size=2, max_size=6)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(versions=VERSIONS)
def test_after_any_edits_every_chunk_stands_where_it_should(
    connection: Connection, short_sections: None, versions: list[list[str]]
) -> None:
    for version in versions:
        load(connection, "A1", {"a.txt": version})
        if scalar(connection, "SELECT to_regclass('document_chunks')::text"):
            assert seen(connection) == expected(version)
        assert scalar(connection, EMPTY_SECTIONS) == 0


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.sampled_from(["insert", "delete", "replace"]), st.integers(0, 10**6)), max_size=12))
def test_each_edit_of_a_long_document_writes_few_rows(
    connection: Connection, short_sections: None, edits: list[tuple[str, int]]
) -> None:
    texts = [f"part {n} of {uuid.uuid4()}" for n in range(60)]
    load(connection, "A1", {"a.txt": texts})
    for what, number in edits:
        place = number % len(texts)
        texts[place : place + (what != "insert")] = [] if what == "delete" else [f"new {uuid.uuid4()}"]
        outcome = load(connection, "A1", {"a.txt": texts})
        assert seen(connection) == expected(texts)
        # Out and in, one section, and those that earlier edits left without one: less than a section's number.
        assert outcome.written <= 2 + 3 + 3


def test_an_insertion_at_the_top_moves_places_and_says_when(connection: Connection, short_sections: None) -> None:
    texts = [f"part {n}" for n in range(40)]
    load(connection, "A1", {"a.txt": texts})
    before = dict(connection.execute("SELECT page_content, updated_at FROM document_chunks").fetchall())
    assert load(connection, "A1", {"a.txt": ["top", *texts]}).written == 1
    after = dict(connection.execute("SELECT page_content, updated_at FROM document_chunks").fetchall())
    assert all(after[text] > before[text] for text in texts)


def test_a_deleted_file_leaves_no_section(connection: Connection, short_sections: None) -> None:
    load(connection, "A1", {"a.txt": [f"part {n}" for n in range(10)]})
    assert scalar(connection, "SELECT count(*) FROM chunk_sections") == 4
    own(connection, "A2", ["a.txt"], gone=True)
    delete_sources(connection, "A2", [uuid.UUID(bytes=key_of("a.txt"))])
    assert scalar(connection, "SELECT count(*) FROM chunk_sections") == 0


OLD_VIEW = (
    "CREATE VIEW document_chunks AS SELECT c.id, c.source, c.document_id, c.chunk_index, c.start_char, c.end_char, "
    "c.page_content, c.metadata, c.token_count, c.content_hash, e.embedding, c.created_at, c.updated_at FROM "
    "(SELECT content_hash, embedding FROM embeddings_m_4 UNION ALL SELECT content_hash, embedding FROM "
    "embeddings_m_4_landing) e JOIN chunks c USING (content_hash)"
)


def test_a_database_from_before_is_brought_over_with_its_view(
    fresh_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(fresh_database_url)
    files = schema._files()
    with monkeypatch.context() as before:
        before.setattr(schema, "_files", lambda: {n: text for n, text in files.items() if n < 7})
        schema.migrate(database)
    with database.connect() as connection:
        connection.execute("INSERT INTO spaces VALUES ('m_4', 'm', 4, 'vector', 'active')")
        for table in ("embeddings_m_4", "embeddings_m_4_landing"):
            connection.execute(f"CREATE TABLE {table} (content_hash uuid PRIMARY KEY, embedding vector(4))".encode())
        connection.execute(OLD_VIEW.encode())
        connection.execute("CREATE VIEW somebodys AS SELECT chunk_index FROM document_chunks")
        connection.execute("GRANT SELECT ON document_chunks TO PUBLIC")
        connection.execute("INSERT INTO embeddings_m_4 VALUES (gen_random_uuid(), '[1,2,3,4]')")
        connection.execute(
            "INSERT INTO chunks (id, source_key, source, document_id, chunk_index, start_char, end_char, page_content, "
            "metadata, token_count, content_hash) SELECT gen_random_uuid(), gen_random_uuid(), 'a.txt', '', 7, 70, 74, "
            "'text', '{}', 1, content_hash FROM embeddings_m_4"
        )
    assert schema.migrate(database) == [7]
    with database.connect() as connection:
        assert seen(connection) == [(7, 70, 74, "text")]
        assert scalar(connection, "SELECT chunk_index FROM somebodys") == 7
        assert scalar(connection, "SELECT has_table_privilege('public', 'document_chunks', 'SELECT')")
        connection.execute("INSERT INTO chunk_sections VALUES (%s, %s, 10, 100)", (uuid.UUID(int=1), uuid.UUID(int=2)))
        connection.execute("UPDATE chunks SET section = %s", (uuid.UUID(int=1),))
        assert seen(connection) == [(17, 170, 174, "text")]
