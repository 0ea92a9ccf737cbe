"""The schema: made once by whoever comes first, in any schema, by a role that owns no more than that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import resources

import psycopg
import pytest
from psycopg import sql

from vector_pipeline.errors import DatabaseError
from vector_pipeline.store import schema
from vector_pipeline.store.connection import SHARED_SCHEMA, Database
from vector_pipeline.store.index import maintain_index
from vector_pipeline.store.rows import LoadOutcome, load_sources
from vector_pipeline.store.search.by_vector import search
from vector_pipeline.store.shared import spending
from vector_pipeline.store.space import list_spaces
from vector_pipeline.store.spaces import start_space, switch_space
from vector_pipeline.store.sweep import sweep
from vector_pipeline_tests.support.addresses import as_role
from vector_pipeline_tests.support.corpus import embed, load, own, rows_of, scalar, vectors_of

ODD = """My "odd" schema's 100% 이름 {0}"""


@pytest.fixture
def tenant(fresh_database_url: str) -> Iterator[Database]:
    """A database in which a role may connect, and otherwise owns a schema of an odd name and the shared one."""
    name = f"tenant_{fresh_database_url.split('/test_')[1][:12]}"
    role = sql.Identifier(name)
    with psycopg.connect(fresh_database_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'tenant'").format(role))
        admin.execute("CREATE EXTENSION vector")
        for made in (ODD, SHARED_SCHEMA):
            admin.execute(sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(sql.Identifier(made), role))
        for revoked in ("DATABASE {}", "SCHEMA public"):
            place = sql.SQL(revoked).format(sql.Identifier(admin.info.dbname))
            admin.execute(sql.SQL("REVOKE ALL ON {} FROM PUBLIC").format(place))
        admin.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(admin.info.dbname), role))
        admin.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(role))  # where pgvector's types are
    yield Database(as_role(fresh_database_url, name, "tenant"), ODD)
    with psycopg.connect(fresh_database_url, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP OWNED BY {}").format(role))
        admin.execute(sql.SQL("DROP ROLE {}").format(role))


@pytest.mark.slow
def test_a_role_that_owns_only_its_schema_can_do_everything(tenant: Database) -> None:
    assert schema.migrate(tenant) == sorted(schema._files())
    assert schema.migrate(tenant) == []
    texts = [f"text {i}" for i in range(150)]
    with tenant.connect() as connection:
        assert load(connection, "A1", {"a.txt": texts}).rows == 150
        (report,) = maintain_index(tenant, worth=100)
        assert report.indexed
        assert search(connection, vectors_of(["text 7"])[0], 1)[0].page_content == "text 7"
        # Plain SQL of this role goes on through the index too, though it may not change its own settings for all.
        found = connection.execute("SELECT * FROM search_chunks(%s, 100)", (vectors_of(["q"])[0],)).fetchall()
        assert len(found) == 100
        new = start_space(connection, "other-model", 24)
        embed(connection, texts, new)
        maintain_index(tenant, worth=100)
        assert switch_space(connection, new.name, 0.5).state == "active"
        own(connection, "A2", ["a.txt"], "2")
        assert load_sources(connection, "A2", [rows_of("a.txt", texts[:50], "2")]).written == 100
        assert sweep(connection, 0) == 200
        assert scalar(connection, "SELECT count(*) FROM document_chunks") == 50


def test_a_role_without_a_schema_is_told_what_to_ask_for(tenant: Database) -> None:
    elsewhere = Database(tenant.url, "elsewhere")
    with pytest.raises(DatabaseError, match='CREATE SCHEMA IF NOT EXISTS "elsewhere" AUTHORIZATION'):
        schema.migrate(elsewhere)


def test_whoever_comes_first_makes_it_and_the_others_find_it(fresh_database_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(lambda _: schema.migrate(Database(fresh_database_url)), range(4)))
    assert sorted(applied) == [[], [], [], sorted(schema._files())]


def test_what_a_newer_version_made_is_not_touched(fresh_database_url: str) -> None:
    database = Database(fresh_database_url)
    schema.migrate(database)
    with database.connect() as connection:
        connection.execute("INSERT INTO vector_pipeline_migrations (number) VALUES (999)")
    with pytest.raises(DatabaseError, match="made by a newer version"):
        schema.migrate(database)


def test_two_pipelines_in_one_database_do_not_see_one_another(fresh_database_url: str) -> None:
    databases = [Database(fresh_database_url, name) for name in ("one", "two")]
    for number, database in enumerate(databases):
        schema.migrate(database)
        with database.connect() as connection:
            loaded: LoadOutcome = load(connection, "A1", {"a.txt": [f"text of {number}"]})
            assert loaded.loaded == ["a.txt"]
    for number, database in enumerate(databases):
        with database.connect() as connection:
            assert [r.page_content for r in search(connection, vectors_of(["q"])[0], 9)] == [f"text of {number}"]


def test_loads_read_what_was_committed_whatever_the_role_is_set_to(fresh_database_url: str) -> None:
    with psycopg.connect(fresh_database_url, autocommit=True) as admin:
        name = sql.Identifier(admin.info.dbname)
        admin.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_isolation = 'serializable'").format(name))
    with Database(fresh_database_url).connect() as connection, connection.transaction():
        assert scalar(connection, "SHOW transaction_isolation") == "read committed"


def test_plain_sql_searches_well_unless_somebody_set_it_otherwise(fresh_database_url: str) -> None:
    with psycopg.connect(fresh_database_url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET hnsw.iterative_scan = 'strict_order'".encode())
    schema.migrate(Database(fresh_database_url))
    with psycopg.connect(fresh_database_url) as anyone:
        anyone.execute("SELECT '[1]'::vector")
        found = anyone.execute(
            "SELECT current_setting('hnsw.iterative_scan'), current_setting('hnsw.ef_search')"
        ).fetchone()
    assert found == ("strict_order", "100")


def test_sections_of_their_first_form_are_brought_in_step(fresh_database_url: str) -> None:
    database = Database(fresh_database_url)
    schema.migrate(database)
    texts = [f"text {number}" for number in range(100)]
    with database.connect() as connection:
        load(connection, "A1", {"a.txt": texts})
        places = "SELECT chunk_index, start_char, page_content FROM document_chunks ORDER BY 1"
        before = connection.execute(places).fetchall()
        connection.execute(
            "ALTER TABLE chunk_sections DROP COLUMN document_id, DROP COLUMN digest, DROP COLUMN first_index, "
            "DROP COLUMN first_start; ALTER TABLE spaces DROP COLUMN ef_search; DROP INDEX chunks_source_key_section; "
            "CREATE INDEX chunks_source_key ON chunks (source_key); DROP TABLE scans; "
            "DELETE FROM vector_pipeline_migrations WHERE number IN (9, 10)"
        )
        assert schema.migrate(database) == [9, 10]
        assert connection.execute(places).fetchall() == before
        assert scalar(connection, "SELECT count(*) FROM chunk_sections") == 0
        own(connection, "A2", ["a.txt"])
        assert load_sources(connection, "A2", [rows_of("a.txt", texts)]).written == 100
        assert connection.execute(places).fetchall() == before
        assert scalar(connection, "SELECT count(*) > 0 FROM chunk_sections")
        assert [space.ef_search for space in list_spaces(connection)] == [None]


def test_no_two_migrations_have_the_same_number() -> None:
    names = sorted(path.name for path in (resources.files("vector_pipeline.store") / "migrations").iterdir())
    numbers = [name[:3] for name in names if name.endswith(".sql")]
    assert len(numbers) == len(set(numbers)), names


def test_the_advice_for_a_missing_right_helps(tenant: Database, fresh_database_url: str) -> None:
    poor = Database(tenant.url)  # in schema public, which exists and is not the role's
    with pytest.raises(DatabaseError) as refused:
        schema.migrate(poor)
    (advice,) = re.findall(r"`(GRANT [^`]+ ON SCHEMA \"public\" [^`]+)`", str(refused.value))
    with psycopg.connect(fresh_database_url, autocommit=True) as admin:
        admin.execute(advice.encode())
    assert schema.migrate(poor)


def test_migrations_are_numbered_one_after_the_other() -> None:
    folder = resources.files("vector_pipeline.store") / "migrations"
    numbers = sorted(int(file.name[:3]) for file in folder.iterdir() if file.name.endswith(".sql"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_what_is_shared_is_made_again_where_a_dump_of_the_schema_alone_was_restored(fresh_database_url: str) -> None:
    database = Database(fresh_database_url)
    schema.migrate(database)
    with database.connect() as connection:
        connection.execute(f"DROP SCHEMA {SHARED_SCHEMA} CASCADE".encode())
    assert schema.migrate(database) == []
    with database.connect() as connection:
        spending.record(connection, "m", 0.5, 3)
        assert spending.spent_today(connection) == 0.5
        assert load(connection, "A1", {"a.txt": ["text"]}).rows == 1


def test_each_shared_table_is_made_by_a_file_that_can_be_run_again() -> None:
    files = schema._files().values()
    made = set(schema._shared_tables(text for text in files if schema._is_shared(text)))
    assert made == set(schema._shared_tables(files))


def test_what_a_newer_version_shares_is_refused_where_this_one_cannot_work_with_it(fresh_database_url: str) -> None:
    database = Database(fresh_database_url)
    schema.migrate(database)
    versions = f"INSERT INTO {SHARED_SCHEMA}.versions (version, readable_from) VALUES"
    with database.connect() as connection:
        connection.execute(f"{versions} (8, {schema.SHARED_VERSION})".encode())
    schema.migrate(database)
    with database.connect() as connection:
        connection.execute(f"{versions} (9, {schema.SHARED_VERSION + 1})".encode())
    with pytest.raises(DatabaseError, match="vector_pipeline_shared was made by a newer version"):
        schema.migrate(database)


def test_settings_for_searches_are_set_again_where_they_were_lost(fresh_database_url: str) -> None:
    """They are no part of a dump, and another role has none."""
    schema.migrate(Database(fresh_database_url))
    with psycopg.connect(fresh_database_url, autocommit=True) as connection:
        name = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("ALTER ROLE CURRENT_USER IN DATABASE {} RESET ALL").format(name))
    schema.migrate(Database(fresh_database_url))
    with psycopg.connect(fresh_database_url) as anyone:
        anyone.execute("SELECT '[1]'::vector")
        assert anyone.execute("SHOW hnsw.iterative_scan").fetchone() == ("relaxed_order",)
        assert anyone.execute("SHOW hnsw.ef_search").fetchone() == ("100",)
