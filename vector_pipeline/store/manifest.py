"""The manifest: one row per source file, and the arrivals that files belong to, in Postgres.

This module only has statements; `stages/scan.py` decides which files belong to which arrival. Every function takes a
connection whose search_path is the pipeline's schema. Entries for an arrival are written only while the connection's run
owns it (see `fencing`).
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, LiteralString, NamedTuple

from psycopg import sql
from psycopg.rows import args_row, class_row

from vector_pipeline.store import rejected_texts
from vector_pipeline.store.connection import Connection, Owner
from vector_pipeline.store.fencing import OWNED, STILL_OWNED, numbered
from vector_pipeline.store.locks import Lock, lock_in_transaction

Status = Literal["pending", "loaded", "rejected", "deleted"]

# Appended to the fingerprint of a file that changed so shortly before its listing that another change could have the
# same times. It never equals a fresh fingerprint, so the next scan checks the file again (git's index does the same).
RACY = "?"

FILES_FETCHED = 5_000

BLOCK_FILES = 1_000
"""Files that a scan compares by one digest."""

_KNOWN_FILES: LiteralString = "SELECT path, fingerprint, size, bytes_hash, status, gone, pipeline FROM source_files"

_SPELLED_SO = "path = %(path)s OR root || '/' || path = %(path)s"
_LOOKS_THE_SAME = (
    "normalize(path, NFC) = normalize(%(path)s, NFC) OR normalize(root || '/' || path, NFC) = normalize(%(path)s, NFC)"
)


def source_key(root: str, path: str) -> uuid.UUID:
    """The 128 bits that identify a file everywhere: BLAKE2b-128 of root, NUL and path in UTF-8."""
    return uuid.UUID(bytes=hashlib.blake2b(f"{root}\x00{path}".encode(), digest_size=16).digest())


class KnownFile(NamedTuple):
    """A file in the manifest, with what a scan compares. A tuple for the same reason as ListedFile."""

    path: str
    fingerprint: str
    size: int
    bytes_hash: bytes | None
    status: Status
    gone: bool
    pipeline: str | None = None
    """Fingerprint of the readers and the chunking that it was loaded with."""


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that a scan found new, changed or gone (then with an empty fingerprint)."""

    path: str
    size: int
    fingerprint: str
    gone: bool = False


@dataclass(frozen=True, slots=True)
class OwnedFile:
    """A file that an arrival owns."""

    source_key: uuid.UUID
    root: str
    path: str
    fingerprint: str
    status: Status
    gone: bool


def known_roots(connection: Connection) -> list[str]:
    """The roots with files that are not deleted."""
    rows = connection.execute(
        "SELECT root FROM file_counts WHERE status <> 'deleted' GROUP BY root "
        "HAVING pg_catalog.sum(files) > 0 ORDER BY root"
    )
    return [row[0] for row in rows]


def known_files(connection: Connection, root: str, *, after: str = "") -> Generator[KnownFile]:
    """Yield all files of a root behind a path, in path order. Memory does not grow with their number.

    The cursor needs a transaction on its connection, which must not be used for anything else until the end.
    """
    with (
        connection.transaction(),
        connection.cursor("known_files", binary=True, row_factory=args_row(KnownFile)) as cursor,
    ):
        cursor.execute(
            f'{_KNOWN_FILES} WHERE root = %s AND path > %s COLLATE "C" ORDER BY path COLLATE "C"',
            (root, after),
        )
        # In lists, because psycopg takes as long to hand over a single row as to read it.
        while files := cursor.fetchmany(FILES_FETCHED):
            yield from files


def files_between(connection: Connection, root: str, after: str, last: str) -> list[KnownFile]:
    """The files of a root behind a path and up to another one, in path order."""
    with connection.cursor(binary=True, row_factory=args_row(KnownFile)) as cursor:
        cursor.execute(
            f'{_KNOWN_FILES} WHERE root = %s AND path > %s COLLATE "C" AND path <= %s COLLATE "C" '
            'ORDER BY path COLLATE "C"',
            (root, after, last),
        )
        return cursor.fetchall()


@dataclass(frozen=True, slots=True)
class Block:
    """Files of a root that follow one another in path order and are neither deleted nor about to be.

    `last` is the path of the last one, `files` their number, and `digest` what `digest_of` returns for them: 32 bytes.
    """

    last: str
    files: int
    digest: bytes


