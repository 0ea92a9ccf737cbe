"""The ledger of the Batch API, shared by all pipelines of a database (see embedding.batch.ledger)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import LiteralString

from psycopg import sql

from vector_pipeline.embedding.batch.ledger import MAX_HOURS_OUT, OpenBatch, Queue
from vector_pipeline.embedding.values import EmbeddingInput
from vector_pipeline.store.connection import SHARED_SCHEMA, Connection
from vector_pipeline.store.locks import batch

_BATCHES = sql.Identifier(SHARED_SCHEMA, "batches")
_LINES = sql.Identifier(SHARED_SCHEMA, "batch_lines")
_QUEUES = sql.Identifier(SHARED_SCHEMA, "batch_queues")


def tokens_out(connection: Connection, owner: str) -> dict[str, int]:
    """The tokens in unfinished batches of a pipeline, by the name of their space."""
    rows = connection.execute(
        sql.SQL(
            "SELECT space, pg_catalog.sum(tokens)::bigint FROM {} WHERE owner = %s AND state <> 'finished' GROUP BY 1"
        ).format(_BATCHES),
        (owner,),
    )
    return dict(rows.fetchall())


class PostgresBatchLedger:
    """A pipeline's part of the ledger. `owner` is its schema. The connection is in autocommit mode.

    It shows only batches of one account and model (`bucket`), because the API shows a batch only to its own account.
    """

    def __init__(self, connection: Connection, owner: str, bucket: str) -> None:
        self._connection = connection
        self._owner = owner
        self._bucket = bucket

    def plan(self, key: str, space: str, bucket: str, lines: Sequence[Sequence[EmbeddingInput]]) -> None:
        """See BatchLedger."""
        inputs = sum(map(len, lines))
        tokens = sum(i.tokens for line in lines for i in line)
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.execute(
                sql.SQL(
                    "INSERT INTO {} (key, owner, space, bucket, state, inputs, tokens) "
                    "VALUES (%s, %s, %s, %s, 'planned', %s, %s)"
                ).format(_BATCHES),
                (key, self._owner, space, bucket, inputs, tokens),
            )
            cursor.executemany(
                sql.SQL("INSERT INTO {} (batch, line, hashes, token_counts) VALUES (%s, %s, %s, %s)").format(_LINES),
                [
                    (key, n, [uuid.UUID(bytes=i.content_hash) for i in line], [i.tokens for i in line])
                    for n, line in enumerate(lines)
                ],
            )

    def uploaded(self, key: str, file_id: str) -> None:
        """See BatchLedger."""
        self._set(key, "state = 'uploaded', file_id = %s", file_id)

    def submitted(self, key: str, batch_id: str) -> None:
        """See BatchLedger."""
        self._set(key, "state = 'submitted', submitted_at = pg_catalog.now(), error = NULL, batch_id = %s", batch_id)

    def refused(self, key: str, lines: Sequence[int]) -> None:
        """See BatchLedger."""
        self._mark("refused", key, lines)

    def failed(self, key: str, lines: Sequence[int]) -> None:
        """See BatchLedger."""
        self._mark("failed", key, lines)

    def _mark(self, column: LiteralString, key: str, lines: Sequence[int]) -> None:
        if lines:
            query = sql.SQL("UPDATE {} SET {} = true WHERE batch = %s AND line = ANY(%s)")
            self._connection.execute(query.format(_LINES, sql.Identifier(column)), (key, list(lines)))

    def finished(self, key: str, outcome: str, error: str | None) -> None:
        """See BatchLedger. It deletes the batch's lines, except those that the API refused or failed to answer."""
        with self._connection.transaction():
            self._set(
                key, "state = 'finished', finished_at = pg_catalog.now(), outcome = %s, error = %s", outcome, error
            )
            self._connection.execute(
                sql.SQL("DELETE FROM {} WHERE batch = %s AND NOT refused AND NOT failed").format(_LINES), (key,)
            )

    def unfinished(self) -> list[OpenBatch]:
        """See BatchLedger."""
        rows = self._connection.execute(
            sql.SQL(
                "SELECT key::text, space, state, file_id, batch_id, inputs, tokens, "
                "coalesce(extract(epoch FROM pg_catalog.now() - submitted_at) / 3600::numeric, 0)::float8 FROM {} "
                "WHERE owner = %s AND bucket = %s AND state <> 'finished' ORDER BY created_at, key"
            ).format(_BATCHES),
            (self._owner, self._bucket),
        )
        return [OpenBatch(*row) for row in rows]

    def lines(self, key: str) -> dict[int, list[EmbeddingInput]]:
        """See BatchLedger."""
        rows = self._connection.execute(
            sql.SQL("SELECT line, hashes, token_counts FROM {} WHERE batch = %s").format(_LINES), (key,)
        )
        return {
            line: [EmbeddingInput("", tokens, h.bytes) for h, tokens in zip(hashes, counts, strict=True)]
            for line, hashes, counts in rows
        }

    def queued_tokens(self, bucket: str) -> int:
        """See BatchLedger. A batch leaves the queue after a day, also if its pipeline was removed meanwhile."""
        row = self._connection.execute(
            sql.SQL(
                "SELECT coalesce(pg_catalog.sum(tokens), 0)::bigint FROM {} WHERE bucket = %s AND state <> 'finished' "
                "AND coalesce(submitted_at, created_at) > pg_catalog.now() - pg_catalog.make_interval(secs => %s)"
            ).format(_BATCHES),
            (bucket, 3_600 * MAX_HOURS_OUT),
        ).fetchone()
        return int(row[0]) if row else 0

    def queue(self, bucket: str) -> Queue:
        """See BatchLedger. A limit is used for a week; after that the account's may have been raised."""
        query = sql.SQL(
            "SELECT CASE WHEN stated_at > pg_catalog.now() - interval '7 days' THEN limit_tokens END, part_tokens "
            "FROM {} WHERE bucket = %s"
        ).format(_QUEUES)
        row = self._connection.execute(query, (bucket,)).fetchone()
        return Queue(*row) if row else Queue()

    def learn_queue(self, bucket: str, limit: int | None, part: int) -> None:
        """See BatchLedger."""
        query = sql.SQL(
            "INSERT INTO {} AS q (bucket, limit_tokens, stated_at, part_tokens) "
            "VALUES (%(bucket)s, %(limit)s, CASE WHEN %(limit)s::bigint IS "
            "NOT NULL THEN pg_catalog.now() END, %(part)s) "
            "ON CONFLICT (bucket) DO UPDATE SET limit_tokens = coalesce(excluded.limit_tokens, q.limit_tokens), "
            "stated_at = coalesce(excluded.stated_at, q.stated_at), part_tokens = excluded.part_tokens"
        ).format(_QUEUES)
        self._connection.execute(query, {"bucket": bucket, "limit": limit, "part": part})

    def was_taken(self, bucket: str, tokens: int) -> None:
        """See BatchLedger."""
        query = sql.SQL("UPDATE {} SET part_tokens = greatest(part_tokens, %s) WHERE bucket = %s").format(_QUEUES)
        self._connection.execute(query, (2 * tokens, bucket))

    @contextmanager
    def hold(self, key: str) -> Iterator[bool]:
        """See BatchLedger."""
        with batch(self._connection, key) as mine:
            yield mine

    def last_finished(self) -> str:
        """The time when the last batch of the pipeline was finished, as Postgres prints it; empty if none ever was."""
        row = self._connection.execute(
            sql.SQL(
                "SELECT coalesce(pg_catalog.max(finished_at)::text, '') FROM {} WHERE owner = %s AND bucket = %s"
            ).format(_BATCHES),
            (self._owner, self._bucket),
        ).fetchone()
        return str(row[0]) if row else ""

    def under_way(self, space: str, hashes: Sequence[bytes]) -> set[bytes]:
        """The hashes that are in an unfinished batch of the pipeline."""
        return self._among(space, hashes, "b.state <> 'finished'")

    def to_send_singly(self, space: str, hashes: Sequence[bytes]) -> set[bytes]:
        """The hashes whose line was refused, or failed twice. Ordinary requests find out which text is the cause."""
        return self._among(
            space, hashes, "(l.refused OR l.failed)", "HAVING bool_or(l.refused) OR pg_catalog.count(*) > 1"
        )

    def _among(
        self, space: str, hashes: Sequence[bytes], condition: LiteralString, having: LiteralString = ""
    ) -> set[bytes]:
        if not hashes:
            return set()
        keys = [uuid.UUID(bytes=h) for h in hashes]
        rows = self._connection.execute(
            # The first condition on hashes uses the index; the second picks them from their lines.
            sql.SQL(
                "SELECT h FROM {batches} b JOIN {lines} l ON l.batch = b.key, pg_catalog.unnest(l.hashes) h "
                "WHERE b.owner = %s AND b.space = %s AND b.bucket = %s AND {condition} "
                "AND l.hashes && %s::uuid[] AND h = ANY(%s) GROUP BY h {having}"
            ).format(batches=_BATCHES, lines=_LINES, condition=sql.SQL(condition), having=sql.SQL(having)),
            (self._owner, space, self._bucket, keys, keys),
        )
        return {row[0].bytes for row in rows}

    def _set(self, key: str, assignments: str, *values: object) -> None:
        self._connection.execute(
            sql.SQL("UPDATE {} SET {} WHERE key = %s").format(_BATCHES, sql.SQL(assignments)), (*values, key)
        )
