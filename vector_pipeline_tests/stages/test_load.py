"""The batched insert as a stage: groups of whole files, a bad one left out alone, nothing locked while the API works."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from vector_pipeline.pipeline.model import client_config, targets
from vector_pipeline.pipeline.pipeline import open_pipeline
from vector_pipeline.settings import Settings
from vector_pipeline.stages.embeddings.plan import embed_plan
from vector_pipeline.stages.load import load_chunks
from vector_pipeline.stages.streams import ChunkRow, PlannedText
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline_tests.support.asking import many
from vector_pipeline_tests.support.corpus import embed, hash_of, key_of, own, scalar
from vector_pipeline_tests.support.openai_server import ServerConfig, serve


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.connect(role="test") as opened:
        yield opened


def chunks_of(files: dict[str, int], metadata: dict[str, str] | None = None) -> list[ChunkRow]:
    """So many chunks for each file, in order."""
    found = []
    for path, count in files.items():
        for index in range(count):
            text = f"{path} part {index}"
            values = (metadata or {}).get(path, "{}"), index, index * 10, index * 10 + len(text), 3, hash_of(text)
            found.append(ChunkRow(key_of(path), path, "1", "utf-8", path, text, *values))
    return found


def ready(connection: Connection, files: dict[str, int]) -> list[ChunkRow]:
    """Their chunks, owned and embedded."""
    chunks = chunks_of(files)
    own(connection, "A1", list(files))
    embed(connection, [chunk.text for chunk in chunks])
    return chunks


def transactions(connection: Connection) -> list[int]:
    """Rows of each transaction that loaded some, in the order of their size."""
    rows = connection.execute("SELECT count(*) FROM chunks GROUP BY xmin ORDER BY 1")
    return [row[0] for row in rows]


@pytest.mark.parametrize(("rows_per_batch", "expected"), [(10, [3, 8, 10, 25]), (1_000, [46]), (1, [3, 4, 4, 5, 5, 25])])
def test_files_are_loaded_in_batches_of_so_many_rows_and_none_is_split(
    database: Database, connection: Connection, rows_per_batch: int, expected: list[int]
) -> None:
    chunks = ready(connection, {"a": 4, "b": 4, "c": 25, "d": 5, "e": 5, "f": 3})
    result = load_chunks(database, "A1", chunks, fingerprint_of=lambda _: "p", rows_per_batch=rows_per_batch)
    assert (result.loaded, result.rows) == (6, 46)
    assert transactions(connection) == expected


def test_a_file_that_postgres_refuses_keeps_none_of_the_others_out(database: Database, connection: Connection) -> None:
    files = {"a": 2, "bad": 2, "c": 2}
    ready(connection, files)
    chunks = chunks_of(files, {"bad": '{"a": "\\u0000"}'})
    result = load_chunks(database, "A1", chunks, fingerprint_of=lambda _: "p")
    assert result.loaded == 2
    assert "Postgres refuses its rows" in result.pending["bad"]
    assert scalar(connection, "SELECT string_agg(DISTINCT source, ',') FROM document_chunks") == "a,c"


REFUSED = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE row jsonb := to_jsonb(coalesce(new, old));
BEGIN
    IF row @> '{{"{column}": "bad"}}' AND NOT row @> '{{"status": "pending"}}' THEN RAISE 'no % of bad', tg_op; END IF;
    RETURN coalesce(new, old);
END $$;
CREATE TRIGGER refuse BEFORE {operation} ON {table} FOR EACH ROW EXECUTE FUNCTION refuse();
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "column", "operation"),
    [
        ("chunks", "source", "DELETE"),
        ("chunk_sections", "document_id", "UPDATE"),
        ("source_files", "path", "UPDATE"),
        ("chunks", "source", "INSERT"),
    ],
)
def test_what_postgres_said_is_told_whichever_statement_it_refused(
    database: Database, connection: Connection, table: str, column: str, operation: str
) -> None:
    files = {"a": 2, "bad": 40, "c": 2}
    load_chunks(database, "A1", ready(connection, files), fingerprint_of=lambda _: "p")
    chunks = [c._replace(text=c.text + " again", content_hash=hash_of(c.text + " again")) for c in chunks_of(files)]
    embed(connection, [chunk.text for chunk in chunks])
    own(connection, "A1", list(files))
    connection.execute(REFUSED.format(table=table, column=column, operation=operation).encode())
    result = load_chunks(database, "A1", chunks, fingerprint_of=lambda _: "p")
    assert result.loaded == 2
    assert f"no {operation} of bad" in result.pending["bad"]
    rows = connection.execute(
        "SELECT source, count(*) FROM chunks WHERE page_content LIKE '% again' GROUP BY 1 ORDER BY 1"
    )
    assert rows.fetchall() == [("a", 2), ("c", 2)]


WRITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND (backend_xid IS NOT NULL OR state LIKE 'idle in transaction%')"
)


@pytest.mark.slow
def test_no_transaction_is_open_while_the_api_works(tmp_path: Path, fresh_database_url: str) -> None:
    inputs = many(30)
    with serve(ServerConfig(latency=1.0)) as server:
        settings = Settings.of(
            home=tmp_path, database_url=fresh_database_url, openai_base_url=server.url, openai_api_key="sk-test"
        )
        with (
            open_pipeline(settings) as pipeline,
            psycopg.connect(fresh_database_url, autocommit=True) as watcher,
            ThreadPoolExecutor(1) as pool,
        ):
            with pipeline.database.connect() as connection:
                (target,) = targets(connection, settings)
            plan = [PlannedText(0, target.name, i.content_hash, i.text, i.tokens) for i in inputs]
            run = pool.submit(embed_plan, pipeline, plan, client_config(settings))
            server.wait_for_requests(1)
            found = watcher.execute(WRITING).fetchone()
            assert not run.done()
            assert run.result().stored == 30
    assert found == (0,)
