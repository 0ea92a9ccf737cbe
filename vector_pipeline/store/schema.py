"""Migrations of the pipeline's tables: numbered SQL files that are applied once each, in order, under a lock.

Placeholders in the files: {schema} is the pipeline's schema, {shared} the schema that pipelines share, and {vector} that
of pgvector's types. All are quoted. A dump of the pipeline's schema does not contain the shared tables. They are created
again from the files that name {shared} but not {schema}, whose statements can all be repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources

import psycopg
from psycopg import sql

from vector_pipeline.errors import DatabaseError
from vector_pipeline.store.clashes import refuse_clashes, refuse_tables_of_others, refuse_unnumbered
from vector_pipeline.store.connection import SHARED_SCHEMA, Connection, Database
from vector_pipeline.store.locks import lock_migrations
from vector_pipeline.store.pooling import refuse_transaction_pooling
from vector_pipeline.store.refusals import REFUSALS, refusal
from vector_pipeline.store.repairs import repair
from vector_pipeline.store.space import CANDIDATES_TRIED, Space
from vector_pipeline.store.view import has_view, let_readers_read, replace_view

# pgvector before this version could corrupt an HNSW index in VACUUM; iterative scans and halfvec are older.
# https://github.com/pgvector/pgvector/blob/master/CHANGELOG.md
OLDEST_PGVECTOR = (0, 8)

# Settings for plain SQL searches. HNSW stops after `ef_search` candidates, even if a filter or a join drops many of
# them, unless its scans are iterative. With pgvector's default of 40 its recall@10 is 0.957 at 1,536 dimensions and
# 20,000 rows; with the 100 that `search` begins with it is 0.990.
SEARCH_SETTINGS = {"hnsw.iterative_scan": "relaxed_order", "hnsw.ef_search": str(CANDIDATES_TRIED[0])}

# The form of the shared tables, and of what is kept in them, that this package knows. A migration that changes it adds a
# row to {shared}.versions: the new number, and the oldest that can work with it.
SHARED_VERSION = 1


@dataclass(frozen=True, slots=True)
class _Standing:
    """The present state of the database."""

    applied: frozenset[int]
    shared_complete: bool
    settings_lacking: tuple[str, ...]


def migrate(database: Database) -> list[int]:
    """Migrate the schema; returns the numbers of the files that were applied.

    It also restores what a dump of the schema does not contain: the shared tables, the role's settings, and the rights
    of the view's readers.
    Raises DatabaseError if pgvector is missing or too old, if this role may not create what is needed, or if the schema
    or the shared tables were made by a newer version of this package; ConfigurationError if a proxy mixes sessions.
    """
    with database.connect(role="schema") as connection:
        refuse_transaction_pooling(database, connection)
        files = _files()
        refuse_tables_of_others(connection, database, files.values())
        standing = _standing(connection, database, files)
        applied: list[int] = []
        if standing.applied != set(files) or not standing.shared_complete:
            try:
                applied = _apply(connection, database, files)
            except REFUSALS as error:
                raise refusal(connection, database, error) from error
        _check_shared_version(connection)
        ordered = [files[number] for number in sorted(files)]
        repair(connection, database, ordered, lambda: _seen_space(connection))
        _keep_in_order(connection, standing.settings_lacking)
        return applied


def _keep_in_order(connection: Connection, settings_lacking: Iterable[str]) -> None:
    """Restore what a dump does not contain or what may have been changed, if this role may do that."""
    _set_up_searches(connection, settings_lacking)
    with suppress(psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction), connection.transaction():
        space = _seen_space(connection)
        if space is not None and has_view(connection):
            let_readers_read(connection, space)


_STANDING = """
SELECT pg_catalog.to_regclass(%(migrations)s) IS NOT NULL,
    (SELECT pg_catalog.count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = %(shared)s AND c.relname = ANY(%(tables)s::text[])) = %(expected)s::bigint,
    ARRAY(
        SELECT pg_catalog.unnest(s.setconfig) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
        WHERE d.datname = pg_catalog.current_database()
        AND s.setrole IN (0::oid, (SELECT oid FROM pg_roles WHERE rolname = current_user))
    )