def known_blocks(connection: Connection, root: str) -> list[Block]:
    """All files of a root that are there, in path order, as blocks of BLOCK_FILES: a thousandth of their memory."""
    with connection.cursor(binary=True, row_factory=args_row(Block)) as cursor:
        cursor.execute(
            'SELECT pg_catalog.max(path COLLATE "C"), pg_catalog.count(*), pg_catalog.sha256(pg_catalog.convert_to('
            "pg_catalog.string_agg(fingerprint || E'\\n' || pg_catalog.length(path) || E'\\n' || path, '' "
            """ORDER BY path COLLATE "C"), 'UTF8')) """
            "FROM (SELECT path, fingerprint, "
            '(pg_catalog.row_number() OVER (ORDER BY path COLLATE "C") - 1) / %s AS block '
            "FROM source_files WHERE root = %s AND status <> 'deleted' AND NOT gone) present "
            "GROUP BY block ORDER BY block",
            (BLOCK_FILES, root),
        )
        return cursor.fetchall()


def digest_of(files: Iterable[tuple[str, str]]) -> bytes:
    """SHA-256 of the paths and fingerprints of files in path order.

    The length of each path is part of it, so that no two lists of files are written as the same text.
    """
    return hashlib.sha256("".join([f"{mark}\n{len(path)}\n{path}" for path, mark in files]).encode()).digest()


def find_files(connection: Connection, root: str, paths: Collection[str]) -> dict[str, KnownFile]:
    """The files of a root with these paths, by path. Paths that the manifest does not have are left out."""
    with connection.cursor(row_factory=args_row(KnownFile)) as cursor:
        cursor.execute(
            f"{_KNOWN_FILES} WHERE source_key = ANY(%s)",
            ([source_key(root, path) for path in paths],),
        )
        return {file.path: file for file in cursor}


def count_present(connection: Connection, root: str) -> int:
    """The number of files of a root that are neither deleted nor about to be."""
    query = (
        "SELECT coalesce(pg_catalog.sum(files), 0) FROM file_counts WHERE root = %s AND status <> 'deleted' AND NOT gone"
    )
    row = connection.execute(query, (root,)).fetchone()
    return int(row[0]) if row else 0


def register_arrival(connection: Connection, root: str, trigger: str, changes: Sequence[FileChange]) -> str:
    """Assign files to a new arrival in one transaction; returns its key.

    Earlier arrivals no longer own these files. A run loads only files that its arrival still owns.
    """
    with connection.transaction():
        lock_in_transaction(connection, Lock.ARRIVAL_KEYS)
        key = _next_key(connection)
        connection.execute(
            "INSERT INTO arrivals (key, root, trigger, files, bytes) VALUES (%s, %s, %s, %s, %s)",
            (key, root, trigger, len(changes), sum(change.size for change in changes)),
        )
        # Sorted, like every statement that locks several files, so that two of them cannot deadlock.
        rows = sorted((str(source_key(root, c.path)), c.path, c.fingerprint, c.size, c.gone) for c in changes)
        columns: list[list[Any]] = [list(column) for column in zip(*rows, strict=True)]
        connection.execute(
            """
            INSERT INTO source_files (source_key, root, path, fingerprint, size, arrival, status, gone)
            SELECT f.source_key, %s, f.path, f.fingerprint, f.size, %s, 'pending', f.gone
            FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::bigint[], %s::boolean[])
                 AS f (source_key, path, fingerprint, size, gone)
            ON CONFLICT (source_key) DO UPDATE SET
                fingerprint = excluded.fingerprint, size = excluded.size, arrival = excluded.arrival,
                status = 'pending', gone = excluded.gone, error = NULL, updated_at = pg_catalog.now(),
                bytes_hash = NULL
            """,
            (root, key, *columns),
        )
        return key


def _next_key(connection: Connection) -> str:
    """A key above every earlier one, even if this machine's clock is behind another's, or was set back."""
    row = connection.execute("SELECT pg_catalog.max(key) FROM arrivals").fetchone()
    last = row[0] if row and row[0] else ""
    second = max(datetime.now(UTC).strftime(_SECOND), last[:16])
    number = int(last[17:]) + 1 if last[:16] == second else 1
    if number > _MAX_NUMBER:
        # As text a key with one more digit would not come after the others.
        later = datetime.strptime(second, _SECOND).replace(tzinfo=UTC) + timedelta(seconds=1)
        second, number = later.strftime(_SECOND), 1
    return f"{second}-{number:03d}"


