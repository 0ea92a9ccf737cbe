"""The reason why Postgres refuses to create the pipeline's tables, as one line with what to run or set."""

from __future__ import annotations

import re

import psycopg

from vector_pipeline.errors import DatabaseError
from vector_pipeline.store.clashes import clash
from vector_pipeline.store.connection import SHARED_SCHEMA, Connection, Database

REFUSALS = (psycopg.errors.InsufficientPrivilege, psycopg.errors.DuplicateTable, psycopg.errors.DuplicateObject)


def refusal(connection: Connection, database: Database, error: psycopg.Error) -> DatabaseError:
    """The error to raise for one of REFUSALS. The transaction that raised it has ended."""
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return DatabaseError(
            f"this role may not create tables in schema '{database.schema}' of {database.safe_url} "
            f"({error.diag.message_primary}); let its owner run {_grants(connection, database)}"
        )
    found = re.search(r'"([^"]+)"', error.diag.message_primary or "")
    name = found[1] if found else "of that name"
    return clash(database, "table or type", name)


def _grants(connection: Connection, database: Database) -> str:
    row = connection.execute("SELECT current_user").fetchone()
    role = row[0] if row else "role"
    commands = []
    for schema in (database.schema, SHARED_SCHEMA):
        exists = connection.execute("SELECT FROM pg_catalog.pg_namespace WHERE nspname = %s", (schema,)).fetchone()
        commands.append(
            f'`CREATE SCHEMA IF NOT EXISTS "{schema}" AUTHORIZATION "{role}"`'
            if exists is None
            else f'`GRANT USAGE, CREATE ON SCHEMA "{schema}" TO "{role}"`'
        )
    return " and ".join(commands)
