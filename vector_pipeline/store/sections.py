"""Where chunks stand in their documents, kept so that a change in front of them costs little.

The chunks of a long document stand in sections: a row of `chunk_sections` holds a place, and each chunk of the section
its distance from there. A paragraph inserted at the top moves the places and no chunk; where one falls into a section,
the rows of that section alone are written.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from vector_pipeline.store.binary import Int4Array, TextArray, UuidArray
from vector_pipeline.store.chunks import Identified
from vector_pipeline.store.connection import Connection

# An insertion writes the rows of one section and the places of all that follow: for a document of 1,000 chunks the
# sum is least where a section has about the square root of that.
ROWS_IN_SECTION = 32

_NO_SECTION = bytes(16)


class Place(NamedTuple):
    """A place in a document: a number of chunks and of characters from its beginning, or from a section's."""

    chunk_index: int
    start_char: int


START = Place(0, 0)


class Placed(NamedTuple):
    """A chunk and where its row says that it stands: in a section, from its place, or in the document itself."""

    item: Identified
    section: bytes | None
    origin: Place

    @property
    def position(self) -> tuple[int, int, int]:
        """chunk_index, start_char and end_char as the row has them."""
        chunk = self.item[2]
        index, start = self.origin
        return chunk.chunk_index - index, chunk.start_char - start, chunk.end_char - start


class Standing(NamedTuple):
    """A row of a file that is loaded again, which is not as its chunk is now, or has none."""

    key: bytes
    number: int | None
    """Of its chunk, among those that it was held against; None where it is gone."""
    section: bytes | None
    members: int
    """Rows of its section."""
    position: tuple[int, int, int]
    origin: Place
    other_metadata: bool


@dataclass(slots=True)
class Changes:
    """What has to be written so that the rows of some files are as their chunks are now."""

    gone: list[bytes] = field(default_factory=list)
    fresh: list[Placed] = field(default_factory=list)
    moved: list[Placed] = field(default_factory=list)
    """Rows to be written in their place."""
    shifted: dict[bytes, Place] = field(default_factory=dict)
    """Sections that moved as a whole, to where they stand now."""
    emptied: list[bytes] = field(default_factory=list)
    new_sections: dict[bytes, tuple[bytes, Place]] = field(default_factory=dict)
    """Sections to the file that they are of, and their places."""


def changes_of(standing: Iterable[Standing], chunks: Sequence[Identified], fresh: Iterable[Identified]) -> Changes:
    """How to bring rows in step with chunks; `standing` are those that are not, `fresh` chunks have no row."""
    changes = Changes()
    of_section: defaultdict[bytes, list[Standing]] = defaultdict(list)
    loose: list[Identified] = []
    left: Counter[bytes] = Counter()
    for row in standing:
        if row.section is not None:
            left.setdefault(row.section, row.members)
        if row.number is None:
            changes.gone.append(row.key)
            if row.section is not None:
                left[row.section] -= 1
        elif row.section is None:
            loose.append(chunks[row.number])
        else:
            of_section[row.section].append(row)
    changes.emptied = [section for section, count in left.items() if count == 0]
    for section, rows in of_section.items():
        origin = _shifted([_distance(row, chunks) for row in rows], left[section], rows[0].origin)
        if origin != rows[0].origin:
            changes.shifted[section] = origin
        for row in rows:
            assert row.number is not None
            placed = Placed(chunks[row.number], section, origin)
            if row.other_metadata or placed.position != row.position:
                changes.moved.append(placed)
    rewritten = {key for key, _, _ in loose}
    for placed in _into_sections([*loose, *fresh], changes):
        (changes.moved if placed.item[0] in rewritten else changes.fresh).append(placed)
    return changes


def _distance(row: Standing, chunks: Sequence[Identified]) -> Place:
    assert row.number is not None
    chunk = chunks[row.number][2]
    index, start, _ = row.position
    return Place(chunk.chunk_index - index - row.origin.chunk_index, chunk.start_char - start - row.origin.start_char)


def _shifted(distances: Sequence[Place], members: int, origin: Place) -> Place:
    """Where a section stands now: elsewhere only if all of its rows moved, and by the same distance."""
    if len(distances) < members or len(set(distances)) != 1:
        return origin
    return Place(origin.chunk_index + distances[0].chunk_index, origin.start_char + distances[0].start_char)


def _into_sections(items: Sequence[Identified], changes: Changes) -> list[Placed]:
    """Places for chunks that are written anyway: where a document has many of them, in new sections."""
    of_document: defaultdict[tuple[bytes, str], list[Identified]] = defaultdict(list)
    for item in items:
        of_document[item[1].source_key, item[2].document_id].append(item)
    found = []
    for (source_key, _), of_one in of_document.items():
        if len(of_one) <= ROWS_IN_SECTION:
            found += [Placed(item, None, START) for item in of_one]
            continue
        of_one.sort(key=lambda item: item[2].chunk_index)
        for first in range(0, len(of_one), ROWS_IN_SECTION):
            members = of_one[first : first + ROWS_IN_SECTION]
            section = os.urandom(16)
            origin = Place(members[0][2].chunk_index, members[0][2].start_char)
            changes.new_sections[section] = (source_key, origin)
            found += [Placed(item, section, origin) for item in members]
    return found


