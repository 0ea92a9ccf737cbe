"""What people drop, replace or disable in the schema is made again by the next run, or a line names it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from vector_pipeline.errors import DatabaseError
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.index import maintain_index
from vector_pipeline.store.schema import migrate
from vector_pipeline.store.space import active_space
from vector_pipeline_tests.support.addresses import as_role
from vector_pipeline_tests.support.corpus import load, scalar, vectors_of

TEXTS: dict[str, Sequence[str]] = {"a.txt": ["one note", "and another"], "b.txt": ["a third"]}
SCHEMA = "garden notes"


@pytest.fixture
def notes(fresh_database_url: str) -> Iterator[Database]:
    """A schema with rows, of a role that is no superuser: a REVOKE takes something from it."""
    with psycopg.connect(fresh_database_url, autocommit=True) as server:
        name = f"owner_{server.info.dbname[-12:]}"
        role = sql.Identifier(name)
        server.execute("CREATE EXTENSION vector SCHEMA public")
        server.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'owner-1'").format(role))
        server.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(sql.Identifier(server.info.dbname), role))
        database = Database(as_role(fresh_database_url, name, "owner-1"), SCHEMA)
        migrate(database)
        with database.connect() as connection:
            load(connection, "A1", TEXTS)
        yield database
        server.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(role))
        server.execute(sql.SQL("DROP ROLE {}").format(role))


def _state(connection: Connection) -> dict[str, object]:
    """What a person sees: rows of the view, results of both functions, figures, and definitions from the catalog."""
    query = str(vectors_of(["one note"])[0].tolist())
    return {
        "view": scalar(connection, "SELECT count(embedding) FROM document_chunks"),
        "by vector": connection.execute("SELECT page_content FROM search_chunks(%s::vector, 5)", (query,)).fetchall(),
        "by both": connection.execute("SELECT source FROM search_chunks('note', %s::vector, 5)", (query,)).fetchall(),
        "chunks": scalar(connection, "SELECT sum(rows) FROM row_counts WHERE relation = 'chunks'"),
        "files": connection.execute(
            "SELECT status, sum(files) FROM file_counts GROUP BY 1 HAVING sum(files) > 0 ORDER BY 1"
        ).fetchall(),
        "functions": connection.execute(
            "SELECT proname, md5(prosrc), proconfig FROM pg_proc "
            "WHERE pronamespace = quote_ident(current_schema())::regnamespace ORDER BY 1, 2"
        ).fetchall(),
        "triggers": connection.execute(
            "SELECT tgname, tgenabled FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid WHERE NOT tgisinternal AND "
            "relnamespace = quote_ident(current_schema())::regnamespace ORDER BY 1"
        ).fetchall(),
        "indexes": connection.execute(
            "SELECT pg_get_indexdef(c.oid), indisvalid FROM pg_class c JOIN pg_index ON indexrelid = c.oid "
            "WHERE relnamespace = quote_ident(current_schema())::regnamespace ORDER BY 1"
        ).fetchall(),
        "views": connection.execute(
            "SELECT viewname, definition FROM pg_views WHERE schemaname = current_schema() ORDER BY 1"
        ).fetchall(),
    }


TAMPERED = {
    "view dropped": "DROP VIEW document_chunks",
    "view replaced": """DO $$ BEGIN EXECUTE 'CREATE OR REPLACE VIEW document_chunks AS ' ||
        rtrim(pg_get_viewdef('document_chunks'::regclass), ';') || ' WHERE false'; END $$""",
    "lower view dropped": "DROP VIEW placed_chunks CASCADE",
    "lower view replaced": """DO $$ BEGIN EXECUTE 'CREATE OR REPLACE VIEW placed_chunks AS ' ||
        rtrim(pg_get_viewdef('placed_chunks'::regclass), ';') || ' WHERE false'; END $$""",
    "search by vector dropped": "DROP FUNCTION search_chunks(vector, integer)",
    "search by both dropped": "DROP FUNCTION search_chunks(text, vector, integer, text, text, jsonb)",
    "search without its settings": "ALTER FUNCTION search_chunks(vector, integer) RESET ALL",
    "words dropped": "DROP FUNCTION lexical_shares(text[], integer, uuid[])",
    "words replaced": """CREATE OR REPLACE FUNCTION lexical_terms(query text) RETURNS text[] LANGUAGE sql
        AS 'SELECT ARRAY[]::text[]'""",
    "counting dropped": "DROP FUNCTION count_files() CASCADE; DELETE FROM chunks WHERE source = 'b.txt'; "
    "UPDATE source_files SET status = 'deleted' WHERE path = 'b.txt'",
    "counting of chunks dropped": "DROP FUNCTION count_deleted_chunks() CASCADE",
    "trigger dropped": "DROP TRIGGER files_updated ON source_files",
    "triggers disabled": "ALTER TABLE source_files DISABLE TRIGGER USER; ALTER TABLE chunks DISABLE TRIGGER USER",
    "index dropped": "DROP INDEX chunks_content_hash",
    "unique index dropped": "DROP INDEX spaces_one_active",
    "key of chunks dropped": "ALTER TABLE chunks DROP CONSTRAINT chunks_pkey",
    "key of vectors dropped": """DO $$ DECLARE t text := 'embeddings_' || (SELECT name FROM spaces) || '_landing';
        BEGIN EXECUTE format('ALTER TABLE %I DROP CONSTRAINT %I', t, t || '_pkey'); END $$""",
    "rights to the view": "REVOKE ALL ON document_chunks FROM CURRENT_USER",
    "rights to the tables": "REVOKE ALL ON chunks, source_files, spaces, inspections FROM CURRENT_USER",
    "rights to the functions": 'REVOKE ALL ON ALL FUNCTIONS IN SCHEMA "garden notes" FROM PUBLIC, CURRENT_USER',
}


@pytest.mark.parametrize("name", TAMPERED)
def test_what_was_dropped_replaced_or_disabled_is_made_again(notes: Database, name: str) -> None:
    with notes.connect() as connection:
        before = _state(connection)
        connection.execute(TAMPERED[name].encode())
        if name == "counting dropped":
            # What happened meanwhile is counted, too.
            before |= {"view": 2, "chunks": 2, "files": [("deleted", 1), ("loaded", 1)]}
            before |= {"by vector": before["by vector"][:2], "by both": before["by both"][:2]}  # type: ignore[index]
    migrate(notes)
    with notes.connect() as connection:
        assert _state(connection) == before
        noted = connection.execute("SELECT xmin FROM inspections").fetchall()
    migrate(notes)
    with notes.connect() as connection:
        assert connection.execute("SELECT xmin FROM inspections").fetchall() == noted, "made again once"


LOST = {
    "DROP TABLE lexical_landing CASCADE": "lacks the table lexical_landing",
    "DROP TABLE row_counts, inspections": "lacks the tables row_counts, inspections",
    "DO $$ BEGIN EXECUTE format('DROP TABLE %I CASCADE', 'embeddings_' || (SELECT name FROM spaces)); END $$": (
        "lacks the vectors of the space test_model_16"
    ),
}


@pytest.mark.parametrize("statement", LOST)
def test_what_cannot_be_made_again_is_named(notes: Database, statement: str) -> None:
    with notes.connect() as connection:
        connection.execute(statement.encode())
    with pytest.raises(DatabaseError, match=rf"{LOST[statement]}, dropped .* restore .* or begin anew") as refused:
        migrate(notes)
    advice = str(refused.value).split("`")[1]
    with psycopg.connect(notes.url, autocommit=True) as connection:
        connection.execute(advice.encode())
    assert migrate(notes)


def test_vectors_that_went_with_the_extension_are_named(database: Database, connection: Connection) -> None:
    load(connection, "A1", TEXTS)
    connection.execute("DROP EXTENSION vector CASCADE")
    with pytest.raises(DatabaseError, match="lacks the vectors of the space test_model_16, dropped"):
        migrate(database)


def test_a_view_of_other_columns_is_named_and_made_again_once_it_is_dropped(notes: Database) -> None:
    with notes.connect() as connection:
        before = _state(connection)
        connection.execute("DROP VIEW placed_chunks CASCADE")
        connection.execute("CREATE VIEW placed_chunks AS SELECT 1 AS one FROM chunks")
    with pytest.raises(DatabaseError, match=r"view placed_chunks .* other columns") as refused:
        migrate(notes)
    with notes.connect() as connection:
        connection.execute(str(refused.value).split("`")[1].encode())
    migrate(notes)
    with notes.connect() as connection:
        assert _state(connection) == before


def test_rows_in_the_way_of_a_key_are_named(notes: Database) -> None:
    with notes.connect() as connection:
        connection.execute("ALTER TABLE chunks DROP CONSTRAINT chunks_pkey")
        connection.execute("INSERT INTO chunks SELECT * FROM chunks LIMIT 1")
    with pytest.raises(DatabaseError, match=r"primary key of chunks .* cannot be made again .* is duplicated"):
        migrate(notes)


def test_a_schema_that_was_renamed_is_no_new_one_and_works_under_its_new_name(notes: Database) -> None:
    with notes.connect() as connection:
        before = _state(connection)
        connection.execute('ALTER SCHEMA "garden notes" RENAME TO meadow')
    with pytest.raises(DatabaseError, match=r"no schema 'garden notes' .* set VECTOR_PIPELINE_SCHEMA=meadow"):
        migrate(notes)
    renamed = replace(notes, schema="meadow")
    migrate(renamed)
    with renamed.connect() as connection:
        after = _state(connection)
    assert {part: after[part] for part in ("view", "by vector", "by both")} == {
        part: before[part] for part in ("view", "by vector", "by both")
    }
    with psycopg.connect(notes.url, autocommit=True) as anew:
        anew.execute('CREATE SCHEMA "garden notes"')
    assert migrate(notes)


def test_a_role_that_may_only_read_changes_nothing_and_is_not_stopped(notes: Database, fresh_database_url: str) -> None:
    with psycopg.connect(fresh_database_url, autocommit=True) as server:
        name = f"reader_{server.info.dbname[-12:]}"
        role = sql.Identifier(name)
        server.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'reader-1'").format(role))
        server.execute(sql.SQL('GRANT USAGE ON SCHEMA "garden notes", vector_pipeline_shared TO {}').format(role))
        server.execute(sql.SQL('GRANT SELECT ON ALL TABLES IN SCHEMA "garden notes" TO {}').format(role))
        server.execute('DROP FUNCTION "garden notes".search_chunks(vector, integer)')
        try:
            assert migrate(replace(notes, url=as_role(fresh_database_url, name, "reader-1"))) == []
        finally:
            server.execute(sql.SQL("DROP OWNED BY {}").format(role))
            server.execute(sql.SQL("DROP ROLE {}").format(role))


def test_what_the_pipeline_changes_itself_is_not_made_again(notes: Database) -> None:
    """A build of the index puts another table under the view."""
    maintain_index(notes, worth=1)
    with notes.connect() as connection:
        assert active_space(connection) is not None
        noted = connection.execute("SELECT xmin FROM inspections").fetchall()
    migrate(notes)
    with notes.connect() as connection:
        assert connection.execute("SELECT xmin FROM inspections").fetchall() == noted
