"""Connections: what they know, what nobody's settings change, and what is left of them."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import pq, sql
from psycopg.adapt import Dumper, Loader

from vector_pipeline.errors import ConfigurationError, DatabaseError, DatabaseUnavailable
from vector_pipeline.store.connection import Database
from vector_pipeline.store.schema import migrate
from vector_pipeline_tests.support.addresses import as_role
from vector_pipeline_tests.support.corpus import load, scalar

# What a role or a database may be set to, and what a connection of the pipeline's has all the same.
SETTINGS = [
    ("client_encoding", "LATIN1", "UTF8"),
    ("DateStyle", "German, DMY", "ISO, MDY"),
    ("IntervalStyle", "iso_8601", "postgres"),
    ("TimeZone", "Asia/Seoul", "UTC"),
    ("extra_float_digits", "-15", "1"),
    ("bytea_output", "escape", "hex"),
    ("standard_conforming_strings", "off", "on"),
    ("array_nulls", "off", "on"),
    ("default_transaction_isolation", "serializable", "read committed"),
    ("statement_timeout", "30s", "0"),
    ("lock_timeout", "30s", "0"),
    ("idle_in_transaction_session_timeout", "30s", "0"),
    ("idle_session_timeout", "30s", "0"),
    ("transaction_timeout", "30s", "0"),
    ("row_security", "on", "off"),
    ("search_path", "pg_temp, elsewhere", "public, pg_temp"),
    # As replica no trigger counts rows and files.
    ("session_replication_role", "replica", "origin"),
]


def _set(url: str, of: str, name: str, value: str) -> None:
    with psycopg.connect(url, autocommit=True) as admin:
        what = sql.SQL(of).format(sql.Identifier(admin.info.dbname))
        path = name == "search_path"
        admin.execute(
            sql.SQL("ALTER {} SET {} = {}").format(
                what, sql.Identifier(name), sql.SQL(value) if path else sql.Literal(value)
            )
        )


@pytest.mark.parametrize("of", ["DATABASE {}", "ROLE CURRENT_USER IN DATABASE {}"])
def test_what_a_database_or_a_role_is_set_to_changes_nothing(fresh_database_url: str, of: str) -> None:
    for name, value, _ in SETTINGS:
        _set(fresh_database_url, of, name, value)
    with Database(fresh_database_url).connect() as connection:
        for name, _, expected in SETTINGS:
            assert scalar(connection, f"SHOW {name}") == expected, name


def test_variables_of_libpq_change_nothing_of_what_is_stored(
    fresh_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    monkeypatch.setenv("PGDATESTYLE", "German")
    database = Database(fresh_database_url)
    migrate(database)
    with database.connect() as connection:
        load(connection, "A1", {"a.txt": ["도서관은 아홉 시에 엽니다. 🍞"]})
        stored = scalar(connection, "SELECT convert_to(page_content, 'UTF8') FROM document_chunks")
    assert stored == "도서관은 아홉 시에 엽니다. 🍞".encode()


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "EUC_KR"])
def test_a_database_of_another_encoding_is_refused(fresh_database_url: str, encoding: str) -> None:
    with psycopg.connect(fresh_database_url, autocommit=True) as admin:
        name = f"{admin.info.dbname}_other"
        admin.execute(
            sql.SQL("CREATE DATABASE {} ENCODING {} TEMPLATE template0 LOCALE_PROVIDER libc LOCALE 'C'").format(
                sql.Identifier(name), sql.Literal(encoding)
            )
        )
        try:
            other = fresh_database_url.replace(admin.info.dbname, name)
            with pytest.raises(ConfigurationError, match=f"is in the encoding {encoding}"):
                migrate(Database(other))
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def test_variables_of_libpq_do_not_reach_the_embedded_server(
    fresh_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_parameter = [option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar]
    with monkeypatch.context() as patched:
        for name in (*by_parameter, "PGTZ", "PGDATESTYLE", "PGGEQO", "PGSERVICEFILE", "PGSYSCONFDIR"):
            patched.setenv(name, "nonsense")
        with Database(fresh_database_url, embedded=True).connect() as connection:
            assert scalar(connection, "SELECT current_user") == connection.info.user


@pytest.mark.slow
def test_a_session_that_says_nothing_is_not_ended(fresh_database_url: str) -> None:
    _set(fresh_database_url, "DATABASE {}", "idle_session_timeout", "200ms")
    with Database(fresh_database_url).connect() as connection:
        time.sleep(0.5)
        assert scalar(connection, "SELECT 1") == 1


@pytest.fixture
def reader(database: Database) -> Database:
    """A role that may read, and nothing else."""
    role = f"reader_{database.url.split('/test_')[1][:12]}"
    with psycopg.connect(database.url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'r'").format(sql.Identifier(role)))
        admin.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}").format(sql.Identifier(role)))
    return Database(as_role(database.url, role, "r"))


def _delete(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("DELETE FROM source_files")


def _be_ended(database: Database) -> None:
    with database.connect() as connection, database.connect() as other:
        other.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
        connection.execute("SELECT 1")


def test_what_postgres_reports_becomes_one_line_where_nobody_handles_it(database: Database, reader: Database) -> None:
    with pytest.raises(DatabaseError, match=r"permission denied for table source_files; let the owner grant"):
        _delete(reader)
    _set(database.url, "DATABASE {}", "default_transaction_read_only", "on")
    with pytest.raises(DatabaseUnavailable, match="read-only transaction; it only reads: name the primary"):
        _delete(database)
    with pytest.raises(DatabaseUnavailable, match="terminating connection due to administrator command"):
        _be_ended(database)


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


def test_a_reached_limit_of_connections_is_named_and_may_pass(database: Database, reader: Database) -> None:
    role = urlsplit(reader.url).username
    assert role is not None
    with database.connect() as admin:
        admin.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT 0").format(sql.Identifier(role)))
    with pytest.raises(DatabaseUnavailable, match=r"too many connections.*; close some connections, or raise the limit"):
        reader.connect()
