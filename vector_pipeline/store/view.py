"""The view `document_chunks`: chunks with the vectors of the active space, and the rights of its readers.

It reads with its reader's rights (security_invoker), so that row policies on the tables apply to every search.
For that a reader needs the right to read the view's tables: every role that may read the view is granted it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import psycopg
from psycopg import sql

from vector_pipeline.errors import DatabaseError
from vector_pipeline.store.columns import BENEATH, JOINED, SHOWN
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.grants import Grant, grant, grants_of, revoke_all
from vector_pipeline.store.space import Space

VIEW = "document_chunks"
INVOKER = "security_invoker"

_ANOTHER = """
SELECT s.name, CASE WHEN t.typrelid = 0::oid THEN 'type' WHEN v.relkind = 'v' THEN 'view' ELSE 'table' END
FROM (SELECT pg_catalog.current_schema()) AS s (name)
JOIN pg_namespace n ON n.nspname = s.name
JOIN pg_type t ON t.typnamespace = n.oid AND t.typname = 'document_chunks'
LEFT JOIN pg_class v ON v.oid = t.typrelid
WHERE NOT EXISTS (
    SELECT FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass::oid AND d.objid = r.oid
    JOIN pg_class c ON c.oid = d.refobjid
    WHERE r.ev_class = v.oid AND v.relkind = 'v' AND d.refclassid = 'pg_class'::regclass::oid
    AND c.relnamespace = n.oid AND c.relname IN ('chunks', 'placed_chunks')
)
"""

# Statements that create once more what users created on the view and its columns.
_CREATED_BY_USERS = """
SELECT pg_catalog.pg_get_ruledef(oid) FROM pg_rewrite
WHERE ev_class = pg_catalog.to_regclass('document_chunks')::oid AND rulename <> '_RETURN'
UNION ALL SELECT pg_catalog.pg_get_triggerdef(oid) FROM pg_trigger
WHERE tgrelid = pg_catalog.to_regclass('document_chunks')::oid AND NOT tgisinternal
UNION ALL SELECT pg_catalog.format('ALTER VIEW document_chunks ALTER COLUMN %I SET DEFAULT %s', a.attname,
    pg_catalog.pg_get_expr(d.adbin, d.adrelid)) FROM pg_attrdef d
JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
WHERE d.adrelid = pg_catalog.to_regclass('document_chunks')::oid
UNION ALL SELECT pg_catalog.format('COMMENT ON COLUMN document_chunks.%I IS %L', a.attname, d.description)
FROM pg_description d JOIN pg_attribute a ON a.attrelid = d.objoid AND a.attnum = d.objsubid
WHERE d.classoid = 'pg_class'::regclass::oid AND d.objoid = pg_catalog.to_regclass('document_chunks')::oid
"""


@dataclass(frozen=True, slots=True)
class ViewState:
    """The parts of a view beside its query, which a new view would lose."""

    owner: str | None = None
    options: tuple[str, ...] = ()
    """As pg_class has them: 'security_barrier=true'."""
    grants: tuple[Grant, ...] = ()


def replace_view(connection: Connection, space: Space, embeddings: str | None = None) -> None:
    """Point `document_chunks` at a space; its owner, options and grants stay, and what users created on it.

    Call it inside a transaction.

    `embeddings` is what is to be the space's indexed table, where that has another name yet.

    Where the columns stay what they are, so does the view, with all that stands on it. Raises DatabaseError where it
    has to be dropped and other objects depend on it, and where something else has its name.
    """
    _refuse_another(connection)
    state = _state(connection)
    try:
        with connection.transaction():
            connection.execute(_definition(connection, space, embeddings, state, replace=True))
    except psycopg.errors.InvalidTableDefinition:
        # The vector's type has changed, or the position of a column.
        created_by_users = connection.execute(_CREATED_BY_USERS).fetchall()
        _drop(connection)
        connection.execute(_definition(connection, space, embeddings, state, replace=False))
        # Default privileges must not give back what was revoked.
        revoke_all(connection, VIEW)
        grant(connection, VIEW, state.grants)
        for (statement,) in created_by_users:
            connection.execute(statement.encode())
        if state.owner is not None:
            _give_back(connection, state.owner)
    connection.execute(
        sql.SQL("COMMENT ON VIEW document_chunks IS {}").format(
            f"Chunks with their vectors: {space.model}, {space.dimensions} dimensions. "
            "Nearest first: ORDER BY embedding <=> $1 LIMIT k"
        )
    )
    let_readers_read(connection, space)
    note_definition(connection, VIEW)


def note_definition(connection: Connection, view: str) -> None:
    """Keep the digest of a view's definition, so that a run sees if somebody replaced the view (`repairs`)."""
    connection.execute(
        "INSERT INTO inspections (name, made_at, found) SELECT 'view ' || v.name, pg_catalog.now(), "
        "pg_catalog.jsonb_build_object('definition', pg_catalog.md5(pg_catalog.pg_get_viewdef("
        "pg_catalog.to_regclass(pg_catalog.quote_ident(v.name))::oid))) FROM (SELECT %s) AS v (name) "
        "ON CONFLICT (name) DO UPDATE SET made_at = excluded.made_at, found = excluded.found",
        (view,),
    )


