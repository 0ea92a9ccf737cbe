"""The life of a space: created with the first vectors, filled beside another one, made active, dropped."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable

import psycopg
from psycopg import sql

from vector_pipeline.embedding.roles import NO_ROLES, Role, Roles, digest
from vector_pipeline.errors import ConfigurationError, DatabaseError, SpaceMismatch, counted
from vector_pipeline.settings import variable
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.counts import set_rows
from vector_pipeline.store.locks import Lock, lock_in_transaction
from vector_pipeline.store.space import (
    WORTH_AN_INDEX,
    ElementType,
    Space,
    State,
    active_space,
    count_missing,
    count_vectors,
    filling_space,
    get_space,
    list_spaces,
)
from vector_pipeline.store.view import replace_view

# The limits of pgvector's HNSW (https://github.com/pgvector/pgvector#hnsw).
MAX_VECTOR_DIMENSIONS = 2_000
MAX_HALFVEC_DIMENSIONS = 4_000

# Vectors are written once and never updated, so they are stored inside their row. That halves the time of an exact
# search and takes the least space. A page holds one row of at most this size.
INLINE_BYTES = 8_160

# A switch waits this long for readers to finish. Then it lets the readers that queued behind it pass, and tries again.
LOCK_TIMEOUT = "2s"
LOCK_ATTEMPTS = 15


def open_space(
    connection: Connection,
    model: str,
    dimensions: int | None,
    roles: Roles = NO_ROLES,
    index_type: ElementType | None = None,
) -> Space:
    """The active space; it is created if there is none. Without `roles` nothing is sent beside the texts.

    `index_type` is that of a space that is created; None is full precision, where pgvector can index it.

    Raises SpaceMismatch if the active space has another model, other dimensions or another role of documents, and
    ConfigurationError if the dimensions cannot be indexed.
    """
    active = active_space(connection)
    if active is None:
        if dimensions is None:
            raise ConfigurationError(f"the dimensions of {model} are not known; set VECTOR_PIPELINE_DIMENSIONS")
        return _create(connection, model, dimensions, roles, "active", index_type)
    if not active.holds(model, dimensions, roles.document):
        filling = filling_space(connection)
        if filling and filling.holds(model, dimensions, roles.document):
            return active  # the settings already name the next space, which is allowed
        raise _mismatch(active, model, dimensions, roles.document)
    return active


def _mismatch(active: Space, model: str, dimensions: int | None, document: Role) -> SpaceMismatch:
    if active.holds(model, dimensions, active.roles.document):
        return SpaceMismatch(
            f"VECTOR_PIPELINE_DOCUMENT_PREFIX is {document}, but the vectors in the table were made with "
            f"{active.roles.document}; unset it, or run `vector-pipeline space start` to fill a new space beside them"
        )
    wanted = f"{model} with {dimensions:,} dimensions" if dimensions else model
    same = f"{variable('model')}={active.model}"
    if active.model == model:
        same = f"{variable('dimensions')}={active.dimensions}"
    return SpaceMismatch(
        f"the settings name {wanted}, but the vectors in the table are of {active.model} with "
        f"{active.dimensions:,} dimensions; set {same} to go on with them, or run "
        "`vector-pipeline space start` to fill a new space beside them"
    )


def note_query_role(connection: Connection, space: Space, query: Role) -> None:
    """Keep what is sent with the questions to a space from now on. No vector of a text depends on it."""
    if query != space.roles.query:
        connection.execute(
            "UPDATE spaces SET query_prefix = %s, query_parameter = %s WHERE name = %s",
            (query.prefix, query.parameter, space.name),
        )


def start_space(
    connection: Connection,
    model: str,
    dimensions: int,
    roles: Roles = NO_ROLES,
    index_type: ElementType | None = None,
) -> Space:
    """Start a new space that fills beside the active one, or resume a retired one with the same kind of vectors.

    Raises ConfigurationError if another space is filling, or if the active space has that model, those dimensions and
    that role of documents.
    """
    for space in list_spaces(connection):
        same = space.holds(model, dimensions, roles.document)
        if space.state == "filling" and not same:
            raise ConfigurationError(f"space {space.name} is filling already; switch to it or drop it first")
        if same and space.state != "retired":
            if space.state == "active":
                raise ConfigurationError(
                    f"space {space.name}, which is active, is of {model} already; set {variable('model')} to the model "
                    "to change to"
                )
            return space
        if same:
            connection.execute("UPDATE spaces SET state = 'filling' WHERE name = %s", (space.name,))
            return space
    return _create(connection, model, dimensions, roles, "filling", index_type)


def switch_space(connection: Connection, name: str, min_recall: float, *, worth: int = WORTH_AN_INDEX) -> Space:
    """Make another space the active one in one transaction; the present one is kept and can be switched back to.

    Raises ConfigurationError if it does not exist, lacks vectors, has `worth` or more vectors without an index, or has
    an index that finds too little, and DatabaseError if an object of the user's depends on the view.
    """
    space = get_space(connection, name)
    if space.state == "active":
        return space
    require_complete(connection, space)
    if space.recall is not None and space.recall < min_recall:
        raise ConfigurationError(
            f"the index of space {name} has a recall of {space.recall:.3f}, below {min_recall:.3f}; rebuild it, or set "
            "VECTOR_PIPELINE_MIN_RECALL"
        )
    vectors = count_vectors(connection, space.embeddings) + count_vectors(connection, space.landing)
    if space.recall is None and vectors >= worth:
        raise ConfigurationError(
            f"space {name} has {vectors:,} vectors and no index yet: searches would read all of them; materialize "
            "vector_index, or wait for the process that is building it"
        )

    def switch() -> None:
        # Checked again here, where no load can add a text.
        require_complete(connection, space)
        connection.execute("UPDATE spaces SET state = 'retired' WHERE state = 'active'")
        connection.execute("UPDATE spaces SET state = 'active' WHERE name = %s", (name,))
        replace_view(connection, space)

    run_exclusively(connection, switch)
    return get_space(connection, name)


def run_exclusively(connection: Connection, work: Callable[[], None]) -> None:
    """Do some work in a transaction without any load, answer or sweep beside it. It is retried while readers block it.

    Raises DatabaseError if the locks cannot be taken.
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
    """Raise ConfigurationError if texts of the table have no vector in a space."""
    if missing := count_missing(connection, space):
        raise ConfigurationError(
            f"space {space.name} still misses the vectors of {counted(missing, 'text')}; run `vector-pipeline space "
            f"start` with VECTOR_PIPELINE_MODEL={space.model}, then `vector-pipeline ingest`, until it misses none"
        )


