"""Objects of an application that stand where the pipeline would create its own: they are found before any is created.

Postgres itself refuses only some of them. It replaces a view or a function of the same name without a question, and a
table that is created only if it does not exist would be taken for the pipeline's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from vector_pipeline.errors import DatabaseError
from vector_pipeline.store.connection import Connection, Database

_CREATED = re.compile(r"CREATE (?:OR REPLACE )?(?:UNLOGGED )?(TABLE|VIEW|FUNCTION) (?:IF NOT EXISTS )?\{schema\}\.(\w+)")

# Earlier versions may have made these tables under another number. Their first column tells them from others.
_IF_NOT_EXISTS = re.compile(r"CREATE TABLE IF NOT EXISTS \{schema\}\.(\w+) \(\s*(\w+)")

# Before migration 7 the view was made with the first space, and in no file.
_MADE_WITH = {"spaces": "document_chunks"}

_KINDS = {
    "r": "table",
    "p": "table",
    "f": "foreign table",
    "v": "view",
    "m": "materialized view",
    "S": "sequence",
    "i": "index",
    "I": "index",
    "c": "type",
    "t": "type",
    "function": "function",
}

# Tables that every version has. No application has all of them.
_OWN = ("arrivals", "chunks", "source_files", "spaces")

# A row type and an array type belong to their table or type.
_FOUND = """
SELECT c.relkind::text, c.relname::text FROM pg_class c
WHERE c.relnamespace = pg_catalog.to_regnamespace(%(schema)s)::oid AND c.relname = ANY(%(relations)s::text[])
AND NOT EXISTS (
    SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = 1
    AND (c.relname::text || '.' || a.attname::text) = ANY(%(ours)s::text[])
)
UNION ALL
SELECT 't', t.typname::text FROM pg_type t
WHERE t.typnamespace = pg_catalog.to_regnamespace(%(schema)s)::oid AND t.typname = ANY(%(relations)s::text[])
AND t.typrelid = 0::oid AND t.typelem = 0::oid
UNION ALL
SELECT 'function', p.proname::text FROM pg_proc p
WHERE p.pronamespace = pg_catalog.to_regnamespace(%(schema)s)::oid AND p.proname = ANY(%(functions)s::text[])
ORDER BY 2
LIMIT 1
"""


_OF_OTHERS = """
SELECT c.relname, r.rolname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r
ON r.oid = c.relowner JOIN pg_database d ON d.datname = pg_catalog.current_database()
WHERE n.nspname = %(schema)s AND c.relname = ANY(%(tables)s::text[]) AND c.relkind IN ('r', 'p', 'v', 'f')
AND NOT r.rolsuper AND c.relowner NOT IN (n.nspowner, d.datdba) AND NOT pg_catalog.pg_has_role(c.relowner, 'MEMBER')
AND pg_catalog.has_table_privilege(c.oid, 'INSERT') LIMIT 1
"""


def refuse_clashes(connection: Connection, database: Database, fresh: Sequence[str], applied: Sequence[str]) -> None:
    """Raise DatabaseError if an object that files create exists already; `applied` are files that created theirs.

    A function counts by its name alone, whatever its arguments are.
    """
    made = created_names(applied, "TABLE", "VIEW")
    made |= {_MADE_WITH[name] for name in made & _MADE_WITH.keys()}
    relations = created_names(fresh, "TABLE", "VIEW") - made
    functions = created_names(fresh, "FUNCTION") - created_names(applied, "FUNCTION")
    ours = [f"{name}.{column}" for file in fresh for name, column in _IF_NOT_EXISTS.findall(file)]
    row = connection.execute(
        _FOUND,
        {
            "schema": _quoted(database.schema),
            "relations": sorted(relations),
            "functions": sorted(functions),
            "ours": ours,
        },
    ).fetchone()
    if row is not None:
        raise clash(database, _KINDS.get(row[0], "object"), row[1])


def refuse_unnumbered(connection: Connection, database: Database, newest: int) -> None:
    """Raise DatabaseError if the pipeline's tables exist, but nothing says which migrations made them."""
    row = connection.execute(
        "SELECT pg_catalog.count(*) FROM pg_class c WHERE c.relnamespace = pg_catalog.to_regnamespace(%s)::oid "
        "AND c.relkind = 'r' AND c.relname = ANY(%s::text[])",
        (_quoted(database.schema), list(_OWN)),
    ).fetchone()
    if row == (len(_OWN),):
        table = f"{_quoted(database.schema)}.vector_pipeline_migrations"
        raise DatabaseError(
            f"schema '{database.schema}' of {database.safe_url} has the pipeline's tables, but not "
            "vector_pipeline_migrations, which says what version they have: restore that table from a backup. If this "
            f"version of the package has used them, `CREATE TABLE {table} (number integer PRIMARY KEY, applied_at "
            f"timestamptz DEFAULT pg_catalog.now()); INSERT INTO {table} "
            f"SELECT pg_catalog.generate_series(1, {newest})` restores it too"
        )


def refuse_tables_of_others(connection: Connection, database: Database, files: Iterable[str]) -> None:
    """Raise DatabaseError if a table that files create belongs to another role and this role may write into it.

    Its triggers would run with the rights of this role. Before Postgres 15 every role may create tables in `public`.
    """
    tables = ["vector_pipeline_migrations", *created_names(files, "TABLE")]
    found = connection.execute(_OF_OTHERS, {"schema": database.schema, "tables": tables}).fetchone()
    if found is not None:
        raise DatabaseError(
            f"table '{found[0]}' in schema '{database.schema}' of {database.safe_url} belongs to the role '{found[1]}', "
            "whose triggers would run with this role's rights: drop the table if it is not the pipeline's, or name its "
            "owner's role in DATABASE_URL"
        )


def clash(database: Database, kind: str, name: str) -> DatabaseError:
    """The error for an object that is not the pipeline's."""
    article = "an" if kind[0] in "aeiou" else "a"
    return DatabaseError(
        f"schema '{database.schema}' of {database.safe_url} already has {article} {kind} '{name}' that is not the "
        "pipeline's: set VECTOR_PIPELINE_SCHEMA to a schema of its own, such as vector_pipeline, which is made if it "
        "does not exist"
    )


def created_names(files: Iterable[str], *kinds: str) -> set[str]:
    """The names of what files create in the schema: TABLE, VIEW or FUNCTION."""
    return {name for file in files for kind, name in _CREATED.findall(file) if kind in kinds}


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
