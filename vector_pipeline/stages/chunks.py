"""The stage `chunks`: documents to chunks with exact token counts, character offsets and content hashes."""

from __future__ import annotations

import uuid
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from vector_pipeline.errors import ConfigurationError
from vector_pipeline.pipeline.model import targets
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.settings import MAX_PREFIX_CHARACTERS, variable
from vector_pipeline.stages.streams import ChunkRow, DocumentRow
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Database
from vector_pipeline.store.kept import repeated
from vector_pipeline.text.chunking.chunker import ChunkingConfig, chunk_documents
from vector_pipeline.text.chunking.tokens import Tokenizer
from vector_pipeline.text.context import MAX_CHARACTERS, Context, context_of
from vector_pipeline.text.documents import Chunk, Document, content_hash, noted, places_of

MAX_TOKENS_PER_INPUT = 8_192

# A chunk of at most this many tokens leaves room for any context and any prefix, of four bytes a character.
CERTAIN_CHUNK_TOKENS = MAX_TOKENS_PER_INPUT - 4 * (MAX_CHARACTERS + MAX_PREFIX_CHARACTERS)

NO_TEXT = "holds no text to search in; add some, or delete the file"


@dataclass(slots=True)
class ChunksOutcome:
    """Counts of the stage. They are complete once the caller has taken all rows."""

    documents: int = 0
    chunks: int = 0
    tokens: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    """Maps a number of tokens to the number of chunks with that length."""
    empty: dict[tuple[bytes, str], str] = field(default_factory=dict)
    """Maps (source key, fingerprint) to the path, for files that gave no chunk."""


def chunk_rows(
    documents: Iterable[DocumentRow],
    tokenizer: Tokenizer,
    config: ChunkingConfig,
    outcome: ChunksOutcome,
    *,
    threads: int = 1,
    prefix_tokens: int = 0,
) -> Iterator[ChunkRow]:
    """Yield the chunks of documents, in order. chunk_index counts from 0 in each document.

    `prefix_tokens` is the room that a chunk with its context must leave for the prefix that is sent before it.
    """
    in_front = ContextCounter(config.context, tokenizer, MAX_TOKENS_PER_INPUT - prefix_tokens)
    # chunk_documents reads a bounded number of documents ahead. Their rows wait here for the chunks.
    waiting: deque[DocumentRow] = deque()
    loaded: set[bytes] = set()

    def texts() -> Iterator[Document]:
        for row in documents:
            waiting.append(row)
            yield Document(text=row.text, outline=orjson.loads(row.outline))

    for _, chunks in chunk_documents(texts(), tokenizer, config, threads=threads):
        row = waiting.popleft()
        outcome.documents += 1
        identity = (row.source_key, row.fingerprint)
        if chunks:
            loaded.add(row.source_key)
            outcome.empty.pop(identity, None)
        elif row.source_key not in loaded:
            outcome.empty[identity] = row.source
        metadata = orjson.loads(row.metadata)
        places = orjson.loads(row.places)
        for index, chunk in enumerate(chunks):
            outcome.chunks += 1
            outcome.tokens += chunk.tokens
            outcome.lengths[chunk.tokens] += 1
            yield _row(row, index, chunk, {**chunk.metadata, **places_of(chunk, places)}, metadata, in_front)


@dataclass(slots=True)
class ContextCounter:
    """The contexts of chunks, each with its tokens: chunks that follow one another mostly have the same."""

    kind: Context
    tokenizer: Tokenizer
    most: int = MAX_TOKENS_PER_INPUT
    """The most tokens that a chunk may have together with its context."""
    _last: tuple[str, int] = ("", 0)

    def of(
        self, source: str, metadata: Mapping[str, Any], notes: Mapping[str, Any], chunk_tokens: int
    ) -> tuple[str, int]:
        """The context of a chunk, and its tokens; empty where both together are more than a model takes."""
        context = context_of(self.kind, source, metadata, notes)
        if context != self._last[0]:
            self._last = (context, self.tokenizer.count(context))
        return self._last if self._last[1] + chunk_tokens <= self.most else ("", 0)


def _row(
    document: DocumentRow,
    index: int,
    chunk: Chunk,
    notes: dict[str, Any],
    metadata: dict[str, Any],
    in_front: ContextCounter,
) -> ChunkRow:
    merged = document.metadata
    if notes:
        merged = orjson.dumps(noted(metadata, notes), default=str).decode()
    context, context_tokens = in_front.of(document.source, metadata, notes, chunk.tokens)
    return ChunkRow(
        *document[:5],
        text=chunk.text,
        metadata=merged,
        chunk_index=index,
        start_char=chunk.start,
        end_char=chunk.end,
        token_count=chunk.tokens,
        content_hash=content_hash(context + chunk.text),
        context=context,
        context_tokens=context_tokens,
    )


def prefix_tokens(pipeline: Pipeline) -> int:
    """The most tokens of a prefix that is sent before the chunks; 0 if chunks are so small that it does not matter.

    Raises ConfigurationError if a full chunk has no room for it, and the errors of `targets`.
    """
    if pipeline.settings.chunk_tokens <= CERTAIN_CHUNK_TOKENS:
        return 0
    wanted = repeated(pipeline.database, "chunks", lambda connection: targets(connection, pipeline.settings))
    return require_room([target.prefix for target in wanted], pipeline)


def require_room(prefixes: Iterable[str], pipeline: Pipeline) -> int:
    """The most tokens of some prefixes. Raises ConfigurationError if a full chunk has no room for them."""
    most = max((pipeline.tokenizer().count(prefix) for prefix in prefixes if prefix), default=0)
    chunk, room = pipeline.settings.chunk_tokens, MAX_TOKENS_PER_INPUT - most
    if most and chunk > room:
        raise ConfigurationError(
            f"{variable('chunk_tokens')} is {chunk:,}, and the prefix of documents has {most:,} tokens: a model takes "
            f"{MAX_TOKENS_PER_INPUT:,} in all; set {variable('chunk_tokens')} to {room:,} or less"
        )
    return most


def reject_empty(database: Database, arrival: str, outcome: ChunksOutcome) -> None:
    """Reject the files that gave no chunk, because they have nothing to load."""
    if outcome.empty:
        reasons = {(uuid.UUID(bytes=key), fingerprint): NO_TEXT for key, fingerprint in outcome.empty}
        repeated(database, "chunks", lambda connection: manifest.reject_files(connection, arrival, reasons))