_SECOND = "%Y%m%dT%H%M%SZ"
_MAX_NUMBER = 999


def note_bytes_hash(connection: Connection, arrival: str, file: OwnedFile, digest: bytes) -> None:
    """Store the BLAKE2b-128 of a file's bytes, if the arrival still owns the file with the same fingerprint."""
    connection.execute(
        "UPDATE source_files SET bytes_hash = %(digest)s WHERE source_key = %(key)s AND "
        f"fingerprint = %(fingerprint)s AND arrival = %(arrival)s AND {STILL_OWNED}",
        {
            "digest": digest,
            "key": file.source_key,
            "fingerprint": file.fingerprint,
            **numbered(connection, arrival),
        },
    )


def refresh_fingerprints(connection: Connection, root: str, fingerprints: Mapping[str, str]) -> None:
    """Store the new fingerprints of files whose bytes are the same."""
    rows = sorted((str(source_key(root, path)), fingerprint) for path, fingerprint in fingerprints.items())
    if rows:
        keys, values = (list(column) for column in zip(*rows, strict=True))
        connection.execute(
            "UPDATE source_files s SET fingerprint = f.fingerprint "
            "FROM unnest(%s::uuid[], %s::text[]) AS f (source_key, fingerprint) "
            "WHERE s.source_key = f.source_key AND s.status IN ('loaded', 'rejected')",
            (keys, values),
        )


def owned_files(connection: Connection, arrival: str) -> list[OwnedFile]:
    """The files that an arrival still owns, in path order."""
    with connection.cursor(row_factory=class_row(OwnedFile)) as cursor:
        cursor.execute(
            "SELECT source_key, root, path, fingerprint, status, gone FROM source_files WHERE arrival = %s "
            'ORDER BY path COLLATE "C"',
            (arrival,),
        )
        return cursor.fetchall()


def pending_arrivals(connection: Connection) -> list[str]:
    """Arrivals that own pending files, oldest first."""
    # Reads the pending files, not every arrival that ever was.
    query = (
        "WITH pending AS MATERIALIZED (SELECT DISTINCT arrival FROM source_files WHERE status = 'pending') "
        "SELECT a.key FROM pending JOIN arrivals a ON a.key = pending.arrival ORDER BY a.key"
    )
    return [row[0] for row in connection.execute(query)]


def count_unfinished(connection: Connection) -> tuple[int, int]:
    """How many files are pending and how many rejected."""
    counts = count_files(connection)
    return counts.pending, counts.rejected


def is_arrival(connection: Connection, arrival: str) -> bool:
    """Whether a scan registered an arrival under this key."""
    return connection.execute("SELECT FROM arrivals WHERE key = %s", (arrival,)).fetchone() is not None


def owning_arrivals(connection: Connection) -> list[str]:
    """The arrivals that own files that are not deleted, oldest first."""
    query = "SELECT DISTINCT arrival FROM source_files WHERE status <> 'deleted' ORDER BY arrival"
    return [row[0] for row in connection.execute(query)]


def reject_files(
    connection: Connection, arrival: str, reasons: Mapping[tuple[uuid.UUID, str], str], *, until: Until = "change"
) -> int:
    """Mark files as rejected, where the arrival still owns them at the fingerprint given; returns how many.

    `reasons` maps (source key, fingerprint) to what is wrong and what to do. Rows loaded earlier stay.
    `until` says when `mark_stale_pending` sets the files to pending. The reason may end without a trace in the file.
    """
    rows = sorted((str(key), fingerprint, reason) for (key, fingerprint), reason in reasons.items())
    if not rows:
        return 0
    keys, fingerprints, texts = (list(column) for column in zip(*rows, strict=True))
    return connection.execute(
        "UPDATE source_files s SET status = 'rejected', error = r.reason, updated_at = pg_catalog.now(), "
        "pipeline = %(under)s "
        "FROM unnest(%(keys)s::uuid[], %(fingerprints)s::text[], %(reasons)s::text[]) "
        "AS r (source_key, fingerprint, reason) WHERE s.source_key = r.source_key AND "
        f"s.fingerprint = r.fingerprint AND s.arrival = %(arrival)s AND NOT s.gone AND {STILL_OWNED}",
        {
            "keys": keys,
            "fingerprints": fingerprints,
            "reasons": texts,
            "under": _UNNOTED[until],
            **numbered(connection, arrival),
        },
    ).rowcount