"""


def _standing(connection: Connection, database: Database, files: dict[int, str]) -> _Standing:
    table = sql.Identifier(database.schema, "vector_pipeline_migrations")
    tables = set(_shared_tables(files.values()))
    row = connection.execute(
        _STANDING,
        {
            "migrations": table.as_string(connection),
            "shared": SHARED_SCHEMA,
            "tables": list(tables),
            "expected": len(tables),
        },
    ).fetchone()
    assert row is not None
    exists, shared_complete, settings = row
    applied = connection.execute(sql.SQL("SELECT number FROM {}").format(table)).fetchall() if exists else []
    lacking = SEARCH_SETTINGS.keys() - {setting.partition("=")[0] for setting in settings}
    return _Standing(frozenset(number for (number,) in applied), shared_complete, tuple(sorted(lacking)))


def _set_up_searches(connection: Connection, lacking: Iterable[str]) -> None:
    """Let this role's plain `ORDER BY embedding <=> $1 LIMIT k` find the nearest k, if that may be set.

    Other values that a person has set are kept. Roles without these settings can call the function search_chunks.
    """
    for name in lacking:
        # Another process may be setting it at this moment, and a standby does not accept it.
        with suppress(
            psycopg.errors.InsufficientPrivilege,
            psycopg.errors.InternalError_,
            psycopg.errors.UniqueViolation,
            psycopg.errors.ReadOnlySqlTransaction,
        ):
            # The cast loads pgvector, which defines the names of the settings.
            loaded = sql.SQL("SELECT pg_catalog.current_database(), '[1]'::{}")
            row = connection.execute(loaded.format(sql.Identifier(connection.pgvector, "vector"))).fetchone()
            assert row is not None
            connection.execute(
                sql.SQL("ALTER ROLE CURRENT_USER IN DATABASE {} SET {} = {}").format(
                    sql.Identifier(row[0]), sql.Identifier(*name.split(".")), sql.Literal(SEARCH_SETTINGS[name])
                )
            )


def _files() -> dict[int, str]:
    folder = resources.files("vector_pipeline.store") / "migrations"
    return {int(f.name[:3]): f.read_text("utf-8") for f in folder.iterdir() if f.name.endswith(".sql")}


def _apply(connection: Connection, database: Database, files: dict[int, str]) -> list[int]:
    # One lock for the database, not for the schema: pgvector and the shared schema are common to all pipelines.
    with connection.transaction():
        lock_migrations(connection)
        vector = _ensure_pgvector(connection, database)
        database.find_pgvector(connection)
        for name in (database.schema, SHARED_SCHEMA):
            exists = connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", (name,)).fetchone()
            if exists is None:
                _refuse_renamed(connection, database, name)
                connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        table = sql.Identifier(database.schema, "vector_pipeline_migrations")
        connection.execute(
            sql.SQL(
                "CREATE TABLE IF NOT EXISTS {} (number integer PRIMARY KEY, "
                "applied_at timestamptz DEFAULT pg_catalog.now())"
            ).format(table)
        )
        # Checked again under the lock.
        standing = _standing(connection, database, files)
        if standing.applied - set(files):
            raise DatabaseError(
                f"schema '{database.schema}' of {database.safe_url} was made by a newer version of vector-pipeline; "
                "upgrade the package"
            )
        if not standing.applied:
            refuse_unnumbered(connection, database, max(files))
        fresh = sorted(set(files) - standing.applied)
        refuse_clashes(connection, database, [files[n] for n in fresh], [files[n] for n in standing.applied])
        again = [] if standing.shared_complete else [n for n in sorted(standing.applied) if _is_shared(files[n])]
        _run(connection, database, vector, [files[number] for number in sorted([*fresh, *again])])
        for number in fresh:
            # Without parameters, because a % in a schema's name would be read as one.
            connection.execute(sql.SQL("INSERT INTO {} (number) VALUES ({})").format(table, sql.Literal(number)))
        space = _seen_space(connection) if fresh else None
        if space is not None:
            replace_view(connection, space)
        return fresh


def _refuse_renamed(connection: Connection, database: Database, schema: str) -> None:
    """Raise DatabaseError if a schema to create exists under another name. Its functions still have the old one."""
    row = connection.execute(
        "SELECT n.nspname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
        "WHERE p.proname = 'search_chunks' AND pg_catalog.strpos(p.prosrc, %s) > 0 AND EXISTS ("
        "SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'vector_pipeline_migrations') LIMIT 1",
        (f"{sql.Identifier(schema).as_string(connection)}.document_chunks",),
    ).fetchone()
    if row is not None:
        raise DatabaseError(
            f"there is no schema '{schema}' in {database.safe_url}, but '{row[0]}' was it before it was renamed: set "
            f'VECTOR_PIPELINE_SCHEMA={row[0]}, or rename it back; to begin anew, run `CREATE SCHEMA "{schema}"`'
        )


def _seen_space(connection: Connection) -> Space | None:
    """The space that the view shows, by the columns that every version of the table has."""
    row = connection.execute(
        "SELECT name, model, dimensions, element_type, state, "
        "coalesce(pg_catalog.to_jsonb(s) ->> 'index_type', element_type) FROM spaces s WHERE state = 'active'"
    ).fetchone()
    if row is None:
        return None
    name, model, dimensions, element_type, state, index_type = row
    return Space(name, model, dimensions, element_type, state, index_type=index_type)


def _is_shared(file: str) -> bool:
    """Whether a file concerns only shared tables and can be run again."""
    return "{shared}" in file and "{schema}" not in file


def _shared_tables(files: Iterable[str]) -> list[str]:
    return [table for file in files for table in re.findall(r"CREATE TABLE IF NOT EXISTS \{shared\}\.(\w+)", file)]


def _run(connection: Connection, database: Database, vector: str, files: Iterable[str]) -> None:
    """Run files with only Postgres's own functions in the search_path, because they name every schema."""
    path = connection.execute("SHOW search_path").fetchone()
    assert path is not None
    connection.execute("SET LOCAL search_path = pg_catalog, pg_temp")
    for file in files:
        connection.execute(
            sql.SQL(file).format(
                schema=sql.Identifier(database.schema),
                shared=sql.Identifier(SHARED_SCHEMA),
                vector=sql.Identifier(vector),
            )
        )
    connection.execute("SELECT pg_catalog.set_config('search_path', %s, true)", path)


