"""Spaces: a model, its dimensions and the element type of its vectors, each in tables of its own.

One space is active: the view `document_chunks` shows its vectors. Another may fill beside it until it is switched to.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from vector_pipeline.errors import ConfigurationError, DatabaseError, SpaceMismatch
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.locks import Lock, lock_in_transaction

# What pgvector's HNSW can index (https://github.com/pgvector/pgvector#hnsw).
MOST_VECTOR_DIMENSIONS = 2_000
MOST_HALFVEC_DIMENSIONS = 4_000

# Vectors are written once and never updated, so they are kept inside their row: it halves an exact search's time and
# takes the least space. A page holds one row of at most this size.
INLINE_BYTES = 8_160

# A switch waits this long for readers to finish, lets those pass that queued behind it, and tries again.
LOCK_TIMEOUT = "2s"
LOCK_ATTEMPTS = 15

# Below this many vectors an exact search takes a few milliseconds, and no index is worth its upkeep.
WORTH_AN_INDEX = 10_000

# ef_search: candidates that HNSW keeps in a search. Measured at 1,536 dimensions and 20,000 rows: recall@10 is 0.957 at
# 40 and 0.990 at 100, for twice the time. Where 100 miss the recall that is asked for, the next are tried.
CANDIDATES_TRIED = (100, 200, 400, 1_000)

# Role (None: everybody), privilege, whether it may be passed on, and the column that it is for (None: all).
Grant = tuple[str | None, str, bool, str | None]

State = Literal["active", "filling", "retired"]


@dataclass(frozen=True, slots=True)
class Space:
    """A space. `embeddings` is its indexed table, `landing` the one that paid answers land in."""

    name: str
    model: str
    dimensions: int
    element_type: Literal["vector", "halfvec"]
    state: State
    recall: float | None = None
    """recall@10 of its index, as last measured."""
    ef_search: int | None = None
    """Candidates of a search for which that was measured."""

    @property
    def embeddings(self) -> str:
        """The table that the HNSW index is on."""
        return f"embeddings_{self.name}"

    @property
    def landing(self) -> str:
        """The table that answers are written to; it has no index for searching."""
        return f"embeddings_{self.name}_landing"

    @property
    def index(self) -> str:
        """The HNSW index."""
        return f"{self.embeddings}_hnsw"


def select_spaces(connection: Connection) -> psycopg.Cursor[Space]:
    """All spaces, oldest first, for a pipeline: they are waited for once they are fetched."""
    return connection.cursor(row_factory=class_row(Space)).execute(
        "SELECT name, model, dimensions, element_type, state, recall, ef_search FROM spaces ORDER BY created_at"
    )


def list_spaces(connection: Connection) -> list[Space]:
    """All spaces, oldest first."""
    return select_spaces(connection).fetchall()


def in_state(spaces: Iterable[Space], state: State) -> Space | None:
    """The one that is active, or that fills, if there is one."""
    return next((space for space in spaces if space.state == state), None)


def active_space(connection: Connection) -> Space | None:
    """The space that searches see, None before the first one."""
    return in_state(list_spaces(connection), "active")


def filling_space(connection: Connection) -> Space | None:
    """The space that fills beside the active one, if there is one."""
    return in_state(list_spaces(connection), "filling")


def open_space(connection: Connection, model: str, dimensions: int | None) -> Space:
    """The active space, made where there is none yet.

    Raises SpaceMismatch where the active one is of another model or other dimensions, ConfigurationError where the
    dimensions cannot be indexed.
    """
    active = active_space(connection)
    if active is None:
        if dimensions is None:
            raise ConfigurationError(f"the dimensions of {model} are not known; set VECTOR_PIPELINE_DIMENSIONS")
        return _create(connection, model, dimensions, "active")
    if active.model != model or dimensions not in (None, active.dimensions):
        wanted = f"{model} with {dimensions:,} dimensions" if dimensions else model
        filling = filling_space(connection)
        if filling and filling.model == model and dimensions in (None, filling.dimensions):
            return active  # the settings are ahead of the switch, on purpose
        raise SpaceMismatch(
            f"the settings name {wanted}, but the vectors in the table are of {active.model} with "
            f"{active.dimensions:,} dimensions; set the former again, or run `vector-pipeline space start` to fill a "
            "new space beside it"
        )
    return active


def start_space(connection: Connection, model: str, dimensions: int) -> Space:
    """A new space that fills beside the active one, or a retired one of that kind taken up again.

    Raises ConfigurationError where one is filling already, or the active one is of that very kind.
    """
    for space in list_spaces(connection):
        same = space.model == model and space.dimensions == dimensions
        if space.state == "filling" and not same:
            raise ConfigurationError(f"space {space.name} is filling already; switch to it or drop it first")
        if same and space.state != "retired":
            if space.state == "active":
                raise ConfigurationError(f"space {space.name}, which is active, is of {model} already")
            return space
        if same:
            connection.execute("UPDATE spaces SET state = 'filling' WHERE name = %s", (space.name,))
            return space
    return _create(connection, model, dimensions, "filling")


def count_missing(connection: Connection, space: Space) -> int:
    """Distinct texts in the chunks that have no vector in a space."""
    query = sql.SQL(
        "SELECT count(DISTINCT content_hash) FROM chunks c WHERE NOT EXISTS "
        "(SELECT FROM {} e WHERE e.content_hash = c.content_hash) AND NOT EXISTS "
        "(SELECT FROM {} l WHERE l.content_hash = c.content_hash)"
    ).format(sql.Identifier(space.embeddings), sql.Identifier(space.landing))
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def switch_space(connection: Connection, name: str, min_recall: float) -> Space:
    """Make another space the active one in one transaction; the present one is kept and can be switched back to.

    Raises ConfigurationError where it does not exist, misses vectors, has many and no index, or one that finds too
    little, and DatabaseError where something of somebody else's depends on the view.
    """
    space = named(connection, name)
    if space.state == "active":
        return space
    require_complete(connection, space)
    if space.recall is not None and space.recall < min_recall:
        raise ConfigurationError(
            f"the index of space {name} has a recall of {space.recall:.3f}, below {min_recall:.3f}; rebuild it, or set "
            "VECTOR_PIPELINE_MIN_RECALL"
        )
    vectors = count_vectors(connection, space.embeddings) + count_vectors(connection, space.landing)
    if space.recall is None and vectors >= WORTH_AN_INDEX:
        raise ConfigurationError(
            f"space {name} has {vectors:,} vectors and no index yet: searches would read all of them; materialize "
            "vector_index, or wait for whoever is building it"
        )

    def switch() -> None:
        # Looked at again where no load can add a text meanwhile.
        require_complete(connection, space)
        connection.execute("UPDATE spaces SET state = 'retired' WHERE state = 'active'")
        connection.execute("UPDATE spaces SET state = 'active' WHERE name = %s", (name,))
        replace_view(connection, space)

    alone(connection, switch)
    return named(connection, name)


def alone(connection: Connection, work: Callable[[], None]) -> None:
    """Do some work in a transaction that no load, answer or sweep runs beside; tried again while readers are in the way.

    Raises DatabaseError where the locks are not to be had.
    """
    for attempt in range(LOCK_ATTEMPTS):
        try:
            with connection.transaction():
                connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(LOCK_TIMEOUT))
                lock_in_transaction(connection, Lock.LOADS)
                work()
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            time.sleep(0.2 * (attempt + 1))
        else:
            return
    raise DatabaseError(
        "the tables are in use by a long transaction and could not be locked; end it (see pg_stat_activity) and try "
        "again"
    )


def require_complete(connection: Connection, space: Space) -> None:
    """Raise ConfigurationError where texts of the table have no vector in a space."""
    if missing := count_missing(connection, space):
        raise ConfigurationError(
            f"space {space.name} still misses the vectors of {missing:,} texts; run `vector-pipeline space start` with "
            f"VECTOR_PIPELINE_MODEL={space.model}, then `vector-pipeline ingest`, until it misses none"
        )


def drop_space(connection: Connection, name: str) -> None:
    """Drop a space that is not active, with its vectors."""
    space = named(connection, name)
    if space.state == "active":
        raise ConfigurationError(f"space {name} is active; switch to another before you drop it")

    def drop() -> None:
        for table in (space.embeddings, space.landing):
            connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(table)))
        connection.execute("DELETE FROM rejected_texts WHERE space = %s", (name,))
        connection.execute("DELETE FROM spaces WHERE name = %s", (name,))

    alone(connection, drop)


def replace_view(connection: Connection, space: Space) -> None:
    """Point `document_chunks` at a space, keeping its grants; inside a transaction. Raises as `drop_view` does."""
    create_view(connection, space, drop_view(connection))


def drop_view(connection: Connection) -> list[Grant]:
    """Drop the view, which has to be made anew since the type of its vector may change; returns its grants.

    Raises DatabaseError where other objects depend on it.
    """
    grants = connection.execute(
        "SELECT r.rolname, a.privilege_type, a.is_grantable, a.attname FROM ("
        "SELECT relowner, (aclexplode(relacl)).*, NULL AS attname FROM pg_class "
        "WHERE oid = to_regclass('document_chunks') UNION ALL "
        "SELECT relowner, (aclexplode(attacl)).*, attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid "
        "WHERE attrelid = to_regclass('document_chunks')"
        ") a LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE a.grantee <> a.relowner"
    ).fetchall()
    try:
        connection.execute("DROP VIEW IF EXISTS document_chunks")
    except psycopg.errors.DependentObjectsStillExist as error:
        raise DatabaseError(
            f"other objects depend on the view document_chunks ({error.diag.message_detail}); drop them, switch, and "
            "make them again"
        ) from error
    return grants


def create_view(connection: Connection, space: Space, grants: Sequence[Grant]) -> None:
    """Make the view of a space, which is not there, with some grants."""
    connection.execute(
        sql.SQL(
            "CREATE VIEW document_chunks AS SELECT c.id, c.source, c.document_id, c.chunk_index, c.start_char, "
            "c.end_char, c.page_content, c.metadata, c.token_count, c.content_hash, e.embedding, c.created_at, "
            "c.updated_at FROM (SELECT content_hash, embedding FROM {} UNION ALL SELECT content_hash, embedding "
            "FROM {}) e JOIN placed_chunks c USING (content_hash)"
        ).format(sql.Identifier(space.embeddings), sql.Identifier(space.landing))
    )
    connection.execute(
        sql.SQL("COMMENT ON VIEW document_chunks IS {}").format(
            f"Chunks with their vectors: {space.model}, {space.dimensions} dimensions. "
            "Nearest first: ORDER BY embedding <=> $1 LIMIT k"
        )
    )
    for grantee, privilege, grantable, column in grants:
        connection.execute(
            sql.SQL("GRANT {}{} ON document_chunks TO {}{}").format(
                sql.SQL(privilege),
                sql.SQL("") if column is None else sql.SQL(" ({})").format(sql.Identifier(column)),
                sql.SQL("PUBLIC") if grantee is None else sql.Identifier(grantee),
                sql.SQL(" WITH GRANT OPTION" if grantable else ""),
            )
        )


def _create(connection: Connection, model: str, dimensions: int, state: State) -> Space:
    if dimensions > MOST_HALFVEC_DIMENSIONS:
        raise ConfigurationError(
            f"{model} has {dimensions:,} dimensions; pgvector indexes at most {MOST_HALFVEC_DIMENSIONS:,}: set "
            "VECTOR_PIPELINE_DIMENSIONS for fewer, or choose another model"
        )
    element_type: Literal["vector", "halfvec"] = "vector" if dimensions <= MOST_VECTOR_DIMENSIONS else "halfvec"
    space = Space(_name(model, dimensions), model, dimensions, element_type, state)
    with connection.transaction():
        lock_in_transaction(connection, Lock.SPACES)
        existing = next((s for s in list_spaces(connection) if s.name == space.name or s.state == state), None)
        if existing is not None:
            return existing  # another run made it meanwhile
        for table in (space.embeddings, space.landing):
            connection.execute(
                sql.SQL(
                    "CREATE TABLE {} (content_hash uuid PRIMARY KEY, embedding {} NOT NULL, "
                    "created_at timestamptz NOT NULL DEFAULT now()) WITH (toast_tuple_target = {})"
                ).format(
                    sql.Identifier(table),
                    sql.SQL(f"{element_type}({dimensions:d})"),
                    sql.Literal(INLINE_BYTES),
                )
            )
        connection.execute(
            "INSERT INTO spaces (name, model, dimensions, element_type, state) VALUES (%s, %s, %s, %s, %s)",
            (space.name, model, dimensions, element_type, state),
        )
        if state == "active":
            replace_view(connection, space)
    return space


def _name(model: str, dimensions: int) -> str:
    """A name for tables: the model's, as far as an identifier of 63 bytes allows, and its dimensions."""
    plain = re.sub(r"[^a-z0-9]+", "_", model.lower()).strip("_")
    if len(plain) > 24 or plain != model.lower().replace("-", "_"):
        plain = f"{plain[:24].strip('_')}_{hashlib.sha256(model.encode()).hexdigest()[:6]}"
    return f"{plain}_{dimensions}"


def named(connection: Connection, name: str) -> Space:
    """The space of that name. Raises ConfigurationError, naming those there are."""
    spaces = list_spaces(connection)
    for space in spaces:
        if space.name == name:
            return space
    names = ", ".join(space.name for space in spaces) or "none"
    raise ConfigurationError(f"there is no space '{name}'; there are: {names}")


def count_vectors(connection: Connection, table: str) -> int:
    """Rows of one of a space's tables."""
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
    return int(row[0]) if row else 0
