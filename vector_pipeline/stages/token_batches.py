"""The stage `token_batches`: plan what has to be paid for. Distinct texts without a vector are packed into requests.

Every request stays within all limits. It is only a plan: `embeddings` checks again which vectors are missing before it
sends anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

from vector_pipeline.embedding.requests import RequestLimits, pack, weigh
from vector_pipeline.pipeline.model import Target
from vector_pipeline.stages.streams import ChunkRow, PlannedText
from vector_pipeline.store import vectors
from vector_pipeline.store.connection import Database
from vector_pipeline.store.kept import Kept
from vector_pipeline.text.chunking.tokens import Tokenizer, tokenizer_for

# The number of hashes in one look-up. A round trip for this many is negligible compared with embedding them.
LOOKUP = 2_000


@dataclass(slots=True)
class PlanOutcome:
    """Counts of the plan. They are complete once the caller has taken all rows."""

    chunks: int = 0
    texts: int = 0
    tokens: int = 0
    requests: int = 0
    reused_chunks: int = 0
    """Chunks whose vector is stored in each target space already, or planned for another chunk with the same text."""
    reused_tokens: int = 0


def plan(
    database: Database,
    chunks: Iterable[ChunkRow],
    targets: Sequence[Target],
    limits: RequestLimits,
    outcome: PlanOutcome,
    tokenizer: Callable[[], Tokenizer] = lambda: tokenizer_for(""),
    *,
    lookup: int = LOOKUP,
) -> Iterator[PlannedText]:
    """Yield the texts to embed, token batch after token batch. Each target space has token batches of its own.

    A text has no prefix yet, but its tokens, by `tokenizer`, count that of its target. `lookup` chunks are in memory,
    and looked up at once.
    """
    with Kept(database, "token batches") as kept:
        planned: set[tuple[str, bytes]] = set()

        def wanted() -> Iterator[PlannedText]:
            rows = iter(chunks)
            while group := list(islice(rows, lookup)):
                outcome.chunks += len(group)
                to_embed: set[int] = set()
                for target in targets:
                    hashes = list({row.content_hash for row in group})
                    missing = set(hashes)
                    if target.space is not None:
                        missing = kept.run(partial(vectors.missing, space=target.space, hashes=hashes))
                    for index, row in enumerate(group):
                        key = (target.name, row.content_hash)
                        if row.content_hash in missing and key not in planned:
                            planned.add(key)
                            to_embed.add(index)
                            tokens = row.context_tokens + row.token_count
                            if target.prefix:
                                tokens += tokenizer().count_before(target.prefix, row.embedded)
                            yield PlannedText(0, target.name, row.content_hash, row.embedded, tokens)
                for index, row in enumerate(group):
                    if index not in to_embed:
                        outcome.reused_chunks += 1
                        outcome.reused_tokens += row.context_tokens + row.token_count

        yield from _number(wanted(), targets, limits, outcome)


def _number(
    texts: Iterable[PlannedText], targets: Sequence[Target], limits: RequestLimits, outcome: PlanOutcome
) -> Iterator[PlannedText]:
    # There is usually one target. While a second space fills, groups of its texts alternate with those of the first.
    prefixes = {target.name: target.prefix for target in targets}
    for batch in pack(texts, limits, lambda text: weigh(text.token_count, prefixes[text.space] + text.text)):
        for name in [target.name for target in targets]:
            members = [text for text in batch if text.space == name]
            if members:
                outcome.requests += 1
            for text in members:
                outcome.texts += 1
                outcome.tokens += text.token_count
                yield text._replace(batch=outcome.requests)
