"""The stage `document_rows`: load the chunks of an arrival into the table, and delete the rows of its deleted files.

Files are grouped up to a number of rows. Each group is one transaction in `store.rows`. A group that fails is tried
again file by file, so one bad file cannot stop the others.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby

from vector_pipeline.errors import PipelineError, counted, one_line
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.stages.streams import ChunkRow, from_reader
from vector_pipeline.store import manifest, rejected_texts, rows
from vector_pipeline.store.chunks import SourceRows, StoredChunk
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.failures import PostgresError, is_passing
from vector_pipeline.store.kept import Kept
from vector_pipeline.store.space import active_space


@dataclass(slots=True)
class LoadResult:
    """The result of loading an arrival."""

    loaded: int = 0
    rows: int = 0
    """The number of rows that the loaded files have now."""
    written: int = 0
    """The number of rows that were inserted, updated or deleted for them."""
    deleted: int = 0
    deleted_rows: int = 0
    rejected: dict[str, str] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)
    """Maps a path to the reason why it was not loaded: vectors are missing, it changed, or another arrival owns it."""


def load_chunks(
    database: Database,
    arrival: str,
    chunks: Iterable[ChunkRow],
    *,
    fingerprint_of: Callable[[str], str],
    rows_per_batch: int = 1_000,
    progress: Callable[[int], None] | None = None,
    result: LoadResult | None = None,
) -> LoadResult:
    """Load the chunks of an arrival, which come file by file, and carry out its deletions.

    One group is in memory: `rows_per_batch` rows, or one file if it has more. `fingerprint_of` returns the fingerprint
    of the rules that a path is loaded with. `progress` is called after each group with its number of files. If the
    caller passes `result`, it is filled and returned, so its counts are known even after an error.
    A group is loaded again if Postgres was away; raises DatabaseUnavailable if it stays away for the database's
    `retry_seconds`. What was loaded before stays loaded.
    """
    result = result or LoadResult()
    with Kept(database, "document rows") as kept:
        gone = kept.run(partial(_gone, arrival=arrival))
        if gone:
            result.deleted_rows = kept.run(partial(rows.delete_sources, arrival=arrival, source_keys=gone))
        result.deleted = len(gone)
        for group in _groups(chunks, fingerprint_of, rows_per_batch):
            for part, outcome in kept.run(partial(_load_group, arrival=arrival, group=group)):
                result.rows += outcome.rows
                result.written += outcome.written
                result.loaded += len(outcome.loaded)
                result.pending.update(outcome.skipped)
                kept.run(partial(_explain_missing, arrival=arrival, group=part, outcome=outcome, result=result))
                if progress:
                    progress(len(part))
    return result


def load_arrival(
    pipeline: Pipeline, arrival: str, chunks: Iterable[ChunkRow], result: LoadResult | None = None
) -> LoadResult:
    """Load the chunks of an arrival as the pipeline's settings say. `load_chunks` explains `result` and the errors."""
    loaded = load_chunks(
        pipeline.database,
        arrival,
        chunks,
        fingerprint_of=pipeline.fingerprints.of,
        rows_per_batch=pipeline.settings.rows_per_batch,
        progress=lambda files: pipeline.advance("files loaded", files),
        result=result,
    )
    pipeline.advance("files deleted", loaded.deleted)
    return loaded


def load_complete_files(pipeline: Pipeline, arrival: str, result: LoadResult, log: Callable[[str], None]) -> None:
    """Load the files whose texts all have vectors, because `document_rows` does not run after a failure.

    An error is only logged, since the failure before it is the one to report.
    """
    try:
        with pipeline.stage_files.read("chunks", arrival) as chunks:
            load_arrival(pipeline, arrival, from_reader(chunks, ChunkRow), result)
    except (PipelineError, PostgresError, OSError) as error:
        log(f"the files whose texts are all embedded could not be loaded ({one_line(error)}); the next run loads them")
    log(f"{counted(result.loaded, 'file')} loaded, whose texts are all embedded")


def _gone(connection: Connection, arrival: str) -> list[uuid.UUID]:
    """The files of an arrival that are to be deleted."""
    return [file.source_key for file in manifest.owned_files(connection, arrival) if file.gone]


def _load_group(
    connection: Connection, arrival: str, group: list[SourceRows]
) -> list[tuple[list[SourceRows], rows.LoadOutcome]]:
    """Load a group in one transaction. If Postgres refuses it, load each file in a transaction of its own."""
    try:
        return [(group, rows.load_sources(connection, arrival, group))]
    except PostgresError as error:
        if is_passing(error):
            raise
        if len(group) == 1:
            outcome = rows.LoadOutcome(skipped={group[0].path: f"Postgres refuses its rows: {one_line(error)}"})
            return [(group, outcome)]
    return [part for source in group for part in _load_group(connection, arrival, [source])]


def _explain_missing(
    connection: Connection,
    arrival: str,
    group: list[SourceRows],
    outcome: rows.LoadOutcome,
    result: LoadResult,
) -> None:
    """Sort files with missing vectors: rejected if the API refused one of their texts, otherwise still pending."""
    if not outcome.missing_vectors:
        return
    space = active_space(connection)
    reasons: dict[tuple[uuid.UUID, str], str] = {}
    for source in group:
        lacking = outcome.missing_vectors.get(source.path)
        if not lacking:
            continue
        refused = rejected_texts.find_rejections(
            connection, [space.name, space.name_before_vectors] if space else None, list(lacking)
        )
        if refused:
            first = next(chunk for chunk in source.chunks if chunk.content_hash in refused)
            reason = f"chunk {first.chunk_index:,} of {first.document_id}: {refused[first.content_hash]}"
            reasons[uuid.UUID(bytes=source.source_key), source.fingerprint] = reason
            result.rejected[source.path] = reason
        else:
            result.pending[source.path] = f"{len(lacking):,} of its texts have no vector yet"
    manifest.reject_files(connection, arrival, reasons, until="day")


def _groups(
    chunks: Iterable[ChunkRow], fingerprint_of: Callable[[str], str], rows_per_batch: int
) -> Iterator[list[SourceRows]]:
    group: list[SourceRows] = []
    count = 0
    for _, of_source in groupby(chunks, key=lambda chunk: chunk.source_key):
        source = _source_rows(list(of_source), fingerprint_of)
        if group and count + len(source.chunks) > rows_per_batch:
            yield group
            group, count = [], 0
        group.append(source)
        count += len(source.chunks)
    if group:
        yield group


def _source_rows(chunks: list[ChunkRow], fingerprint_of: Callable[[str], str]) -> SourceRows:
    first = chunks[0]
    return SourceRows(
        source_key=first.source_key,
        path=first.source,
        fingerprint=first.fingerprint,
        encoding=first.encoding,
        documents=len({chunk.document_id for chunk in chunks}),
        pipeline=fingerprint_of(first.source),
        chunks=[
            StoredChunk(
                document_id=chunk.document_id,
                chunk_index=chunk.chunk_index,
                start_char=chunk.start_char,
                end_char=chunk.end_char,
                page_content=chunk.text,
                metadata=chunk.metadata,
                token_count=chunk.token_count,
                content_hash=chunk.content_hash,
                context=chunk.context,
            )
            for chunk in chunks
        ],
    )
