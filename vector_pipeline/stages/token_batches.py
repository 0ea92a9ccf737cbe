"""The plan of what is to be paid for: distinct texts without a vector, packed into requests under every limit.

A plan and not an order: `embeddings` asks again what is missing before it sends anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from vector_pipeline.embedding.requests import RequestLimits, pack, weigh
from vector_pipeline.pipeline.model import Target
from vector_pipeline.stages.streams import ChunkRow, PlannedText
from vector_pipeline.store import vectors
from vector_pipeline.store.connection import Database

# Hashes asked for at once: one round trip for a thousand chunks is nothing beside embedding them.
LOOKUP = 2_000


@dataclass(slots=True)
class PlanOutcome:
    """What the chunks come to; complete once the rows have been taken."""

    chunks: int = 0
    texts: int = 0
    tokens: int = 0
    requests: int = 0
    reused_chunks: int = 0
    """Chunks whose vector is stored already, or planned for another chunk of the same text."""
    reused_tokens: int = 0


def plan(
    database: Database,
    chunks: Iterable[ChunkRow],
    targets: Sequence[Target],
    limits: RequestLimits,
    outcome: PlanOutcome,
) -> Iterator[PlannedText]:
    """The texts to be embedded, batch after batch; each target space is planned for by itself."""
    with database.connect(role="token batches") as connection:
        planned: set[tuple[str, bytes]] = set()

        def wanted() -> Iterator[PlannedText]:
            rows = iter(chunks)
            while group := list(islice(rows, LOOKUP)):
                outcome.chunks += len(group)
                for target in targets:
                    hashes = list({row.content_hash for row in group})
                    missing = set(hashes)
                    if target.space is not None:
                        missing = vectors.missing(connection, target.space, hashes)
                    for row in group:
                        key = (target.name, row.content_hash)
                        if row.content_hash in missing and key not in planned:
                            planned.add(key)
                            yield PlannedText(0, target.name, row.content_hash, row.text, row.token_count)
                        else:
                            outcome.reused_chunks += 1
                            outcome.reused_tokens += row.token_count

        yield from _number(wanted(), targets, limits, outcome)


def _number(
    texts: Iterable[PlannedText], targets: Sequence[Target], limits: RequestLimits, outcome: PlanOutcome
) -> Iterator[PlannedText]:
    # Nearly always there is one target; while a second space fills, its texts alternate with the first's by group.
    for batch in pack(texts, limits, lambda text: weigh(text.token_count, text.text)):
        for name in [target.name for target in targets]:
            members = [text for text in batch if text.space == name]
            if members:
                outcome.requests += 1
            for text in members:
                outcome.texts += 1
                outcome.tokens += text.token_count
                yield text._replace(batch=outcome.requests)
