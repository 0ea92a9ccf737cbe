"""CocoIndex's app: a component per file, memoized, and its embedder, which memoizes each text's vector."""

from __future__ import annotations

import pathlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, Any

import asyncpg
import cocoindex as coco
from cocoindex.connectors import localfs, postgres
from cocoindex.ops.litellm import LiteLLMEmbedder
from cocoindex.resources.file import FileLike, PatternFilePathMatcher
from cocoindex.resources.id import IdGenerator
from numpy.typing import NDArray

DATABASE = coco.ContextKey[asyncpg.Pool]("database")
EMBEDDER = coco.ContextKey[LiteLLMEmbedder]("embedder", detect_change=True)


@dataclass
class Row:
    """One chunk."""

    id: int
    filename: str
    text: str
    embedding: Annotated[NDArray[Any], EMBEDDER]


# What the splitter is made of cannot be a memo's key, so the app's only task is known to the module.
_split: list[Callable[[str], list[str]]] = []


@coco.fn
async def process_chunk(text: str, filename: str, ids: IdGenerator, table: postgres.TableTarget[Row]) -> None:
    """One row."""
    table.declare_row(
        row=Row(
            id=await ids.next_id(text),
            filename=filename,
            text=text,
            embedding=await coco.use_context(EMBEDDER).embed(text),
        )
    )


@coco.fn(memo=True)
async def process_file(file: FileLike, table: postgres.TableTarget[Row]) -> None:
    """One file's rows."""
    chunks = _split[0](await file.read_text())
    await coco.map(process_chunk, chunks, str(file.file_path.path), IdGenerator(str(file.file_path.path)), table)


@coco.fn
async def main(folder: pathlib.Path) -> None:
    """All files of the folder."""
    table = await postgres.mount_table_target(
        DATABASE,
        table_name="chunks",
        table_schema=await postgres.TableSchema.from_class(Row, primary_key=["id"]),
        pg_schema_name="public",
    )
    table.declare_vector_index(column="embedding", method="hnsw", metric="cosine", m=16, ef_construction=64)
    files = localfs.walk_dir(folder, recursive=True, path_matcher=PatternFilePathMatcher(included_patterns=["**/*.txt"]))
    await coco.mount_each(process_file, files.items(), table)


def run(task: Any, split: Callable[[str], list[str]]) -> None:
    """Bring the table in step once."""
    _split[:] = [split]

    @coco.lifespan
    async def lifespan(builder: coco.EnvironmentBuilder) -> AsyncIterator[None]:
        builder.settings.db_path = pathlib.Path(task.state) / "cocoindex"
        host, name = task.parts
        async with await asyncpg.create_pool(user="postgres", host=host, database=name) as pool:
            builder.provide(DATABASE, pool)
            embedder = LiteLLMEmbedder("openai/text-embedding-3-small", api_base=task.api, api_key="sk-benchmark")
            builder.provide(EMBEDDER, embedder)
            yield

    app = coco.App(coco.AppConfig(name="pipelines"), main, folder=pathlib.Path(task.folder))
    app.update_blocking()
