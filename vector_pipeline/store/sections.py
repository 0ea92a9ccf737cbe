"""Sections of long documents: with them the cost of an edit follows the edit, not the length of the document.

A section is some tens of consecutive chunks. Its row in `chunk_sections` holds its place in the document (the origin)
and a digest of its chunks. The rows of its chunks hold their distance from the origin. The text of a chunk decides
whether a section ends with it, so an edit changes only one or two sections. A load compares digests. It compares rows
only in sections with a new digest.

Example: a document of 1,000 chunks has about 32 sections. One of them has the origin (chunk 96, character 180,000), and
one of its rows says (3, 5,400): that chunk is number 99 and begins at 185,400. A paragraph of one chunk with 500
characters is inserted at the top of the document. The first section has a new digest, so the load compares its rows
and writes the new one. The origin of every later section moves, here to (97, 180,500): about 31 small rows. Their 970
chunks keep their rows, and the view shows chunk 100 at 185,900.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, NamedTuple

import psycopg

from vector_pipeline.store.binary import Int4Array, TextArray, UuidArray
from vector_pipeline.store.chunks import SourceRows, StoredChunk, chunk_id
from vector_pipeline.store.connection import Connection


@dataclass(frozen=True, slots=True)
class SectionRules:
    """The rules for dividing documents into sections, in numbers of chunks. Sections of other rules stay valid."""

    ends_one_in: int = 32
    """One chunk in this many ends a section. An edit writes rows of one section and the places of all sections after it.
    For a document of 1,000 chunks the sum is smallest if a section has about the square root of 1,000 chunks."""
    minimum: int = 8
    maximum: int = 128
    """Repeated texts might end a section at every chunk, or never."""
    short_document: int = 32
    """A document of at most this many chunks has no sections: its rows hold their places in the document."""


SECTION_RULES = SectionRules()


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a document: the number of chunks and characters before it, from the beginning or another place."""

    chunk_index: int
    start_char: int

    def __sub__(self, other: Place) -> Place:
        return Place(self.chunk_index - other.chunk_index, self.start_char - other.start_char)


START = Place(0, 0)

# "No section" in an array, because these arrays hold no NULL.
NO_SECTION = uuid.UUID(int=0)


Member = tuple[StoredChunk, int]
"""A chunk, and the number of its occurrence among equal texts of its document, from 0."""


@dataclass(slots=True)
class Section:
    """Consecutive chunks of a long document. Without a digest: all chunks of the short documents of a file."""

    source: SourceRows
    members: list[Member]
    place: Place = START
    """The place of its first chunk."""
    digest: bytes = b""
    key: bytes = b""
    """The key of its row in `chunk_sections`, once there is one."""
    origin: Place = START
    """The place that its rows count from: its own place, or after an edit one with which most rows need no change."""

    @property
    def document_id(self) -> str:
        """The document of a section with a digest."""
        return self.members[0][0].document_id


class Placed(NamedTuple):
    """A chunk with its id and its section."""

    key: bytes
    chunk: StoredChunk
    section: Section

    @property
    def position(self) -> tuple[int, int, int]:
        """chunk_index, start_char and end_char as its row holds them: counted from the origin of its section."""
        chunk, origin = self.chunk, self.section.origin
        start = origin.start_char
        return chunk.chunk_index - origin.chunk_index, chunk.start_char - start, chunk.end_char - start


@dataclass(slots=True)
class Changes:
    """What has to be written so that the rows of some files equal their chunks."""

    gone: list[bytes] = field(default_factory=list)
    fresh: list[Placed] = field(default_factory=list)
    moved: list[Placed] = field(default_factory=list)
    """Rows that exist and have to be updated."""
    sections: list[Section] = field(default_factory=list)
    """Sections that are new, changed, or moved in their document."""
    emptied: list[bytes] = field(default_factory=list)