def let_readers_read(connection: Connection, space: Space) -> None:
    """Grant roles that may read the whole view the right to read its tables, if they lack it."""
    if f"{INVOKER}=true" not in _state(connection).options:
        return
    beneath = {**BENEATH, space.embeddings: (), space.landing: ()}
    parts = [(table, column) for table, columns in beneath.items() for column in columns or ("",)]
    lacking = connection.execute(
        "SELECT DISTINCT t.name, t.part, r.rolname FROM ("
        "SELECT (pg_catalog.aclexplode(relacl)).*, relowner FROM pg_class "
        "WHERE oid = pg_catalog.to_regclass('document_chunks')::oid) a "
        "LEFT JOIN pg_roles r ON r.oid = a.grantee CROSS JOIN unnest(%s::text[], %s::text[]) AS t (name, part) "
        "CROSS JOIN LATERAL (SELECT coalesce(r.rolname, 'public'::name) AS name, "
        "pg_catalog.to_regclass(pg_catalog.quote_ident(t.name))::oid AS oid) AS p (role, relation) "
        "WHERE a.privilege_type = 'SELECT' AND a.grantee <> a.relowner AND NOT CASE WHEN t.part = '' "
        "THEN pg_catalog.has_table_privilege(p.role, p.relation, 'SELECT') "
        "ELSE pg_catalog.has_column_privilege(p.role, p.relation, t.part, 'SELECT') END",
        ([table for table, _ in parts], [column for _, column in parts]),
    ).fetchall()
    for table, column, reader in lacking:
        grant(connection, table, [Grant(reader, "SELECT", False, column or None)])


def has_view(connection: Connection) -> bool:
    """Whether the view exists. There is none before the first space."""
    row = connection.execute("SELECT pg_catalog.to_regclass('document_chunks')").fetchone()
    return bool(row and row[0])


def _state(connection: Connection) -> ViewState:
    row = connection.execute(
        "SELECT pg_catalog.pg_get_userbyid(relowner), coalesce(reloptions, ARRAY[]::text[]) FROM pg_class "
        "WHERE oid = pg_catalog.to_regclass('document_chunks')::oid"
    ).fetchone()
    if row is None:
        return ViewState(options=(f"{INVOKER}=true",))
    grants = tuple(grants_of(connection, VIEW))
    options = list(row[1])
    # A user's own option is kept. A role with rights on some columns would lose the view, or be granted the tables.
    if not any(option.startswith(f"{INVOKER}=") for option in options) and all(g.column is None for g in grants):
        options.append(f"{INVOKER}=true")
    return ViewState(row[0], tuple(options), grants)


