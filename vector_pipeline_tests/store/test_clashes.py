"""An application that shares the schema: what is its own stays, and one line names it."""

from __future__ import annotations

import re

import psycopg
import pytest

from vector_pipeline.errors import DatabaseError
from vector_pipeline.store import schema
from vector_pipeline.store.clashes import created_names
from vector_pipeline.store.connection import Database
from vector_pipeline.store.spaces import open_space
from vector_pipeline_tests.support.corpus import load, scalar

pytestmark = pytest.mark.slow

OBJECTS = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v') ORDER BY 1"


@pytest.mark.parametrize(
    ("made", "kind", "name"),
    [
        ("CREATE TABLE chunks (id integer)", "a table", "chunks"),
        ("CREATE TABLE spaces (id integer)", "a table", "spaces"),
        ("CREATE TABLE scans (id integer)", "a table", "scans"),
        ("CREATE TABLE roots (id integer)", "a table", "roots"),
        ("CREATE TABLE document_chunks (id integer)", "a table", "document_chunks"),
        ("CREATE VIEW document_chunks AS SELECT 42 AS answer", "a view", "document_chunks"),
        ("CREATE VIEW placed_chunks AS SELECT 42 AS answer", "a view", "placed_chunks"),
        ("CREATE MATERIALIZED VIEW chunks AS SELECT 1", "a materialized view", "chunks"),
        ("CREATE SEQUENCE arrivals", "a sequence", "arrivals"),
        ("CREATE TABLE t (a integer); CREATE INDEX chunks ON t (a)", "an index", "chunks"),
        ("CREATE TYPE source_files AS (a integer)", "a type", "source_files"),
        ("CREATE TYPE source_files AS ENUM ('new')", "a type", "source_files"),
        ("CREATE DOMAIN spaces AS integer", "a type", "spaces"),
        ("CREATE FUNCTION search_chunks(text) RETURNS text LANGUAGE sql AS 'SELECT $1'", "a function", "search_chunks"),
        ("CREATE FUNCTION count_files() RETURNS integer LANGUAGE sql AS 'SELECT 1'", "a function", "count_files"),
    ],
)
def test_what_an_application_made_is_named_in_one_line_and_stays(
    fresh_database_url: str, made: str, kind: str, name: str
) -> None:
    with psycopg.connect(fresh_database_url, autocommit=True) as application:
        application.execute(made.encode())
        before = application.execute(OBJECTS).fetchall()
        with pytest.raises(DatabaseError) as refused:
            schema.migrate(Database(fresh_database_url))
        assert "schema 'public' of postgresql://" in str(refused.value)
        assert f"already has {kind} '{name}' that is not the pipeline's: set VECTOR_PIPELINE_S" in str(refused.value)
        assert "\n" not in str(refused.value)
        assert application.execute(OBJECTS).fetchall() == before  # nothing of ours was left behind
    (advised,) = re.findall(r"such as (\w+),", str(refused.value))
    apart = Database(fresh_database_url, advised)
    assert schema.migrate(apart)
    with apart.connect() as connection:
        assert load(connection, "A1", {"a.txt": ["text"]}).rows == 1


def test_what_has_another_name_does_not_matter(fresh_database_url: str) -> None:
    with psycopg.connect(fresh_database_url, autocommit=True) as application:
        application.execute(
            "CREATE TABLE documents (id integer); CREATE SEQUENCE chunks_id_seq; CREATE TYPE _chunks AS ENUM ('a'); "
            "CREATE FUNCTION chunks(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1'"
        )
    assert schema.migrate(Database(fresh_database_url))


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        ("CREATE VIEW document_chunks AS SELECT 42 AS answer", "view"),
        ("CREATE TABLE document_chunks AS SELECT 42 AS answer", "table"),
        ("CREATE TYPE document_chunks AS ENUM ('a')", "type"),
    ],
)
def test_a_view_that_came_after_the_tables_is_not_replaced(database: Database, made: str, kind: str) -> None:
    """The pipeline's own view is created with the first space, which may be long after its tables."""
    with database.connect() as connection:
        connection.execute(made.encode())
        with pytest.raises(DatabaseError, match=rf"already has a {kind} 'document_chunks' .* rename it"):
            open_space(connection, "a-model", 8)
        if kind != "type":
            assert scalar(connection, "SELECT answer FROM document_chunks") == 42
        connection.execute(f"DROP {kind.upper()} document_chunks".encode())
        assert open_space(connection, "a-model", 8).state == "active"


def test_an_upgrade_refuses_what_stands_where_its_new_tables_go(database: Database) -> None:
    with database.connect() as connection:
        connection.execute(
            "DROP TABLE text_context; DROP TABLE roots; DELETE FROM vector_pipeline_migrations WHERE number IN (18, 21)"
        )
        connection.execute("CREATE TABLE roots (id integer)")
        with pytest.raises(DatabaseError, match="already has a table 'roots'"):
            schema.migrate(database)
        connection.execute("DROP TABLE roots")
        # As an earlier form of the migration may have made it.
        connection.execute("CREATE TABLE roots (root_key uuid PRIMARY KEY, root text NOT NULL, location text NOT NULL)")
    assert 21 in schema.migrate(database)


def test_every_object_that_migrations_create_is_looked_for(database: Database) -> None:
    files = list(schema._files().values())
    relations, functions = created_names(files, "TABLE", "VIEW"), created_names(files, "FUNCTION")
    with database.connect() as connection:
        made = {name for (name,) in connection.execute(OBJECTS).fetchall()} - {"vector_pipeline_migrations"}
        query = (
            "SELECT proname FROM pg_proc p WHERE pronamespace = 'public'::regnamespace AND NOT EXISTS "
            "(SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')"
        )
        called = {name for (name,) in connection.execute(query).fetchall()}
    dropped = {name for file in files for name in re.findall(r"DROP FUNCTION \{schema\}\.(\w+)", file)}
    assert made <= relations
    assert called == functions - (dropped - called)


def test_tables_without_their_migrations_are_no_clash_and_the_advice_helps(fresh_database_url: str) -> None:
    database = Database(fresh_database_url)
    schema.migrate(database)
    with database.connect() as connection:
        load(connection, "A1", {"a.txt": ["text"]})
    with psycopg.connect(fresh_database_url, autocommit=True) as person:
        person.execute("DROP TABLE vector_pipeline_migrations")
        with pytest.raises(
            DatabaseError, match="has the pipeline's tables, but not vector_pipeline_migrations"
        ) as refused:
            schema.migrate(database)
        (advised,) = re.findall(r"`(CREATE TABLE .*)`", str(refused.value))
        person.execute(advised.encode())
    assert schema.migrate(database) == []
    with database.connect() as connection:
        assert scalar(connection, "SELECT count(*) FROM document_chunks") == 1
