"""Look after what a schema holds beside its rows, and make again what people or a cascade dropped, replaced or disabled.

Two queries a run compare the catalog with the migration files: functions by their source, triggers, indexes and keys by
their names, views by the digest of the definition that they had when they were made. Tables and vectors cannot be made
again; the error names them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import psycopg
from psycopg import sql

from vector_pipeline.errors import DatabaseError
from vector_pipeline.store.connection import SHARED_SCHEMA, Connection, Database
from vector_pipeline.store.counts import CHUNKS, recount
from vector_pipeline.store.locks import Lock, lock_in_transaction, lock_migrations
from vector_pipeline.store.objects import Objects
from vector_pipeline.store.space import Space
from vector_pipeline.store.view import VIEW, note_definition, replace_view

# Tables that are gone, and relations that their owner, this role, has lost rights to: a REVOKE took them, and nobody but
# the owner can give them back.
_OUT_OF_REACH = r"""
WITH relation AS (
    SELECT c.oid, c.relname, c.relkind, c.relowner FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p', 'v')
)
SELECT 'table', t.name FROM pg_catalog.unnest(%(tables)s::text[]) AS t (name)
WHERE NOT EXISTS (SELECT FROM relation r WHERE r.relname = t.name AND r.relkind <> 'v')
UNION ALL
SELECT 'right', r.relname FROM relation r
WHERE r.relowner = current_user::regrole
AND (r.relname = ANY (%(tables)s::text[] || %(views)s::text[]) OR r.relname LIKE 'embeddings\_%%') AND NOT (
    pg_catalog.has_table_privilege(r.oid, 'SELECT') AND (r.relkind = 'v' OR (
        pg_catalog.has_table_privilege(r.oid, 'INSERT') AND pg_catalog.has_table_privilege(r.oid, 'UPDATE')
        AND pg_catalog.has_table_privilege(r.oid, 'DELETE'))))
"""

# Kind and name of what is not as it was made. `spaces` and `inspections` are the pipeline's own tables.
_DIFFERENT = """
WITH relation AS (
    SELECT c.oid, c.relname, c.relkind, c.relowner FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)s
), part AS (
    SELECT s.name AS space, p.name FROM spaces s
    CROSS JOIN LATERAL (VALUES ('embeddings_' || s.name), ('embeddings_' || s.name || '_landing')) AS p (name)
    WHERE s.state <> 'retired'
)
SELECT 'vectors', p.space FROM part p WHERE NOT EXISTS (
    SELECT FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid
    WHERE r.relname = p.name AND a.attname = 'embedding' AND NOT a.attisdropped)
UNION ALL
SELECT 'key', k.name FROM (SELECT pg_catalog.unnest(%(keyed)s::text[]) UNION ALL SELECT name FROM part) AS k (name)
WHERE NOT EXISTS (
    SELECT FROM relation r JOIN pg_index i ON i.indrelid = r.oid
    WHERE r.relname = k.name AND i.indisprimary AND i.indisvalid)
UNION ALL
SELECT 'index', x.name FROM pg_catalog.unnest(%(indexes)s::text[]) AS x (name) WHERE NOT EXISTS (
    SELECT FROM relation r JOIN pg_index i ON i.indexrelid = r.oid WHERE r.relname = x.name AND i.indisvalid)
UNION ALL
SELECT 'trigger', x.name FROM unnest(%(triggers)s::text[], %(triggered)s::text[]) AS x (name, relation)
WHERE NOT EXISTS (
    SELECT FROM relation r JOIN pg_trigger t ON t.tgrelid = r.oid
    WHERE r.relname = x.relation AND t.tgname = x.name AND t.tgenabled IN ('O', 'A'))
