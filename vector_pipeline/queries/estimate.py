"""Estimate the work and the cost of ingesting a source, without writing or paying anything.

It reads, cuts and counts new and changed files, and leaves out texts that already have a vector.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field

from vector_pipeline.embedding.models import usd
from vector_pipeline.embedding.requests import RequestLimits, pack, weigh
from vector_pipeline.errors import FileRejected
from vector_pipeline.formats.pool import ReaderPool
from vector_pipeline.formats.reading import read_file
from vector_pipeline.pipeline.model import client_config, model_dimensions
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.sources.base import ListedFile, Source
from vector_pipeline.sources.opening import open_source
from vector_pipeline.sources.selection import Selection
from vector_pipeline.stages.chunks import ContextCounter
from vector_pipeline.stages.roots import known_as
from vector_pipeline.store import manifest, vectors
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.manifest import RACY
from vector_pipeline.store.space import Space, active_space, filling_space
from vector_pipeline.text.chunking.chunker import chunk_documents
from vector_pipeline.text.chunking.tokens import Tokenizer
from vector_pipeline.text.documents import content_hash

LOOKUP = 2_000


@dataclass(slots=True)
class Estimate:
    """An estimate. `usd` is None if the price is not known; `minutes` is None if the rate limit is not known."""

    model: str
    files: int = 0
    chunks: int = 0
    tokens: int = 0
    requests: int = 0
    reused: int = 0
    minutes: float | None = None
    usd: float | None = None
    usd_batch: float | None = None
    rejected: list[dict[str, str]] = field(default_factory=list)


def estimate(pipeline: Pipeline, *locations: str) -> Estimate:
    """Read, cut and count the files that `ingest` would load. Memory: some tens of bytes for each text to embed."""
    found = Estimate(pipeline.model)
    weights: dict[bytes, tuple[int, int]] = {}
    for location in locations:
        with pipeline.database.connect(role="estimate") as connection:
            source = known_as(connection, open_source(location))
        _count_source(pipeline, source, found, weights)
    found.reused = found.chunks - len(weights)
    found.tokens = sum(tokens for tokens, _ in weights.values())
    _price(pipeline, found, [weight for _, weight in weights.values()])
    return found


def _count_source(pipeline: Pipeline, source: Source, found: Estimate, weights: dict[bytes, tuple[int, int]]) -> None:
    with (
        pipeline.database.connect(role="estimate") as connection,
        pipeline.database.connect(role="estimate listing") as reader,
        closing(manifest.known_files(reader, source.root)) as known_files,
        ReaderPool(pipeline.reader_limits) as pool,
    ):
        space = active_space(connection)
        if space is not None and (space.model, space.dimensions) != (
            pipeline.model,
            model_dimensions(pipeline.settings) or space.dimensions,
        ):
            space = filling_space(connection)
        fingerprints = pipeline.fingerprints
        # What was loaded under other settings is loaded again, as a change of CONTEXT or CHUNK_TOKENS would do.
        known = {
            file.path: file.fingerprint.removesuffix(RACY)
            for file in known_files
            if file.status == "loaded" and not file.gone and file.pipeline == fingerprints.of(file.path)
        }
        gathered: dict[bytes, tuple[int, int]] = {}
        tokenizer = pipeline.tokenizer()
        for listed in source.walk(Selection(source, pipeline.choice).wants):
            if isinstance(listed, ListedFile) and known.get(listed.path) != listed.fingerprint:
                _count_file(pipeline, pool, tokenizer, source, listed.path, found, gathered)
                pipeline.advance("files counted", 1)
                if len(gathered) >= LOOKUP:
                    _keep_missing(connection, space, gathered, weights)
        _keep_missing(connection, space, gathered, weights)


def _count_file(
    pipeline: Pipeline,
    pool: ReaderPool,
    tokenizer: Tokenizer,
    source: Source,
    path: str,
    found: Estimate,
    gathered: dict[bytes, tuple[int, int]],
) -> None:
    weights: dict[bytes, tuple[int, int]] = {}
    chunks = 0
    try:
        with source.open(path) as stream:
            documents = read_file(pool, stream, path, pipeline.reader_options)
            in_front = ContextCounter(pipeline.chunking.context, tokenizer)
            for document, of_document in chunk_documents(documents, tokenizer, pipeline.chunking):
                chunks += len(of_document)
                for chunk in of_document:
                    context, context_tokens = in_front.of(path, document.metadata, chunk.metadata, chunk.tokens)
                    text, tokens = context + chunk.text, context_tokens + chunk.tokens
                    weights[content_hash(text)] = (tokens, weigh(tokens, text))
    except (FileRejected, OSError) as error:
        found.rejected.append({"source": path, "error": str(error)})
        return
    found.files += 1
    found.chunks += chunks
    gathered.update(weights)


def _keep_missing(
    connection: Connection,
    space: Space | None,
    gathered: dict[bytes, tuple[int, int]],
    weights: dict[bytes, tuple[int, int]],
) -> None:
    missing = set(gathered) if space is None else vectors.missing(connection, space, list(gathered))
    weights.update((key, gathered[key]) for key in missing)
    gathered.clear()


def _price(pipeline: Pipeline, found: Estimate, weights: list[int]) -> None:
    limits: RequestLimits = pipeline.request_limits
    found.requests = sum(1 for _ in pack(weights, limits, lambda weight: weight))
    price = pipeline.settings.usd_per_million_tokens
    found.usd = usd(pipeline.model, found.tokens, usd_per_million_tokens=price)
    found.usd_batch = usd(pipeline.model, found.tokens, batch=True, usd_per_million_tokens=price)
    rate = client_config(pipeline.settings).limits
    if rate is not None:
        by_tokens = sum(weights) / rate.tokens_per_minute if rate.tokens_per_minute else 0.0
        by_requests = found.requests / rate.requests_per_minute if rate.requests_per_minute else 0.0
        found.minutes = round(max(by_tokens, by_requests), 3)
    elif pipeline.settings.uses_embedded_model:
        found.minutes = 0.0
