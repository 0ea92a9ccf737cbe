"""What it costs to send a model's own prefixes, for a database that was filled without them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from vector_pipeline.embedding.models import usd
from vector_pipeline.embedding.roles import Roles
from vector_pipeline.pipeline.model import model_dimensions, model_name, roles_in_space, roles_to_start
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.settings import variable
from vector_pipeline.stages.chunks import ContextCounter
from vector_pipeline.store import vectors
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.distinct_texts import DistinctText, distinct_texts
from vector_pipeline.store.space import Space, list_spaces, space_in_state
from vector_pipeline.text.documents import notes_of

LOOKUP = 2_000


@dataclass(frozen=True, slots=True)
class RolesCost:
    """What the settings or the model want beside texts and questions, and what it costs to send it from now on."""

    document: str
    """The wanted document prefix, or the parameter for documents; empty for nothing."""
    query: str
    document_now: str
    """What the texts of the active space were sent with."""
    query_now: str
    texts: int
    """Texts that would be embedded again; 0 if only questions change."""
    tokens: int
    usd: float | None
    usd_batch: float | None
    how: str


def roles_cost(pipeline: Pipeline, connection: Connection) -> RolesCost | None:
    """The cost of a model's own roles; None if they are sent already, named by the settings, or on their way."""
    settings = pipeline.settings
    spaces = list_spaces(connection)
    active = space_in_state(spaces, "active")
    if active is None or not active.holds(model_name(settings), model_dimensions(settings), active.roles.document):
        return None
    wanted = roles_to_start(settings, active)
    if wanted == roles_in_space(settings, active) or _is_filling(spaces, active, wanted):
        return None
    texts, tokens = 0, 0
    if wanted.document != active.roles.document:
        begun = next((s for s in spaces if s.holds(active.model, active.dimensions, wanted.document)), None)
        for text_tokens in _tokens_of_missing(pipeline, connection, begun, wanted.document.prefix):
            texts, tokens = texts + 1, tokens + text_tokens
    price = settings.usd_per_million_tokens
    return RolesCost(
        document=wanted.document.prefix or wanted.document.parameter,
        query=wanted.query.prefix or wanted.query.parameter,
        document_now=active.document_prefix or active.document_parameter,
        query_now=active.query_prefix or active.query_parameter,
        texts=texts,
        tokens=tokens,
        usd=usd(active.model, tokens, usd_per_million_tokens=price),
        usd_batch=usd(active.model, tokens, batch=True, usd_per_million_tokens=price),
        how=_how(active, wanted),
    )


def _is_filling(spaces: Iterable[Space], active: Space, wanted: Roles) -> bool:
    filling = space_in_state(spaces, "filling")
    return filling is not None and filling.holds(active.model, active.dimensions, wanted.document)


def _how(active: Space, wanted: Roles) -> str:
    if wanted.document == active.roles.document:
        return f"set {variable('query_prefix')} to {wanted.query.prefix!r}"
    return "run `vector-pipeline space start`, then `vector-pipeline ingest`, then `vector-pipeline space switch`"


def _tokens_of_missing(pipeline: Pipeline, connection: Connection, begun: Space | None, prefix: str) -> Iterator[int]:
    """Yield the tokens of each text that a space lacks, with the prefix; of all texts if there is no such space."""
    tokenizer = pipeline.tokenizer()
    in_front = ContextCounter(pipeline.chunking.context, tokenizer)
    with pipeline.database.connect(role="estimate") as reader:
        texts = distinct_texts(reader)
        while group := list(islice(texts, LOOKUP)):
            hashes = [text.content_hash for text in group]
            missing = set(hashes) if begun is None else vectors.missing(connection, begun, hashes)
            for text in group:
                if text.content_hash in missing:
                    context, tokens = _context(in_front, text)
                    tokens += text.token_count
                    yield tokens + (tokenizer.count_before(prefix, context + text.beginning) if prefix else 0)


def _context(in_front: ContextCounter, text: DistinctText) -> tuple[str, int]:
    """What stands before a text when it is embedded, as `chunk_rows` made it, and its tokens."""
    return in_front.of(text.source, text.metadata, notes_of(text.metadata), text.token_count)