# Compared on the server, so that of a file of many chunks only what differs crosses the wire.
_DIFFERENCES = """
WITH now AS MATERIALIZED (
    SELECT * FROM unnest(%(ids)s, %(indexes)s, %(starts)s, %(ends)s, %(metadata)s::jsonb[])
    WITH ORDINALITY AS n (id, chunk_index, start_char, end_char, metadata, number)
)
SELECT uuid_send(c.id), (n.number - 1)::int, uuid_send(c.section), c.members::int, c.chunk_index, c.start_char,
    c.end_char, c.origin_index, c.origin_start, n.metadata <> c.metadata
FROM now n FULL JOIN (
    SELECT c.id, c.section, count(*) OVER (PARTITION BY c.section) AS members, c.chunk_index, c.start_char, c.end_char,
        c.metadata, coalesce(s.chunk_index, 0) AS origin_index, coalesce(s.start_char, 0) AS origin_start
    FROM chunks c LEFT JOIN chunk_sections s USING (section) WHERE c.source_key = ANY(%(sources)s)
) c USING (id)
WHERE c.id IS NULL OR n.id IS NULL OR n.chunk_index <> c.chunk_index + c.origin_index
    OR n.start_char <> c.start_char + c.origin_start OR n.end_char <> c.end_char + c.origin_start
    OR n.metadata <> c.metadata
"""


def differences(connection: Connection, source_keys: Sequence[bytes], chunks: Sequence[Identified]) -> Changes:
    """What has to be written for files that have rows, whose chunks are these now."""
    rows = connection.execute(
        _DIFFERENCES,
        {
            "sources": UuidArray(source_keys),
            "ids": UuidArray([key for key, _, _ in chunks]),
            "indexes": Int4Array([chunk.chunk_index for _, _, chunk in chunks]),
            "starts": Int4Array([chunk.start_char for _, _, chunk in chunks]),
            "ends": Int4Array([chunk.end_char for _, _, chunk in chunks]),
            "metadata": TextArray([chunk.metadata for _, _, chunk in chunks]),
        },
    ).fetchall()
    standing = [
        Standing(key, number, section, members, (index, start, end), Place(origin_index, origin_start), bool(other))
        for key, number, section, members, index, start, end, origin_index, origin_start, other in rows
        if key is not None
    ]
    return changes_of(standing, chunks, [chunks[row[1]] for row in rows if row[0] is None])


def first_places(chunks: Sequence[Identified]) -> Changes:
    """What has to be written for files that have no rows yet."""
    return changes_of((), (), chunks)


def write_places(connection: Connection, changes: Changes) -> None:
    """Write sections, and rows that moved; those that are gone have been deleted, fresh ones are for the caller."""
    if changes.emptied:
        connection.execute("DELETE FROM chunk_sections WHERE section = ANY(%s)", (UuidArray(changes.emptied),))
    if changes.new_sections:
        connection.execute(
            "INSERT INTO chunk_sections (section, source_key, chunk_index, start_char) "
            "SELECT * FROM unnest(%s, %s, %s, %s)",
            (
                UuidArray(changes.new_sections),
                UuidArray([source_key for source_key, _ in changes.new_sections.values()]),
                Int4Array([place.chunk_index for _, place in changes.new_sections.values()]),
                Int4Array([place.start_char for _, place in changes.new_sections.values()]),
            ),
        )
    if changes.shifted:
        connection.execute(
            "UPDATE chunk_sections s SET chunk_index = m.i, start_char = m.c, updated_at = now() "
            "FROM unnest(%s, %s, %s) AS m (section, i, c) WHERE s.section = m.section",
            (
                UuidArray(changes.shifted),
                Int4Array([place.chunk_index for place in changes.shifted.values()]),
                Int4Array([place.start_char for place in changes.shifted.values()]),
            ),
        )
    if changes.moved:
        _move(connection, changes.moved)


def _move(connection: Connection, moved: Sequence[Placed]) -> None:
    positions = [placed.position for placed in moved]
    connection.execute(
        "UPDATE chunks c SET section = nullif(m.section, %(none)s), chunk_index = m.i, start_char = m.s, "
        "end_char = m.e, metadata = m.m, updated_at = now() "
        "FROM unnest(%(ids)s, %(sections)s, %(indexes)s, %(starts)s, %(ends)s, %(metadata)s::jsonb[]) "
        "AS m (id, section, i, s, e, m) WHERE c.id = m.id",
        {
            "none": uuid.UUID(bytes=_NO_SECTION),
            "ids": UuidArray([placed.item[0] for placed in moved]),
            "sections": UuidArray([placed.section or _NO_SECTION for placed in moved]),
            "indexes": Int4Array([index for index, _, _ in positions]),
            "starts": Int4Array([start for _, start, _ in positions]),
            "ends": Int4Array([end for _, _, end in positions]),
            "metadata": TextArray([placed.item[2].metadata for placed in moved]),
        },
    )