def sections_of(source: SourceRows, rules: SectionRules = SECTION_RULES) -> list[Section]:
    """The chunks of a file, each in one section."""
    of_document: defaultdict[str, list[StoredChunk]] = defaultdict(list)
    for chunk in source.chunks:
        of_document[chunk.document_id].append(chunk)
    short: list[Member] = []
    found = []
    for chunks in of_document.values():
        members = _counted(chunks)
        if len(members) <= rules.short_document:
            short += members
        else:
            found += [_section(source, part) for part in _cut(members, rules)]
    return [*found, Section(source, short)] if short else found


def _counted(chunks: Iterable[StoredChunk]) -> list[Member]:
    seen: dict[bytes, int] = {}
    members = []
    for chunk in chunks:
        occurrence = seen.get(chunk.content_hash, 0)
        seen[chunk.content_hash] = occurrence + 1
        members.append((chunk, occurrence))
    return members


def _cut(members: list[Member], rules: SectionRules) -> Iterable[list[Member]]:
    begin = 0
    for end, (chunk, _) in enumerate(members, 1):
        # The last byte of a BLAKE2b hash is practically random, and the same wherever the text stands.
        ends = chunk.content_hash[-1] % rules.ends_one_in == 0 and end - begin >= rules.minimum
        if ends or end - begin >= rules.maximum or end == len(members):
            yield members[begin:end]
            begin = end


# A chunk in a digest: hash, occurrence, index, start and end from the section's place, tokens, length of the metadata.
_MEMBER = Struct(">16sqiiiii")


def _section(source: SourceRows, members: list[Member]) -> Section:
    first = members[0][0]
    index, start = first.chunk_index, first.start_char
    parts = [first.document_id.encode()]
    for chunk, occurrence in members:
        metadata = chunk.metadata.encode()
        parts += (
            _MEMBER.pack(
                chunk.content_hash,
                occurrence,
                chunk.chunk_index - index,
                chunk.start_char - start,
                chunk.end_char - start,
                chunk.token_count,
                len(metadata),
            ),
            metadata,
        )
    place = Place(index, start)
    digest = hashlib.blake2b(b"".join(parts), digest_size=16).digest()
    return Section(source, members, place, digest, origin=place)


def _placed(section: Section) -> list[Placed]:
    source_key = section.source.source_key
    return [
        Placed(chunk_id(source_key, chunk.document_id, chunk.content_hash, occurrence), chunk, section)
        for chunk, occurrence in section.members
    ]


class Standing(NamedTuple):
    """A section as the table has it. `document_id` and `digest` are None if only chunk rows are left of it."""

    key: bytes
    source_key: bytes
    document_id: str | None
    digest: bytes | None
    origin: Place
    first: Place
    """The place of its first chunk, counted from the origin."""
    rows: int


def select_standing(connection: Connection, source_keys: Iterable[bytes]) -> psycopg.Cursor[Any]:
    """Select the sections of files as the table has them, for `standing_of`. Fetching from the cursor waits for them."""
    # An index-only scan counts the rows.
    return connection.execute(
        "SELECT pg_catalog.uuid_send(section), pg_catalog.uuid_send(coalesce(s.source_key, c.source_key)), "
        "s.document_id, pg_catalog.uuid_send(s.digest), coalesce(s.chunk_index, 0), coalesce(s.start_char, 0), "
        "coalesce(s.first_index, 0), coalesce(s.first_start, 0), coalesce(c.rows, 0) "
        "FROM (SELECT * FROM chunk_sections WHERE source_key = ANY(%(sources)s)) s FULL JOIN "
        "(SELECT source_key, section, pg_catalog.count(*)::int AS rows FROM chunks WHERE source_key = ANY(%(sources)s) "
        "AND section IS NOT NULL GROUP BY source_key, section) c USING (section) ORDER BY s.chunk_index",
        {"sources": UuidArray(source_keys)},
    )


