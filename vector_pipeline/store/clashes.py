"""Objects of an application that stand where the pipeline would create its own: they are found before any is created.

Postgres itself refuses only some of them. It replaces a view or a function of the same name without a question, and a
table that is created only if it does not exist would be taken for the pipeline's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from vector_pipeline.errors import DatabaseError
from vector_pipeline.store.connection import Connection, Database

_CREATED = re.compile(r"CREATE (?:OR REPLACE )?(?:UNLOGGED )?(TABLE|VIEW|FUNCTION) \{schema\}\.(\w+)")

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


def refuse_clashes(connection: Connection, database: Database, fresh: Iterable[str], applied: Iterable[str]) -> None:
    """Raise DatabaseError if an object that files create exists already; `applied` are files that created theirs.

    A function counts by its name alone, whatever its arguments are.
    """
    relations, functions, ours = _created(fresh)
    made_relations, made_functions, _ = _created(applied)
    made_relations |= {_MADE_WITH[name] for name in made_relations & _MADE_WITH.keys()}
    row = connection.execute(
        _FOUND,
        {
            "schema": _quoted(database.schema),
            "relations": sorted(relations - made_relations),
            "functions": sorted(functions - made_functions),
            "ours": sorted(ours),
        },
    ).fetchone()
    if row is not None:
        raise clash(database, _KINDS.get(row[0], "object"), row[1])


def clash(database: Database, kind: str, name: str) -> DatabaseError:
    """The error for an object that is not the pipeline's."""
    article = "an" if kind[0] in "aeiou" else "a"
    return DatabaseError(
        f"schema '{database.schema}' of {database.safe_url} already has {article} {kind} '{name}' that is not the "
        "pipeline's: "
        "set VECTOR_PIPELINE_SCHEMA to a schema of its own, such as vector_pipeline, which is made if it does not exist"
    )


def _created(files: Iterable[str]) -> tuple[set[str], set[str], set[str]]:
    """The relations and the functions that files create, and 'table.column' for tables that may exist already."""
    relations: set[str] = set()
    functions: set[str] = set()
    ours: set[str] = set()
    for file in files:
        for kind, name in _CREATED.findall(file):
            (functions if kind == "FUNCTION" else relations).add(name)
        for name, column in _IF_NOT_EXISTS.findall(file):
            relations.add(name)
            ours.add(f"{name}.{column}")
    return relations, functions, ours


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
