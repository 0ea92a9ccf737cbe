"""The rights to a table or view, so that they can be restored when it is created again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from psycopg import sql

from vector_pipeline.store.connection import Connection


class Grant(NamedTuple):
    """A right to a relation."""

    role: str | None
    """None: all roles."""
    privilege: str
    grantable: bool
    column: str | None
    """None: all columns."""


def grants_of(connection: Connection, relation: str) -> list[Grant]:
    """The rights of other roles than the owner to a relation of the pipeline's schema; empty if it does not exist."""
    rows = connection.execute(
        "SELECT r.rolname, a.privilege_type, a.is_grantable, a.attname FROM ("
        "SELECT relowner, (pg_catalog.aclexplode(relacl)).*, NULL::name AS attname FROM pg_class "
        "WHERE oid = pg_catalog.to_regclass(%(relation)s)::oid UNION ALL "
        "SELECT relowner, (pg_catalog.aclexplode(attacl)).*, attname FROM pg_attribute "
        "JOIN pg_class c ON c.oid = attrelid WHERE attrelid = pg_catalog.to_regclass(%(relation)s)::oid"
        ") a LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE a.grantee <> a.relowner",
        {"relation": sql.Identifier(relation).as_string(connection)},
    )
    return [Grant(*row) for row in rows]


def grant(connection: Connection, relation: str, grants: Iterable[Grant]) -> None:
    """Grant rights to a relation."""
    for role, privilege, grantable, column in grants:
        connection.execute(
            sql.SQL("GRANT {}{} ON {} TO {}{}").format(
                sql.SQL(privilege),
                sql.SQL("") if column is None else sql.SQL(" ({})").format(sql.Identifier(column)),
                sql.Identifier(relation),
                sql.SQL("PUBLIC") if role is None else sql.Identifier(role),
                sql.SQL(" WITH GRANT OPTION" if grantable else ""),
            )
        )


def revoke_all(connection: Connection, relation: str) -> None:
    """Revoke the rights of all roles but the owner to a relation."""
    for role in {grant.role for grant in grants_of(connection, relation)}:
        connection.execute(
            sql.SQL("REVOKE ALL ON {} FROM {}").format(
                sql.Identifier(relation), sql.SQL("PUBLIC") if role is None else sql.Identifier(role)
            )
        )