Until = Literal["change", "day", "next"]
"""When a rejected file is looked at again: once what it was rejected under has changed; then or after a day, because an
API refused a text; or each time, because the right to read it was missing."""

# A file that an API refused a text of. It stands behind what the file was rejected under.
_FOR_A_DAY = " for a day"

# What stands in the place of what a file was rejected under until `note_rejections` notes it.
_UNNOTED: Mapping[Until, str | None] = {"change": "", "day": _FOR_A_DAY, "next": None}


def note_rejections(connection: Connection, arrival: str, under: str) -> None:
    """Note what readers, settings and limits the files were rejected under that an arrival has just rejected.

    Files without such a note, for want of time, are looked at again.
    """
    connection.execute(
        "UPDATE source_files SET pipeline = %(under)s || pipeline WHERE arrival = %(arrival)s AND status = 'rejected' "
        f"AND pipeline IN ('', %(for_a_day)s) AND {STILL_OWNED}",
        {"under": under, "for_a_day": _FOR_A_DAY, **numbered(connection, arrival)},
    )


def mark_stale_pending(
    connection: Connection, current: Sequence[str], limit: int | None = None, *, rejecting: str | None = None
) -> int:
    """Set files that were loaded by other readers or chunking to pending, oldest arrival first; returns how many.

    `current` are the fingerprints that files are loaded with now; with none, all loaded files are set to pending.
    `rejecting` is what files are rejected under now: those that were rejected under anything else are set to pending
    too, and before the others; and after a day those that an API refused a text of.

    They stay with the arrival that they have and their rows stay searchable until the new ones replace them.
    """
    rejected = 0
    if rejecting is not None:
        rejected = connection.execute(
            "UPDATE source_files SET status = 'pending', error = NULL, updated_at = pg_catalog.now() "
            "WHERE source_key IN (SELECT source_key FROM source_files "
            "WHERE status = 'rejected' AND pipeline IS DISTINCT FROM %(under)s AND (pipeline IS DISTINCT FROM "
            "%(for_a_day)s OR updated_at NOT BETWEEN pg_catalog.now() - %(day)s::interval AND "
            "pg_catalog.now() + %(day)s::interval) ORDER BY arrival LIMIT %(limit)s)",
            {"under": rejecting, "for_a_day": rejecting + _FOR_A_DAY, "day": rejected_texts.KEPT, "limit": limit},
        ).rowcount
        limit = None if limit is None else max(0, limit - rejected)
    row = connection.execute(
        "SELECT pg_catalog.sum(files) FROM file_counts WHERE status = 'loaded' AND (pipeline = ANY(%s)) IS NOT TRUE",
        (list(current),),
    ).fetchone()
    if not row or not row[0]:
        return rejected
    loaded = connection.execute(
        "UPDATE source_files SET status = 'pending', updated_at = pg_catalog.now() WHERE source_key IN ("
        "SELECT source_key FROM source_files WHERE status = 'loaded' AND (pipeline = ANY(%s)) IS NOT TRUE "
        "ORDER BY arrival LIMIT %s)",
        (list(current), limit),
    ).rowcount
    return rejected + loaded


def finish_attempt(connection: Connection, arrival: str) -> int:
    """Close an arrival if it no longer owns pending files; returns the number of pending files."""
    query = "SELECT pg_catalog.count(*) FROM source_files WHERE arrival = %s AND status = 'pending'"
    row = connection.execute(query, (arrival,)).fetchone()
    pending = int(row[0]) if row else 0
    if pending == 0:
        connection.execute(
            "UPDATE arrivals SET finished_at = pg_catalog.now(), error = NULL, retry_at = NULL, attempts = 0, "
            "failed_at = NULL, failed_run = NULL, failure = NULL "
            f"WHERE key = %(arrival)s AND {OWNED}",
            numbered(connection, arrival),
        )
    return pending


