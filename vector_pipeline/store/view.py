"""The view `document_chunks`: chunks with the vectors of the active space, and who may read it."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import sql

from vector_pipeline.errors import DatabaseError
from vector_pipeline.store.columns import SHOWN
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.space import Space

# Role (None: everybody), privilege, whether it may be passed on, and the column that it is for (None: all).
Grant = tuple[str | None, str, bool, str | None]

_SELECTED = sql.SQL(", ").join(
    sql.SQL("{} AS {}").format(sql.SQL(column.shown), sql.Identifier(column.name)) for column in SHOWN
)


def replace_view(connection: Connection, space: Space) -> None:
    """Point `document_chunks` at a space, keeping its grants; inside a transaction. Raises as `drop_view` does."""
    create_view(connection, space, drop_view(connection))


def drop_view(connection: Connection) -> list[Grant]:
    """Drop the view, which has to be made anew since the type of its vector may change; returns its grants.

    Raises DatabaseError where other objects depend on it.
    """
    grants = connection.execute(
        "SELECT r.rolname, a.privilege_type, a.is_grantable, a.attname FROM ("
        "SELECT relowner, (aclexplode(relacl)).*, NULL AS attname FROM pg_class "
        "WHERE oid = to_regclass('document_chunks') UNION ALL "
        "SELECT relowner, (aclexplode(attacl)).*, attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid "
        "WHERE attrelid = to_regclass('document_chunks')"
        ") a LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE a.grantee <> a.relowner"
    ).fetchall()
    try:
        connection.execute("DROP VIEW IF EXISTS document_chunks")
    except psycopg.errors.DependentObjectsStillExist as error:
        raise DatabaseError(
            f"other objects depend on the view document_chunks ({error.diag.message_detail}); drop them, switch, and "
            "make them again"
        ) from error
    return grants


def create_view(connection: Connection, space: Space, grants: Sequence[Grant]) -> None:
    """Make the view of a space, which is not there, with some grants."""
    connection.execute(
        sql.SQL(
            "CREATE VIEW document_chunks AS SELECT {} FROM (SELECT content_hash, embedding FROM {} UNION ALL "
            "SELECT content_hash, embedding FROM {}) e JOIN placed_chunks c USING (content_hash)"
        ).format(_SELECTED, sql.Identifier(space.embeddings), sql.Identifier(space.landing))
    )
    connection.execute(
        sql.SQL("COMMENT ON VIEW document_chunks IS {}").format(
            f"Chunks with their vectors: {space.model}, {space.dimensions} dimensions. "
            "Nearest first: ORDER BY embedding <=> $1 LIMIT k"
        )
    )
    for grantee, privilege, grantable, column in grants:
        connection.execute(
            sql.SQL("GRANT {}{} ON document_chunks TO {}{}").format(
                sql.SQL(privilege),
                sql.SQL("") if column is None else sql.SQL(" ({})").format(sql.Identifier(column)),
                sql.SQL("PUBLIC") if grantee is None else sql.Identifier(grantee),
                sql.SQL(" WITH GRANT OPTION" if grantable else ""),
            )
        )


def has_dependents(connection: Connection) -> bool:
    """Whether views or functions of somebody else's stand on `document_chunks`, which then cannot be made anew."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_depend d LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND "
        "r.oid = d.objid WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass('document_chunks') "
        "AND d.deptype = 'n' AND r.ev_class IS DISTINCT FROM d.refobjid)"
    ).fetchone()
    return bool(row and row[0])
