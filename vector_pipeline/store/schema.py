"""The pipeline's tables: numbered SQL files, applied once each, forward only, under a lock.

Placeholders in the files: {schema} is the pipeline's schema, {shared} the one that pipelines share, {vector} the one
that pgvector's types are in. All are quoted.
"""

from __future__ import annotations

import contextlib
from importlib import resources

import psycopg
from psycopg import sql

from vector_pipeline.errors import DatabaseError
from vector_pipeline.store.connection import SHARED_SCHEMA, Connection, Database
from vector_pipeline.store.locks import lock_migrations
from vector_pipeline.store.refusals import REFUSALS, refusal
from vector_pipeline.store.space import CANDIDATES_TRIED

# pgvector before this version could corrupt an HNSW index in VACUUM; iterative scans and halfvec are older.
# https://github.com/pgvector/pgvector/blob/master/CHANGELOG.md
OLDEST_PGVECTOR = (0, 8)

# What plain SQL is to have without knowing of it. HNSW stops after `ef_search` candidates, however many of them a filter
# or a join drops, unless its scans are iterative; and with pgvector's own 40 its recall@10 is 0.957 at 1,536 dimensions
# and 20,000 rows, where it is 0.990 with the 100 that `search` starts from.
SEARCH_SETTINGS = {"hnsw.iterative_scan": "relaxed_order", "hnsw.ef_search": str(CANDIDATES_TRIED[0])}


def migrate(database: Database) -> list[int]:
    """Bring the schema up to date; returns the numbers of the files that were applied, none where it is.

    Raises DatabaseError where pgvector is missing or too old, where this role may not create what is needed, or
    where the schema was made by a newer version of this package.
    """
    with database.connect(role="schema") as connection:
        files = _files()
        if _applied(connection, database) == set(files):
            return []
        try:
            applied = _apply(connection, database, files)
        except REFUSALS as error:
            raise refusal(connection, database, error) from error
        _set_up_searches(connection)
        return applied


def _set_up_searches(connection: Connection) -> None:
    """Have this role's plain `ORDER BY embedding <=> $1 LIMIT k` find the nearest k, where that may be set.

    Whoever set something else keeps it; roles that may not have it set call the function search_chunks.
    """
    row = connection.execute("SELECT current_database(), '[1]'::vector").fetchone()  # loads pgvector: it knows the names
    assert row is not None
    standing = connection.execute(
        "SELECT unnest(s.setconfig) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase "
        "WHERE d.datname = current_database() AND s.setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = "
        "current_user))"
    ).fetchall()
    for name in SEARCH_SETTINGS.keys() - {setting.partition("=")[0] for (setting,) in standing}:
        # Another process may be setting it at this moment.
        with contextlib.suppress(
            psycopg.errors.InsufficientPrivilege, psycopg.errors.InternalError_, psycopg.errors.UniqueViolation
        ):
            connection.execute(
                sql.SQL("ALTER ROLE CURRENT_USER IN DATABASE {} SET {} = {}").format(
                    sql.Identifier(row[0]), sql.Identifier(*name.split(".")), sql.Literal(SEARCH_SETTINGS[name])
                )
            )


def _files() -> dict[int, str]:
    folder = resources.files("vector_pipeline.store") / "migrations"
    return {int(f.name[:3]): f.read_text("utf-8") for f in folder.iterdir() if f.name.endswith(".sql")}


def _applied(connection: Connection, database: Database) -> set[int]:
    table = sql.Identifier(database.schema, "vector_pipeline_migrations")
    row = connection.execute("SELECT to_regclass(%s)", (table.as_string(connection),)).fetchone()
    if not row or row[0] is None:
        return set()
    return {row[0] for row in connection.execute(sql.SQL("SELECT number FROM {}").format(table))}


def _apply(connection: Connection, database: Database, files: dict[int, str]) -> list[int]:
    # One lock for the database, not for the schema: pgvector and the shared schema are common to all pipelines.
    with connection.transaction():
        lock_migrations(connection)
        vector = _ensure_pgvector(connection, database)
        for name in (database.schema, SHARED_SCHEMA):
            exists = connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", (name,)).fetchone()
            if exists is None:
                connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        table = sql.Identifier(database.schema, "vector_pipeline_migrations")
        connection.execute(
            sql.SQL(
                "CREATE TABLE IF NOT EXISTS {} (number integer PRIMARY KEY, applied_at timestamptz DEFAULT now())"
            ).format(table)
        )
        applied = _applied(connection, database)
        if applied - set(files):
            raise DatabaseError(
                f"schema '{database.schema}' of {database.safe_url} was made by a newer version of vector-pipeline; "
                "upgrade the package"
            )
        fresh = sorted(set(files) - applied)
        for number in fresh:
            statements = sql.SQL(files[number]).format(
                schema=sql.Identifier(database.schema),
                shared=sql.Identifier(SHARED_SCHEMA),
                vector=sql.Identifier(vector),
            )
            connection.execute(statements)
            # No parameter, for which a % in a schema's name would be taken.
            connection.execute(sql.SQL("INSERT INTO {} (number) VALUES ({})").format(table, sql.Literal(number)))
        return fresh


def _ensure_pgvector(connection: Connection, database: Database) -> str:
    """The schema that pgvector is in, installing it where that is possible. Raises DatabaseError."""
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