def _check_shared_version(connection: Connection) -> None:
    """Raise DatabaseError if a newer package of another pipeline keeps shared data that this one would misread."""
    versions = sql.Identifier(SHARED_SCHEMA, "versions")
    try:
        row = connection.execute(sql.SQL("SELECT pg_catalog.max(readable_from) FROM {}").format(versions)).fetchone()
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedTable):
        return  # a read-only role does not use the shared tables
    if row and row[0] is not None and row[0] > SHARED_VERSION:
        raise DatabaseError(
            f"schema {SHARED_SCHEMA} was made by a newer version of vector-pipeline, of another pipeline in this "
            "database; upgrade the package"
        )


def _ensure_pgvector(connection: Connection, database: Database) -> str:
    """The schema of pgvector, which is installed if possible. Raises DatabaseError."""
    query = (
        "SELECT n.nspname, e.extversion FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
        "WHERE e.extname = 'vector'"
    )
    found = connection.execute(query).fetchone()
    if found is None:
        try:
            with connection.transaction():
                connection.execute("CREATE EXTENSION vector SCHEMA public")
        except (psycopg.errors.UndefinedFile, psycopg.errors.FeatureNotSupported) as error:
            raise DatabaseError(
                f"Postgres at {database.safe_url} lacks pgvector; install it on the server "
                "(https://github.com/pgvector/pgvector#installation)"
            ) from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise DatabaseError(
                f"pgvector is not enabled in {database.safe_url} and this role may not do it; let an administrator "
                "run `CREATE EXTENSION vector` there"
            ) from error
        found = connection.execute(query).fetchone()
    assert found is not None
    schema, version = found
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_PGVECTOR:
        raise DatabaseError(
            f"Postgres at {database.safe_url} has pgvector {version}, 0.8 or later is needed; install it and run "
            "`ALTER EXTENSION vector UPDATE`"
        )
    return str(schema)
