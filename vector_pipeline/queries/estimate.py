"""Estimate the work and the cost of ingesting a source, without writing or paying anything.

It reads, cuts and counts new and changed files, and leaves out texts that already have a vector.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field

from vector_pipeline.embedding.models import known_model, usd
from vector_pipeline.embedding.requests import RequestLimits, pack, weigh
from vector_pipeline.errors import FileRejected
from vector_pipeline.formats.pool import ReaderPool
from vector_pipeline.formats.reading import read_file
from vector_pipeline.pipeline.model import client_config, model_dimensions, roles_wanted
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.queries.roles_cost import RolesCost, roles_cost
from vector_pipeline.sources.base import ListedFile, Source
from vector_pipeline.sources.opening import open_source
from vector_pipeline.sources.selection import Selection
from vector_pipeline.stages.chunks import CERTAIN_CHUNK_TOKENS, MAX_TOKENS_PER_INPUT, ContextCounter, require_room
from vector_pipeline.stages.roots import known_as
from vector_pipeline.store import manifest, vectors
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.manifest import RACY
from vector_pipeline.store.space import Space, list_spaces, space_in_state
from vector_pipeline.text.chunking.chunker import chunk_documents
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
    roles: RolesCost | None = None
    """What it would cost to send the model's own prefixes, if the database was filled without them."""


# Tokens and weight of a text, with the prefix of each space that it is embedded into.
Sizes = tuple[tuple[int, int], ...]


def estimate(pipeline: Pipeline, *locations: str) -> Estimate:
    """Read, cut and count the files that `ingest` would load. Memory: some tens of bytes for each text to embed."""
    found = Estimate(pipeline.model)
    with pipeline.database.connect(role="estimate") as connection:
        sources = [known_as(connection, open_source(location)) for location in locations]
        filled = _filled(pipeline, connection)
        found.roles = roles_cost(pipeline, connection)
    weights: list[dict[bytes, tuple[int, int]]] = [{} for _ in filled.prefixes]
    for source in sources:
        _count_source(pipeline, source, found, filled, weights)
    sizes = [size for of_space in weights for size in of_space.values()]
    found.reused = found.chunks - len({content_hash for of_space in weights for content_hash in of_space})
    found.tokens = sum(tokens for tokens, _ in sizes)
    _price(pipeline, found, [weight for _, weight in sizes])
    return found


def _count_source(
    pipeline: Pipeline, source: Source, found: Estimate, filled: _Filled, weights: list[dict[bytes, tuple[int, int]]]
) -> None:
    with (
        pipeline.database.connect(role="estimate") as connection,
        pipeline.database.connect(role="estimate listing") as reader,
        closing(manifest.known_files(reader, source.root)) as known_files,
        ReaderPool(pipeline.reader_limits) as pool,
    ):
        fingerprints = pipeline.fingerprints
        # What was loaded under other settings is loaded again, as a change of CONTEXT or CHUNK_TOKENS would do.
        known = {
            file.path: file.fingerprint.removesuffix(RACY)
            for file in known_files
            if file.status == "loaded" and not file.gone and file.pipeline == fingerprints.of(file.path)
        }
        known = {} if filled.anew else known
        counter = _Counter(pipeline, pool, source, found, filled.prefixes)
        for listed in source.walk(Selection(source, pipeline.choice).wants):
            if isinstance(listed, ListedFile) and known.get(listed.path) != listed.fingerprint:
                counter.count(listed.path)
                pipeline.advance("files counted", 1)
                if len(counter.gathered) >= LOOKUP:
                    _keep_missing(connection, filled, counter.gathered, weights)
        _keep_missing(connection, filled, counter.gathered, weights)


@dataclass(frozen=True, slots=True)
class _Filled:
    """The spaces of the settings' model that `ingest` fills, each with its document prefix; None for a new one."""

    spaces: tuple[Space | None, ...]
    prefixes: tuple[str, ...]
    anew: bool = False
    """Whether the settings name vectors that no space takes in yet: every file has to be embedded for them."""


def _filled(pipeline: Pipeline, connection: Connection) -> _Filled:
    model, dimensions = pipeline.model, model_dimensions(pipeline.settings)
    spaces = list_spaces(connection)
    taken_in = [space_in_state(spaces, "active"), space_in_state(spaces, "filling")]
    roles = roles_wanted(pipeline.settings, taken_in)
    fitting = [space for space in taken_in if space is not None and space.model == model]
    if any(space.holds(model, dimensions, roles.document) for space in fitting):
        return _Filled(tuple(fitting), tuple(space.document_prefix for space in fitting))
    # A retired space of these vectors is resumed.
    kept = next((space for space in spaces if space.holds(model, dimensions, roles.document)), None)
    return _Filled((kept,), (roles.document.prefix,), anew=bool(spaces))


class _Counter:
    """Reads and cuts files, and gathers the sizes of their texts."""

    def __init__(
        self, pipeline: Pipeline, pool: ReaderPool, source: Source, found: Estimate, prefixes: tuple[str, ...]
    ) -> None:
        self.gathered: dict[bytes, Sizes] = {}
        self._pipeline = pipeline
        self._pool = pool
        self._source = source
        self._found = found
        self._prefixes = prefixes
        self._tokenizer = pipeline.tokenizer()
        small = pipeline.settings.chunk_tokens <= CERTAIN_CHUNK_TOKENS
        self._most = MAX_TOKENS_PER_INPUT - (0 if small else require_room(prefixes, pipeline))

    def count(self, path: str) -> None:
        """Count one file."""
        pipeline, tokenizer, found = self._pipeline, self._tokenizer, self._found
        sizes: dict[bytes, Sizes] = {}
        chunks = 0
        try:
            with self._source.open(path) as stream:
                documents = read_file(self._pool, stream, path, pipeline.reader_options)
                in_front = ContextCounter(pipeline.chunking.context, tokenizer, self._most)
                for document, of_document in chunk_documents(documents, tokenizer, pipeline.chunking):
                    chunks += len(of_document)
                    for chunk in of_document:
                        context, context_tokens = in_front.of(path, document.metadata, chunk.metadata, chunk.tokens)
                        text = context + chunk.text
                        sizes[content_hash(text)] = self._sizes(text, context_tokens + chunk.tokens)
        except (FileRejected, OSError) as error:
            found.rejected.append({"source": path, "error": str(error)})
            return
        found.files += 1
        found.chunks += chunks
        self.gathered.update(sizes)

    def _sizes(self, text: str, tokens: int) -> Sizes:
        with_prefix = (
            tokens + (self._tokenizer.count_before(prefix, text) if prefix else 0) for prefix in self._prefixes
        )
        return tuple(
            (counted, weigh(counted, prefix + text)) for prefix, counted in zip(self._prefixes, with_prefix, strict=True)
        )


def _keep_missing(
    connection: Connection, filled: _Filled, gathered: dict[bytes, Sizes], weights: list[dict[bytes, tuple[int, int]]]
) -> None:
    for place, (space, of_space) in enumerate(zip(filled.spaces, weights, strict=True)):
        missing = set(gathered) if space is None else vectors.missing(connection, space, list(gathered))
        of_space.update((key, gathered[key][place]) for key in missing)
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
        known = known_model(pipeline.model)
        speed = known.tokens_per_minute if known else None
        found.minutes = round(found.tokens / speed / pipeline.reader_limits.processes, 3) if speed else 0.0