UNION ALL
SELECT 'function', f.name
FROM unnest(%(functions)s::text[], %(bodies)s::text[], %(settings)s::text[]) AS f (name, body, settings)
WHERE NOT EXISTS (
    SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = %(schema)s AND p.proname = f.name AND pg_catalog.md5(p.prosrc) = f.body
    AND pg_catalog.string_to_array(f.settings, ' ') <@ ARRAY(
        SELECT pg_catalog.split_part(s, '=', 1) FROM pg_catalog.unnest(p.proconfig) AS s)
    AND (p.proowner <> current_user::regrole OR pg_catalog.has_function_privilege(p.oid, 'EXECUTE')))
UNION ALL
SELECT 'view', v.name FROM pg_catalog.unnest(%(views)s::text[]) AS v (name)
WHERE (v.name <> 'document_chunks' OR EXISTS (SELECT FROM spaces WHERE state = 'active')) AND NOT EXISTS (
    SELECT FROM relation r JOIN inspections i ON i.name = 'view ' || v.name
    WHERE r.relname = v.name AND r.relkind = 'v'
    AND i.found ->> 'definition' = pg_catalog.md5(pg_catalog.pg_get_viewdef(r.oid)))
"""


@dataclass(frozen=True, slots=True)
class _Repair:
    """The repair of one schema by its owner, inside a transaction."""

    connection: Connection
    database: Database
    objects: Objects

    def differences(self) -> list[tuple[str, str]]:
        """Kind and name of what is not as it was made, after this role has its rights to its own tables again.

        Raises DatabaseError for tables that are gone.
        """
        o, functions = self.objects, list(self.objects.functions.values())
        names = {
            "schema": self.database.schema,
            "tables": list(o.keys),
            "keyed": [table for table, columns in o.keys.items() if columns],
            "indexes": list(o.indexes),
            "triggers": list(o.triggers),
            "triggered": [table for table, _ in o.triggers.values()],
            "functions": [function.name for function in functions],
            "bodies": [hashlib.md5(self._text(f.body).encode(), usedforsecurity=False).hexdigest() for f in functions],
            "settings": [" ".join(sorted(function.settings)) for function in functions],
            "views": [*o.views, VIEW],
        }
        gone = []
        for kind, name in self.connection.execute(_OUT_OF_REACH, names).fetchall():
            if kind == "table":
                gone.append(name)
            else:
                self.connection.execute(sql.SQL("GRANT ALL ON {} TO CURRENT_USER").format(sql.Identifier(name)))
        if gone:
            raise self._lost(f"lacks the table{'s' if len(gone) > 1 else ''} {', '.join(gone)}")
        return self.connection.execute(_DIFFERENT, names).fetchall()

    def _lost(self, problem: str) -> DatabaseError:
        schema = self.database.schema
        return DatabaseError(
            f"schema '{schema}' of {self.database.safe_url} {problem}, dropped by hand or by a CASCADE: restore the "
            f'schema from a backup, or begin anew with `DROP SCHEMA "{schema}" CASCADE`, after which every text is '
            "embedded again"
        )

    def make(self, differences: Iterable[tuple[str, str]], space: Space | None) -> None:
        """Make again what differs. Raises DatabaseError for what cannot be made."""
        found = set(differences)
        if spaces := sorted(name for kind, name in found if kind == "vectors"):
            raise self._lost(f"lacks the vectors of the space {', '.join(spaces)}")
        # Loads pgvector, so that a role without further rights may name its settings.
        self._run(["SELECT '[1]'::{vector}.vector"])
        for table in sorted(name for kind, name in found if kind == "key"):
            self._each(f"the primary key of {table}", partial(self._add_key, table))
        for name, (table, statement) in self.objects.indexes.items():
            if ("index", name) in found:
                # One that is there is invalid.
                drop = f'DROP INDEX IF EXISTS {{schema}}."{name}"'
                self._each(f"the index {name} of {table}", partial(self._run, [drop, statement]))
        for function in self.objects.functions.values():
            if ("function", function.name) in found:
                # Postgres lets nobody replace a function who may not call it.
                with suppress(psycopg.errors.UndefinedFunction), self.connection.transaction():
                    self._run([function.grant])
                self._each(f"the function {function.name}", partial(self._run, function.statements))
        self._enable_triggers({name for kind, name in found if kind == "trigger"})
        self._make_views({name for kind, name in found if kind == "view"}, space)

    def _each(self, what: str, work: Callable[[], None]) -> None:
        try:
            with self.connection.transaction():
                work()
        except (psycopg.errors.UniqueViolation, psycopg.errors.InvalidFunctionDefinition) as error:
            reason = ". ".join(filter(None, (error.diag.message_primary, error.diag.message_detail)))
            raise DatabaseError(
                f"{what} in schema '{self.database.schema}' was dropped or replaced by hand and cannot be made again "
                f"({reason}); remove what is in its way"
            ) from error

    def _text(self, statement: str) -> str:
        names = {"schema": self.database.schema, "shared": SHARED_SCHEMA, "vector": self.connection.pgvector}
        quoted = {key: sql.Identifier(name) for key, name in names.items()}
        return sql.SQL(statement).format(**quoted).as_string(self.connection)

    def _run(self, statements: Iterable[str]) -> None:
        """Run statements with only Postgres's own functions in the search_path, as migrations run."""
        path = self.connection.execute("SHOW search_path").fetchone()
        assert path is not None
        self.connection.execute("SET LOCAL search_path = pg_catalog, pg_temp")
        for statement in statements:
            self.connection.execute(self._text(statement).encode())
        self.connection.execute("SELECT pg_catalog.set_config('search_path', %s, true)", path)

    def _add_key(self, table: str) -> None:
        columns = self.objects.keys.get(table, "content_hash").split(", ")
        self.connection.execute(
            sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} PRIMARY KEY ({})").format(
                sql.Identifier(table), sql.Identifier(f"{table}_pkey"), sql.SQL(", ").join(map(sql.Identifier, columns))
            )
        )

    def _enable_triggers(self, names: set[str]) -> None:
        """Make triggers again, and count anew what they count."""
        if not names:
            return
        lock_in_transaction(self.connection, Lock.LOADS)
        for name in sorted(names):
            table, statement = self.objects.triggers[name]
            self._run([statement])
            enable = sql.SQL("ALTER TABLE {} ENABLE TRIGGER {}")
            self.connection.execute(enable.format(sql.Identifier(table), sql.Identifier(name)))
        self.connection.execute("LOCK TABLE source_files, chunks IN SHARE ROW EXCLUSIVE MODE")
        recount(self.connection, CHUNKS)
        self.connection.execute("DELETE FROM file_counts")
        self.connection.execute(
            "INSERT INTO file_counts SELECT root, status, gone, pipeline, pg_catalog.count(*) FROM source_files "
            "GROUP BY 1, 2, 3, 4"
        )

    def _make_views(self, names: set[str], space: Space | None) -> None:
        for name, statements in self.objects.views.items():
            if name in names:
                try:
                    self._run(statements)
                except psycopg.errors.InvalidTableDefinition as error:
                    schema = self.database.schema
                    raise DatabaseError(
                        f"the view {name} in schema '{schema}' was replaced by one with other columns; run "
                        f'`DROP VIEW "{schema}".{name} CASCADE`, and the next run makes it again'
                    ) from error
                note_definition(self.connection, name)
        if VIEW in names and space is not None:
            replace_view(self.connection, space)


def repair(connection: Connection, database: Database, files: Iterable[str], space: Callable[[], Space | None]) -> None:
    """Make again what is not as the migration files left it, if this role owns it.

    `files` are in the order of their numbers, and all are applied. `space` is called for the space that the view shows.
    Raises DatabaseError for tables and vectors that are gone, and for what cannot be made again.
    """
    found = _Repair(connection, database, Objects.of(files))
    with suppress(psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction):
        if not found.differences():
            return
        with connection.transaction():
            lock_migrations(connection)
            # Another process may have made it meanwhile.
            found.make(found.differences(), space())
