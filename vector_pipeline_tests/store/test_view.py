"""The view keeps what somebody gave it, and readers see what row policies let them see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg
import pytest
from psycopg import sql

from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.index import maintain_index
from vector_pipeline.store.pool import ConnectionPool
from vector_pipeline.store.schema import migrate
from vector_pipeline.store.search.by_vector import search
from vector_pipeline.store.spaces import start_space, switch_space
from vector_pipeline_tests.support.addresses import as_role
from vector_pipeline_tests.support.corpus import embed, load, scalar, vectors_of

TEXTS: dict[str, Sequence[str]] = {"open.txt": ["for everybody", "and more"], "closed.txt": ["for the few"]}


@pytest.fixture
def reader(database: Database, connection: Connection) -> Iterator[Database]:
    """A role that was given the view and nothing else."""
    name = f"reader_{connection.info.dbname[-12:]}"
    role = sql.Identifier(name)
    connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'reader-1'").format(role))
    load(connection, "A1", TEXTS)
    connection.execute(sql.SQL("GRANT SELECT ON document_chunks TO {}").format(role))
    yield Database(as_role(database.url, name, "reader-1"))
    connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
    connection.execute(sql.SQL("DROP ROLE {}").format(role))


FEW = [text for texts in TEXTS.values() for text in texts]


def _sources(reader: Database) -> set[str]:
    with psycopg.connect(reader.url) as connection:
        return {row[0] for row in connection.execute("SELECT source FROM document_chunks")}


def _allow_open_files_alone(connection: Connection) -> None:
    connection.execute("ALTER TABLE chunks ENABLE ROW LEVEL SECURITY")
    connection.execute("CREATE POLICY open ON chunks FOR SELECT USING (source = 'open.txt')")


def test_a_reader_of_the_view_reads_and_row_policies_hold(
    database: Database, connection: Connection, reader: Database
) -> None:
    migrate(database)  # as each run does
    assert _sources(reader) == {"open.txt", "closed.txt"}
    _allow_open_files_alone(connection)
    assert _sources(reader) == {"open.txt"}
    # The owner's own work sees all of it.
    assert scalar(connection, "SELECT count(*) FROM document_chunks") == 3


def test_row_policies_hold_in_a_search_by_the_reader(
    database: Database, connection: Connection, reader: Database
) -> None:
    migrate(database)
    _allow_open_files_alone(connection)
    connection.execute(
        sql.SQL("GRANT SELECT ON spaces, placed_chunks TO {}").format(
            sql.Identifier(reader.url.split("://")[1].split(":")[0])
        )
    )
    query = vectors_of(["for the few"])[0]
    with reader.connect(row_policies=True) as limited:
        assert {r.source for r in search(limited, query, 3)} == {"open.txt"}
    with ConnectionPool(reader, role="test", most=1) as pool, pool.connection() as limited:
        assert {r.source for r in search(limited, query, 3)} == {"open.txt"}
    with psycopg.connect(reader.url) as plain:
        found = plain.execute("SELECT source FROM search_chunks(%s::vector, 5)", (str(query.tolist()),)).fetchall()
    assert {source for (source,) in found} == {"open.txt"}


@pytest.mark.slow
@pytest.mark.parametrize("dimensions", [16, 24])
def test_options_owner_and_grants_outlive_a_switch(
    database: Database, connection: Connection, reader: Database, dimensions: int
) -> None:
    connection.execute("ALTER VIEW document_chunks SET (security_barrier = true)")
    new = start_space(connection, "new-model", dimensions)
    embed(connection, FEW, new)
    before = scalar(connection, "SELECT relacl::text FROM pg_class WHERE relname = 'document_chunks'")
    switch_space(connection, new.name, 0.95)
    options = scalar(connection, "SELECT reloptions FROM pg_class WHERE relname = 'document_chunks'")
    assert sorted(options or ()) == ["security_barrier=true", "security_invoker=true"]  # type: ignore[call-overload]
    assert scalar(connection, "SELECT relacl::text FROM pg_class WHERE relname = 'document_chunks'") == before
    _allow_open_files_alone(connection)
    assert _sources(reader) == {"open.txt"}


def test_somebodys_own_choice_of_rights_stays(database: Database, connection: Connection, reader: Database) -> None:
    connection.execute("ALTER VIEW document_chunks SET (security_invoker = false)")
    new = start_space(connection, "new-model", 24)
    embed(connection, FEW, new)
    switch_space(connection, new.name, 0.95)
    assert scalar(connection, "SELECT reloptions FROM pg_class WHERE relname = 'document_chunks'") == [
        "security_invoker=false"
    ]
    assert _sources(reader) == {"open.txt", "closed.txt"}


def test_a_view_of_somebody_elses_and_its_readers_outlive_an_index_that_is_built(
    database: Database, connection: Connection, reader: Database
) -> None:
    texts = [f"text {n}" for n in range(120)]
    load(connection, "A2", {"more.txt": texts})
    connection.execute("CREATE VIEW theirs AS SELECT source, embedding FROM document_chunks")
    (report,) = maintain_index(database, worth=100)
    assert report.built
    assert scalar(connection, "SELECT count(*) FROM theirs") == 123
    migrate(database)
    assert _sources(reader) == {"open.txt", "closed.txt", "more.txt"}


def test_a_row_policy_on_the_vectors_outlives_an_index_that_is_built(database: Database, connection: Connection) -> None:
    load(connection, "A2", {"more.txt": [f"text {n}" for n in range(120)]})
    connection.execute("ALTER TABLE embeddings_test_model_16 ENABLE ROW LEVEL SECURITY")
    connection.execute("CREATE POLICY none ON embeddings_test_model_16 FOR SELECT USING (false)")
    (report,) = maintain_index(database, worth=100)
    assert report.built
    assert scalar(connection, "SELECT count(*) FROM pg_policies WHERE tablename = 'embeddings_test_model_16'") == 1


def test_a_reader_of_some_columns_keeps_them_and_is_given_no_more(
    database: Database, connection: Connection, reader: Database
) -> None:
    role = sql.Identifier(reader.url.split("://")[1].split(":")[0])
    connection.execute("ALTER VIEW document_chunks RESET (security_invoker)")  # as versions before 0.2 made it
    connection.execute(sql.SQL("REVOKE ALL ON document_chunks FROM {}").format(role))
    connection.execute(sql.SQL("GRANT SELECT (source) ON document_chunks TO {}").format(role))
    new = start_space(connection, "new-model", 24)
    embed(connection, FEW, new)
    switch_space(connection, new.name, 0.95)
    migrate(database)
    assert _sources(reader) == {"open.txt", "closed.txt"}
    with psycopg.connect(reader.url) as plain, pytest.raises(psycopg.errors.InsufficientPrivilege):
        plain.execute("SELECT page_content FROM chunks")


MADE_ON_THE_VIEW = """
SELECT 'trigger', tgname::text FROM pg_trigger WHERE tgrelid = 'document_chunks'::regclass
UNION ALL SELECT 'rule', rulename::text FROM pg_rewrite WHERE ev_class = 'document_chunks'::regclass
UNION ALL SELECT 'comment', col_description(attrelid, attnum) FROM pg_attribute
WHERE attrelid = 'document_chunks'::regclass AND col_description(attrelid, attnum) IS NOT NULL
UNION ALL SELECT 'default', pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'document_chunks'::regclass
ORDER BY 1, 2
"""


@pytest.mark.slow
@pytest.mark.parametrize("dimensions", [16, 24])
def test_triggers_rules_comments_and_defaults_of_users_outlive_a_switch(
    database: Database, connection: Connection, reader: Database, dimensions: int
) -> None:
    for statement in (
        "COMMENT ON COLUMN document_chunks.source IS 'the path, 100 % of it'",
        "ALTER VIEW document_chunks ALTER COLUMN source SET DEFAULT 'none''s'",
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER refused INSTEAD OF INSERT ON document_chunks FOR EACH ROW EXECUTE FUNCTION refuse()",
        "CREATE RULE unchanged AS ON DELETE TO document_chunks DO INSTEAD NOTHING",
    ):
        connection.execute(statement)
    before = connection.execute(MADE_ON_THE_VIEW).fetchall()
    assert len(before) == 5
    new = start_space(connection, "new-model", dimensions)
    embed(connection, FEW, new)
    switch_space(connection, new.name, 0.95)
    assert connection.execute(MADE_ON_THE_VIEW).fetchall() == before


def test_a_right_that_was_revoked_does_not_come_back_by_default(
    database: Database, connection: Connection, reader: Database
) -> None:
    connection.execute("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC")
    role = sql.Identifier(reader.url.split("://")[1].split(":")[0])
    connection.execute(sql.SQL("REVOKE ALL ON document_chunks FROM {}").format(role))
    new = start_space(connection, "new-model", 24)
    embed(connection, FEW, new)
    switch_space(connection, new.name, 0.95)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        _sources(reader)