def _definition(
    connection: Connection, space: Space, embeddings: str | None, state: ViewState, *, replace: bool
) -> sql.Composed:
    # `ORDER BY embedding <=> $1` uses the index if the column is the expression that the index holds.
    shown: dict[str, sql.Composable] = {column.name: sql.SQL(column.shown) for column in SHOWN}
    shown["embedding"] = space.indexed(connection, "e.embedding")
    options = (option.partition("=") for option in state.options)
    return sql.SQL(
        "CREATE {} VIEW document_chunks {} AS SELECT {} FROM (SELECT content_hash, embedding FROM {} UNION ALL "
        "SELECT content_hash, embedding FROM {}) e {}"
    ).format(
        sql.SQL("OR REPLACE" if replace else ""),
        sql.SQL("WITH ({})").format(
            sql.SQL(", ").join(
                sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value)) for name, _, value in options
            )
        )
        if state.options
        else sql.SQL(""),
        sql.SQL(", ").join(sql.SQL("{} AS {}").format(what, sql.Identifier(name)) for name, what in shown.items()),
        sql.Identifier(embeddings or space.embeddings),
        sql.Identifier(space.landing),
        sql.SQL(JOINED),
    )


def _refuse_another(connection: Connection) -> None:
    """Raise DatabaseError if an application has a view, table or type of this name: it must not be replaced.

    The view of every version stands on the table `chunks` or, from it, on `placed_chunks`.
    """
    row = connection.execute(_ANOTHER).fetchone()
    if row is not None:
        raise DatabaseError(
            f"schema '{row[0]}' already has a {row[1]} 'document_chunks' that is not the pipeline's: rename it, or set "
            "VECTOR_PIPELINE_SCHEMA to a schema of its own, such as vector_pipeline, which is made if it does not exist"
        )


def _drop(connection: Connection) -> None:
    try:
        connection.execute("DROP VIEW document_chunks")
    except psycopg.errors.DependentObjectsStillExist as error:
        raise DatabaseError(
            f"other objects depend on the view document_chunks ({error.diag.message_detail}); drop them, switch, and "
            "make them again"
        ) from error


def _give_back(connection: Connection, owner: str) -> None:
    row = connection.execute("SELECT current_user").fetchone()
    if row and row[0] != owner:
        # A role that is not a member of the owner's role may not do this; the view then belongs to that role.
        with suppress(psycopg.errors.InsufficientPrivilege), connection.transaction():
            connection.execute(sql.SQL("ALTER VIEW document_chunks OWNER TO {}").format(sql.Identifier(owner)))


def stands_alone(connection: Connection, space: Space) -> bool:
    """Whether only the view refers to a space's indexed table, so that another table can replace it.

    Views of other users would prevent the replacement, and row policies would be lost.
    """
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_depend d LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass::oid "
        "AND r.oid = d.objid WHERE d.refclassid = 'pg_class'::regclass::oid AND d.refobjid = t.oid "
        "AND d.deptype = 'n' AND r.ev_class IS DISTINCT FROM pg_catalog.to_regclass('document_chunks')::oid) "
        "OR t.relrowsecurity OR EXISTS (SELECT FROM pg_policy WHERE polrelid = t.oid) "
        "FROM pg_class t WHERE t.oid = pg_catalog.to_regclass(%s)::oid",
        (sql.Identifier(space.embeddings).as_string(connection),),
    ).fetchone()
    return not (row and row[0])


def may_change_type(connection: Connection) -> bool:
    """Whether the view can be made anew with another type of vectors: no object of a user's depends on it."""
    row = connection.execute(
        "SELECT NOT EXISTS (SELECT FROM pg_depend d LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass::oid "
        "AND r.oid = d.objid WHERE d.deptype = 'n' AND r.ev_class IS DISTINCT FROM v.oid AND "
        "((d.refclassid = 'pg_class'::regclass::oid AND d.refobjid = v.oid) OR "
        "(d.refclassid = 'pg_type'::regclass::oid AND d.refobjid = v.reltype))) "
        "FROM pg_class v WHERE v.oid = pg_catalog.to_regclass('document_chunks')::oid"
    ).fetchone()
    return row is None or bool(row[0])