def finished_arrivals(connection: Connection, older_than_days: float) -> list[Owner]:
    """Arrivals that have owned nothing pending for longer than that, and whose Parquet stages were not removed yet.

    One whose files all went to later arrivals before a run of it finished counts from its beginning. Each comes with
    the number of its last run.
    """
    query = (
        "SELECT key, owner_number, owner_nonce FROM arrivals a WHERE NOT stages_removed AND "
        "coalesce(finished_at, created_at) < pg_catalog.now() - %s::float8 * interval '1 day' AND NOT "
        "EXISTS (SELECT FROM source_files s WHERE s.arrival = a.key AND s.status = 'pending') ORDER BY key"
    )
    return [Owner(*row) for row in connection.execute(query, (older_than_days,))]


def note_stages_removed(connection: Connection, arrivals: Sequence[Owner]) -> None:
    """Note that the Parquet stages of arrivals are gone, unless a run has taken one up again since."""
    connection.execute(
        "UPDATE arrivals a SET stages_removed = true "
        "FROM unnest(%s::text[], %s::bigint[], %s::uuid[]) AS r (key, number, nonce) "
        "WHERE a.key = r.key AND a.owner_number = r.number AND a.owner_nonce IS NOT DISTINCT FROM r.nonce",
        (
            [owner.arrival for owner in arrivals],
            [owner.number for owner in arrivals],
            [owner.nonce for owner in arrivals],
        ),
    )


@dataclass(frozen=True, slots=True)
class ManifestCounts:
    """The number of files with each status. `pending` includes deletions that are not carried out yet."""

    loaded: int = 0
    pending: int = 0
    rejected: int = 0
    deleted: int = 0


def count_files(connection: Connection, arrival: str | None = None) -> ManifestCounts:
    """The numbers of files by status, for one arrival or for all."""
    if arrival is None:
        rows = connection.execute("SELECT status, pg_catalog.sum(files)::bigint FROM file_counts GROUP BY 1")
    else:
        rows = connection.execute(
            "SELECT status, pg_catalog.count(*) FROM source_files WHERE arrival = %s GROUP BY 1", (arrival,)
        )
    return ManifestCounts(**dict(rows.fetchall()))


@dataclass(frozen=True, slots=True)
class FileState:
    """A file as `status` and the tables in the UI show it."""

    root: str
    path: str
    status: Status
    error: str | None
    documents: int
    chunks: int
    tokens: int
    arrival: str


def files_with_status(
    connection: Connection, *statuses: Status, arrival: str | None = None, root: str | None = None, limit: int = 1_000
) -> list[FileState]:
    """Files in one of the statuses, of one arrival or root or of all, in path order.

    At most `limit`, of all arrivals those of the oldest ones.
    """
    named = [(column, value) for column, value in (("arrival", arrival), ("root", root)) if value is not None]
    chosen = sql.SQL(" AND ").join(
        [sql.SQL("true"), *(sql.SQL(column + " = {}").format(sql.Literal(value)) for column, value in named)]
    )
    # Each status for itself, in the order of the index on what is open: a million pending files are not sorted.
    parts = [
        sql.SQL("(SELECT * FROM source_files WHERE status = {} AND {} ORDER BY arrival LIMIT {})").format(
            sql.Literal(status), chosen, sql.Literal(limit)
        )
        for status in statuses
    ]
    query = sql.SQL(
        "SELECT root, path, status, error, documents, chunks, tokens, arrival FROM ({}) AS f "
        'ORDER BY root, path COLLATE "C" LIMIT {}'
    ).format(sql.SQL(" UNION ALL ").join(parts), sql.Literal(limit))
    with connection.cursor(row_factory=class_row(FileState)) as cursor:
        return cursor.execute(query).fetchall()


def states_of(connection: Connection, path: str) -> list[FileState]:
    """The file with a path, under every root that has one.

    `path` is relative to its root, or absolute. Where none is spelled so, one that looks the same is found: macOS
    writes the letters of a name apart (NFD) that a keyboard writes as one (NFC), and so for each syllable of Korean.
    """
    select = "SELECT root, path, status, error, documents, chunks, tokens, arrival FROM source_files WHERE "
    with connection.cursor(row_factory=class_row(FileState)) as cursor:
        for spelled in (_SPELLED_SO, _LOOKS_THE_SAME):
            found = cursor.execute(select + spelled + " ORDER BY root, path", {"path": path}).fetchall()
            # Postgres normalizes text only in UTF-8 databases.
            if found or connection.info.parameter_status("server_encoding") != "UTF8":
                return found
    return []