def standing_of(rows: Iterable[tuple[Any, ...]]) -> list[Standing]:
    """The result of `select_standing` as values."""
    return [
        Standing(key, source, document, digest, Place(index, start), Place(first_index, first_start), count)
        for key, source, document, digest, index, start, first_index, first_start, count in rows
    ]


def changes_of(
    connection: Connection, sections: Iterable[Section], reloaded: Collection[bytes], standing: Sequence[Standing]
) -> Changes:
    """The changes that bring the table in step with the sections of some files.

    `reloaded` are the keys of those files that have rows or sections in the table. `standing` are those sections.
    """
    changes = Changes()
    compared = []
    for section in sections:
        if section.source.source_key in reloaded:
            compared.append(section)
            continue
        if section.digest:
            section.key = os.urandom(16)
            changes.sections.append(section)
        changes.fresh += _placed(section)
    if reloaded:
        _compare(connection, reloaded, standing, compared, changes)
    return changes


def _compare(
    connection: Connection,
    source_keys: Iterable[bytes],
    standing: Sequence[Standing],
    sections: Iterable[Section],
    changes: Changes,
) -> None:
    by_digest = {(section.source_key, section.digest): section for section in standing}
    kept: set[bytes] = set()
    compared: list[Section] = []
    for section in sections:
        same = by_digest.get((section.source.source_key, section.digest))
        # If someone deleted rows of a section by hand, it is compared row by row, like an edited one.
        if same is None or same.rows != len(section.members):
            compared.append(section)
            continue
        section.key = same.key
        kept.add(same.key)
        section.origin = section.place - same.first
        if same.origin != section.origin:
            changes.sections.append(section)
    stale = [section for section in standing if section.key not in kept]
    changes.emptied = _take_over(stale, compared)
    changes.sections += [section for section in compared if section.digest]
    items = [item for section in compared for item in _placed(section)]
    _compare_rows(connection, source_keys, [section.key for section in stale], items, changes)


def _take_over(stale: Sequence[Standing], compared: Sequence[Section]) -> list[bytes]:
    """Give new sections the keys of outdated sections of the same document; returns the keys left over.

    A new section mostly has the rows of the outdated one. With the same key these rows need no update.
    """
    keys: defaultdict[tuple[bytes, str | None], list[bytes]] = defaultdict(list)
    for section in reversed(stale):
        keys[section.source_key, section.document_id].append(section.key)
    for new in compared:
        if new.digest:
            waiting = keys[new.source.source_key, new.document_id]
            new.key = waiting.pop() if waiting else os.urandom(16)
    return [key for waiting in keys.values() for key in waiting]


# The server compares the rows of short documents, so only rows that differ are sent. All rows of a changed section are
# sent, because this side chooses the origin with which most of them need no change.
_DIFFERENCES = """
SELECT pg_catalog.uuid_send(c.id), n.number::int, n.section = c.section, c.chunk_index, c.start_char, c.end_char,
    (n.token_count, n.metadata) IS DISTINCT FROM (c.token_count, c.metadata)
FROM unnest(%(ids)s, %(sections)s, %(indexes)s, %(starts)s, %(ends)s, %(tokens)s, %(metadata)s::jsonb[])
WITH ORDINALITY AS n (id, section, chunk_index, start_char, end_char, token_count, metadata, number)
FULL JOIN (
    SELECT * FROM chunks WHERE source_key = ANY(%(sources)s) AND section IS NULL
    UNION ALL
    SELECT * FROM chunks WHERE source_key = ANY(%(sources)s) AND section = ANY(%(stale)s)
) c USING (id)
WHERE c.id IS NULL OR n.id IS NULL OR n.section <> %(none)s OR c.section IS NOT NULL
    OR (n.chunk_index, n.start_char, n.end_char, n.token_count, n.metadata)
    IS DISTINCT FROM (c.chunk_index, c.start_char, c.end_char, c.token_count, c.metadata)
"""