def set_index_type(connection: Connection, space: Space) -> None:
    """Record the type of the vectors that a space's index holds from now on. The view is to show it too."""
    connection.execute(
        "UPDATE spaces SET index_type = %(type)s WHERE name = %(name)s AND index_type <> %(type)s",
        {"type": space.index_type, "name": space.name},
    )


def drop_space(connection: Connection, name: str) -> None:
    """Drop a space that is not active, with its vectors."""
    space = get_space(connection, name)
    if space.state == "active":
        raise ConfigurationError(f"space {name} is active; switch to another before you drop it")

    def drop() -> None:
        for table in (space.embeddings, space.landing):
            connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(table)))
            set_rows(connection, table, 0)
        connection.execute("DELETE FROM rejected_texts WHERE space = %s", (name,))
        connection.execute("DELETE FROM recall_queries WHERE space = %s", (name,))
        connection.execute("DELETE FROM spaces WHERE name = %s", (name,))

    run_exclusively(connection, drop)


def _create(
    connection: Connection,
    model: str,
    dimensions: int,
    roles: Roles,
    state: State,
    index_type: ElementType | None,
) -> Space:
    if dimensions > MAX_HALFVEC_DIMENSIONS:
        raise ConfigurationError(
            f"{model} has {dimensions:,} dimensions; pgvector indexes at most {MAX_HALFVEC_DIMENSIONS:,}: set "
            "VECTOR_PIPELINE_DIMENSIONS for fewer, or choose another model"
        )
    element_type: ElementType = "vector" if dimensions <= MAX_VECTOR_DIMENSIONS else "halfvec"
    # Half precision has to be asked for: the view shows vectors in the index's type, and programs expect `vector`.
    index_type = "halfvec" if element_type == "halfvec" else index_type or "vector"
    sent = (roles.document.prefix, roles.document.parameter, roles.query.prefix, roles.query.parameter)
    name = _name(model, dimensions, roles.document)
    space = Space(name, model, dimensions, element_type, state, None, None, *sent, index_type)
    with connection.transaction():
        lock_in_transaction(connection, Lock.SPACES)
        existing = next((s for s in list_spaces(connection) if s.name == space.name or s.state == state), None)
        if existing is not None:
            return existing  # another run has just created it
        for table in (space.embeddings, space.landing):
            connection.execute(
                sql.SQL(
                    "CREATE TABLE {} (content_hash uuid PRIMARY KEY, embedding {}({}) NOT NULL, "
                    "created_at timestamptz NOT NULL DEFAULT pg_catalog.now()) WITH (toast_tuple_target = {})"
                ).format(
                    sql.Identifier(table),
                    sql.Identifier(connection.pgvector, element_type),
                    sql.Literal(dimensions),
                    sql.Literal(INLINE_BYTES),
                )
            )
        connection.execute(
            "INSERT INTO spaces (name, model, dimensions, element_type, state, document_prefix, document_parameter, "
            "query_prefix, query_parameter, index_type) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (space.name, model, dimensions, element_type, state, *sent, index_type),
        )
        if state == "active":
            replace_view(connection, space)
    return space


def _name(model: str, dimensions: int, document: Role) -> str:
    """A name for tables: model (shortened, because identifiers have at most 63 bytes), dimensions, role of documents."""
    plain = re.sub(r"[^a-z0-9]+", "_", model.lower()).strip("_")
    if len(plain) > 24 or plain != model.lower().replace("-", "_"):
        plain = f"{plain[:24].strip('_')}_{hashlib.sha256(model.encode()).hexdigest()[:6]}"
    return f"{plain}_{dimensions}_{digest(document)}" if document else f"{plain}_{dimensions}"
