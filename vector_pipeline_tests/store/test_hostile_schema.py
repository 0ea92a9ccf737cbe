"""Functions and operators that somebody else made in the pipeline's schema are never run by it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

import vector_pipeline.store
from vector_pipeline.errors import DatabaseError
from vector_pipeline.queries.status import spaces_json
from vector_pipeline.store import manifest, scans, sizes
from vector_pipeline.store.claims import Claims
from vector_pipeline.store.connection import Database
from vector_pipeline.store.fencing import take_over
from vector_pipeline.store.index import maintain_index
from vector_pipeline.store.inspections import inspect_rows
from vector_pipeline.store.locks import alive, in_progress
from vector_pipeline.store.rows import delete_sources
from vector_pipeline.store.schema import migrate
from vector_pipeline.store.search.by_vector import search
from vector_pipeline.store.shared import spending
from vector_pipeline.store.space import active_space
from vector_pipeline.store.spaces import start_space, switch_space
from vector_pipeline.store.sweep import sweep
from vector_pipeline_tests.support.addresses import as_role
from vector_pipeline_tests.support.corpus import embed, load, own, scalar, vectors_of

pytestmark = pytest.mark.slow

STORE = Path(vector_pipeline.store.__file__).parent

# What looks like a call in SQL and is none: syntax, types, names of columns in a list.
SYNTAX = {
    *"all and any as array by cast check coalesce conflict constraint default distinct exists extract filter".split(),
    *"from greatest halfvec in index into is join key lateral least materialized normalize not nullif on or".split(),
    *"over row select set table then to unique unnest using values vector when where with".split(),
}

# Signatures that fit the pipeline's arguments better than those of pg_catalog do.
FUNCTIONS = [
    "hashtextextended(text, integer) RETURNS bigint",
    "unnest(text[]) RETURNS SETOF text",
    "unnest(uuid[]) RETURNS SETOF uuid",
    "power(integer, integer) RETURNS double precision",
    "to_regclass(varchar) RETURNS regclass",
    "set_config(text, text, boolean) RETURNS text",
    "set_config(varchar, varchar, boolean) RETURNS text",
    "make_interval(double precision) RETURNS interval",
    "replace(text, varchar, text) RETURNS text",
    "count(integer) RETURNS bigint",
    "pg_size_bytes(varchar) RETURNS bigint",
    "aclexplode(aclitem[]) RETURNS SETOF text",
]
OPERATORS = [
    ("<", "timestamptz", "integer"),
    ("*", "integer", "interval"),
    ("*", "smallint", "interval"),
    ("=", "oid", "bigint"),
    ("=", "oid", "integer"),
    ("=", "oid", "smallint"),
    ("=", "oid", "regclass"),
    ("/", "numeric", "integer"),
    ("+", "double precision", "integer"),
]


@pytest.fixture
def hostile(fresh_database_url: str) -> Iterator[Database]:
    """A database in whose schema `public` every role may make functions, as before Postgres 15, and one has."""
    with psycopg.connect(fresh_database_url, autocommit=True) as admin:
        name = f"mallory_{admin.info.dbname[-12:]}"
        role = sql.Identifier(name)
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'mallory'").format(role))
        admin.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
        with psycopg.connect(as_role(fresh_database_url, name, "mallory"), autocommit=True) as mallory:
            _plant(mallory)
        yield Database(fresh_database_url)
    with psycopg.connect(fresh_database_url, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(role))
        admin.execute(sql.SQL("DROP ROLE {}").format(role))


def _plant(mallory: psycopg.Connection[object]) -> None:
    trap = "LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'mallory was run'; END $$"
    for function in FUNCTIONS:
        mallory.execute(f"CREATE FUNCTION public.{function} {trap}".encode())
    for number, (sign, left, right) in enumerate(OPERATORS):
        result = "boolean" if sign in "<=" else "interval" if "interval" in right else "double precision"
        mallory.execute(f"CREATE FUNCTION public.trap_{number}({left}, {right}) RETURNS {result} {trap}".encode())
        arguments = f"FUNCTION = public.trap_{number}, LEFTARG = {left}, RIGHTARG = {right}"
        mallory.execute(f"CREATE OPERATOR public.{sign} ({arguments})".encode())


def test_no_function_of_somebody_elses_is_run(hostile: Database) -> None:
    migrate(hostile)
    migrate(hostile)
    texts = [f"text {n}" for n in range(120)]
    with hostile.connect() as connection:
        assert load(connection, "A1", {"a.txt": texts}).rows == 120
        assert load(connection, "A2", {"a.txt": texts[:60]}, "2").rows == 60
        assert {r.page_content for r in search(connection, vectors_of(["text 1"])[0], 1, source="*")} == {"text 1"}
        query = vectors_of(["q"])[0]
        assert len(connection.execute("SELECT * FROM search_chunks(%s, 5)", (query,)).fetchall()) == 5
        assert len(connection.execute("SELECT * FROM search_chunks('text 9', %s, 5)", (query,)).fetchall()) == 5
        space = active_space(connection)
        assert space is not None
        maintain_index(hostile, worth=50)
        with Claims(hostile, space.name) as claims:
            assert claims.claim([bytes(16)]) == {bytes(16)}
        assert (in_progress(connection, ["A1"]), alive(connection, ["R"], settle_seconds=0)) == (set(), set())
        new = start_space(connection, "new-model", 24)
        embed(connection, texts, new)
        maintain_index(hostile, worth=50)
        switch_space(connection, new.name, 0.1)
        _ask_everything(hostile)
        own(connection, "A3", ["a.txt"], gone=True)
        delete_sources(connection, "A3", [f.source_key for f in manifest.owned_files(connection, "A3")])
        assert sweep(connection, 0) > 0
        assert scalar(connection, "SELECT count(*) FROM document_chunks") == 0


def _ask_everything(database: Database) -> None:
    with database.connect() as connection:
        manifest.count_files(connection)
        take_over(connection, "A2")
        manifest.pending_arrivals(connection)
        manifest.finished_arrivals(connection, 1)
        manifest.states_of(connection, "a.txt")
        scans.last_scans(connection)
        sizes.bytes_on_disk(connection, "chunks")
        spaces_json(connection)
        spending.record(connection, "m", 0.5, 3)
        inspect_rows(connection, whole_every_seconds=0)
        inspect_rows(connection)


@pytest.mark.parametrize("table", ["vector_pipeline_migrations (number integer)", "scans (x int)", "roots (x int)"])
def test_a_table_of_somebody_elses_is_refused(fresh_database_url: str, table: str) -> None:
    """Its triggers would run with the pipeline's rights."""
    with psycopg.connect(fresh_database_url, autocommit=True) as admin:
        names = [f"{who}_{admin.info.dbname[-12:]}" for who in ("mallory", "pipe")]
        admin.execute("CREATE EXTENSION vector")
        admin.execute("CREATE SCHEMA vector_pipeline_shared")
        admin.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
        admin.execute("GRANT ALL ON SCHEMA vector_pipeline_shared TO PUBLIC")
        for name in names:
            admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'word'").format(sql.Identifier(name)))
        try:
            with psycopg.connect(as_role(fresh_database_url, names[0], "word"), autocommit=True) as mallory:
                mallory.execute(f"CREATE TABLE public.{table}".encode())
                mallory.execute(f"GRANT ALL ON public.{table.split()[0]} TO PUBLIC".encode())
            pipe = Database(as_role(fresh_database_url, names[1], "word"))
            with pytest.raises(DatabaseError, match=f"'{table.split()[0]}' .*belongs to the role '{names[0]}'"):
                migrate(pipe)
            admin.execute(f"DROP TABLE public.{table.split()[0]}".encode())
            assert migrate(pipe)
        finally:
            for name in names:
                admin.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(name)))
                admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_an_operator_in_front_of_pgvectors_is_not_used(fresh_database_url: str) -> None:
    """pgvector may be in a schema of its own, behind the one in which every role may make operators."""
    with psycopg.connect(fresh_database_url, autocommit=True) as admin:
        name = f"mallory_{admin.info.dbname[-12:]}"
        admin.execute("CREATE SCHEMA extensions")
        admin.execute("CREATE EXTENSION vector SCHEMA extensions")
        admin.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
        admin.execute("GRANT USAGE ON SCHEMA extensions TO PUBLIC")
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'word'").format(sql.Identifier(name)))
        try:
            with psycopg.connect(as_role(fresh_database_url, name, "word"), autocommit=True) as mallory:
                of_two = "extensions.vector, extensions.vector"
                mallory.execute(
                    f"CREATE FUNCTION public.trap({of_two}) RETURNS double precision LANGUAGE plpgsql AS "
                    "$$ BEGIN RAISE EXCEPTION 'mallory was run'; END $$".encode()
                )
                mallory.execute(
                    b"CREATE OPERATOR public.<=> (FUNCTION = public.trap, LEFTARG = extensions.vector, "
                    b"RIGHTARG = extensions.vector)"
                )
                mallory.execute(b"CREATE DOMAIN public.vector AS text CHECK (VALUE = 'mine')")
            pipe = Database(fresh_database_url)
            migrate(pipe)
            texts = [f"text {n}" for n in range(120)]
            with pipe.connect() as connection:
                load(connection, "A1", {"a.txt": texts})
                maintain_index(pipe, worth=50)
                load(connection, "A2", {"b.txt": ["one more"]})
                maintain_index(pipe, worth=50)
                found = search(connection, vectors_of(["text 1"])[0], 3)
                assert found[0].page_content == "text 1"
                assert len(search(connection, vectors_of(["text 1"])[0], 3, source="a*")) == 3
                query = vectors_of(["q"])[0]
                assert len(connection.execute("SELECT * FROM search_chunks(%s, 5)", (query,)).fetchall()) == 5
                found_by_both = "SELECT * FROM search_chunks('text 9', %s, 5)"
                assert len(connection.execute(found_by_both, (query,)).fetchall()) == 5
        finally:
            admin.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(name)))
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def _strings(tree: ast.AST) -> Iterator[str]:
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


@pytest.mark.parametrize("path", sorted(STORE.rglob("*.py")), ids=lambda path: str(path.relative_to(STORE)))
def test_every_function_in_sql_is_named_with_its_schema(path: Path) -> None:
    unnamed = [
        name
        for text in _strings(ast.parse(path.read_text("utf-8")))
        if re.search(r"\b(SELECT|FROM|WHERE|UPDATE|INSERT|DELETE|SET)\b", text)
        for name in re.findall(r"(?<![.\w%])([a-z_][a-z_0-9]*)\(", text)
        if name.lower() not in SYNTAX
    ]
    assert unnamed == []