def _compare_rows(
    connection: Connection, source_keys: Iterable[bytes], stale: list[bytes], items: list[Placed], changes: Changes
) -> None:
    rows = connection.execute(
        _DIFFERENCES, {"sources": UuidArray(source_keys), "stale": UuidArray(stale), **_columns(items)}
    )
    stayed: defaultdict[bytes, list[tuple[Placed, tuple[int, int, int], bool]]] = defaultdict(list)
    for key, number, same_section, index, start, end, other in rows:
        if number is None:
            changes.gone.append(key)
        elif key is None:
            changes.fresh.append(items[number - 1])
        elif same_section:
            stayed[items[number - 1].section.key].append((items[number - 1], (index, start, end), other))
        else:
            changes.moved.append(items[number - 1])
    for of_section in stayed.values():
        origins = Counter(
            Place(item.chunk.chunk_index, item.chunk.start_char) - Place(index, start)
            for item, (index, start, _), _ in of_section
        )
        of_section[0][0].section.origin = origins.most_common(1)[0][0]
        changes.moved += [item for item, position, other in of_section if other or item.position != position]


def _columns(items: Sequence[Placed]) -> Mapping[str, object]:
    """Chunks as parameters, one array for each column; `none` means no section."""
    positions = [item.position for item in items]
    return {
        "none": NO_SECTION,
        "ids": UuidArray([item.key for item in items]),
        "sections": UuidArray([item.section.key or NO_SECTION.bytes for item in items]),
        "indexes": Int4Array([index for index, _, _ in positions]),
        "starts": Int4Array([start for _, start, _ in positions]),
        "ends": Int4Array([end for _, _, end in positions]),
        "tokens": Int4Array([item.chunk.token_count for item in items]),
        "metadata": TextArray([item.chunk.metadata for item in items]),
    }


def write_places(connection: Connection, changes: Changes) -> None:
    """Write sections and moved rows. The caller deletes `gone` rows before and inserts `fresh` ones after."""
    if changes.emptied:
        connection.execute("DELETE FROM chunk_sections WHERE section = ANY(%s)", (UuidArray(changes.emptied),))
    if sections := changes.sections:
        firsts = [section.place - section.origin for section in sections]
        connection.execute(
            "INSERT INTO chunk_sections AS s (section, source_key, document_id, digest, chunk_index, start_char, "
            "first_index, first_start) SELECT * FROM unnest(%s, %s, %s, %s, %s, %s, %s, %s) "
            "ON CONFLICT (section) DO UPDATE SET digest = excluded.digest, chunk_index = excluded.chunk_index, "
            "start_char = excluded.start_char, first_index = excluded.first_index, first_start = excluded.first_start, "
            "updated_at = CASE WHEN (s.chunk_index, s.start_char) = (excluded.chunk_index, excluded.start_char) "
            "THEN s.updated_at ELSE pg_catalog.now() END",
            (
                UuidArray([section.key for section in sections]),
                UuidArray([section.source.source_key for section in sections]),
                TextArray([section.document_id for section in sections]),
                UuidArray([section.digest for section in sections]),
                Int4Array([section.origin.chunk_index for section in sections]),
                Int4Array([section.origin.start_char for section in sections]),
                Int4Array([first.chunk_index for first in firsts]),
                Int4Array([first.start_char for first in firsts]),
            ),
        )
    if changes.moved:
        connection.execute(
            "UPDATE chunks c SET section = nullif(m.section, %(none)s), chunk_index = m.i, start_char = m.s, "
            "end_char = m.e, token_count = m.t, metadata = m.m, updated_at = pg_catalog.now() "
            "FROM unnest(%(ids)s, %(sections)s, %(indexes)s, %(starts)s, %(ends)s, %(tokens)s, "
            "%(metadata)s::jsonb[]) "
            "AS m (id, section, i, s, e, t, m) WHERE c.id = m.id",
            _columns(changes.moved),
        )
