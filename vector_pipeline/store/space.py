"""A space as a value, and queries about the spaces in the database.

A space has a model with the roles of its texts, the dimensions and element type of its vectors, and tables of its own.
One space is active: the view `document_chunks` shows its vectors. `spaces.py` creates, switches and drops spaces;
`view.py` has the view.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from vector_pipeline.embedding.roles import Role, Roles, name_before_vectors
from vector_pipeline.errors import ConfigurationError
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.counts import count_rows

# Below this many vectors an exact search takes a few milliseconds, and no index is worth its upkeep.
WORTH_AN_INDEX = 10_000

# ef_search: the candidates that HNSW keeps in a search. Measured at 1,536 dimensions and 20,000 rows: recall@10 is 0.957
# at 40 and 0.990 at 100, in twice the time. If 100 do not reach the wanted recall, the next number is tried.
CANDIDATES_TRIED = (100, 200, 400, 1_000)

State = Literal["active", "filling", "retired"]
ElementType = Literal["vector", "halfvec"]
"""pgvector's types: float32 and float16."""


@dataclass(frozen=True, slots=True)
class Space:
    """A space. `embeddings` is its indexed table, and `landing` the table that paid answers are written to."""

    name: str
    model: str
    dimensions: int
    element_type: ElementType
    """The type of its stored vectors."""
    state: State
    recall: float | None = None
    """The last measured recall@10 of its index."""
    ef_search: int | None = None
    """The number of candidates of a search in that measurement."""
    document_prefix: str = ""
    document_parameter: str = ""
    query_prefix: str = ""
    query_parameter: str = ""
    index_type: ElementType = "vector"
    """The type of the vectors in its index. The view shows vectors in this type, because Postgres uses the index only
    for the expression that it holds."""

    def indexed(self, connection: Connection, column: LiteralString = "embedding") -> sql.Composable:
        """The expression that its index holds, of a column with its vectors."""
        if self.index_type == self.element_type:
            return sql.SQL(column)
        return sql.SQL("({}::{}({}))").format(
            sql.SQL(column), sql.Identifier(connection.pgvector, self.index_type), sql.Literal(self.dimensions)
        )

    @property
    def roles(self) -> Roles:
        """What is sent with documents and with questions."""
        return Roles(
            document=Role(self.document_prefix, self.document_parameter),
            query=Role(self.query_prefix, self.query_parameter),
        )

    @property
    def name_before_vectors(self) -> str:
        """Its name in plans, claims and kept answers from before its first vector."""
        return name_before_vectors(self.model, self.roles.document)

    def holds(self, model: str, dimensions: int | None, document: Role) -> bool:
        """Whether its vectors are those of a model, of so many dimensions if any are named, and of a document's role."""
        same = self.model == model and self.roles.document == document
        return same and dimensions in (None, self.dimensions)

    @property
    def embeddings(self) -> str:
        """The table with the HNSW index."""
        return f"embeddings_{self.name}"

    @property
    def landing(self) -> str:
        """The table that answers are written to. It has no vector index."""
        return f"embeddings_{self.name}_landing"

    @property
    def index(self) -> str:
        """The HNSW index."""
        return f"{self.embeddings}_hnsw"


def select_spaces(connection: Connection) -> psycopg.Cursor[Space]:
    """Select all spaces, oldest first. In pipeline mode, fetching from the cursor waits for them."""
    return connection.cursor(row_factory=class_row(Space)).execute(
        "SELECT name, model, dimensions, element_type, state, recall, ef_search, document_prefix, document_parameter, "
        "query_prefix, query_parameter, index_type FROM spaces ORDER BY created_at"
    )


def list_spaces(connection: Connection) -> list[Space]:
    """All spaces, oldest first."""
    return select_spaces(connection).fetchall()


def spaces_if_any(connection: Connection) -> list[Space]:
    """The active space and the filling one; empty in a schema that is no pipeline's, or that this role may not read."""
    try:
        with connection.transaction():
            spaces = list_spaces(connection)
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.InsufficientPrivilege):
        return []
    found = (space_in_state(spaces, "active"), space_in_state(spaces, "filling"))
    return [space for space in found if space is not None]


def space_in_state(spaces: Iterable[Space], state: State) -> Space | None:
    """The first space with a state; None if there is none."""
    return next((space for space in spaces if space.state == state), None)


def active_space(connection: Connection) -> Space | None:
    """The space that searches see; None before the first one."""
    return space_in_state(list_spaces(connection), "active")


def filling_space(connection: Connection) -> Space | None:
    """The space that fills beside the active one, if there is one."""
    return space_in_state(list_spaces(connection), "filling")


def get_space(connection: Connection, name: str) -> Space:
    """The space with a name. Raises ConfigurationError, which lists the existing names."""
    spaces = list_spaces(connection)
    for space in spaces:
        if space.name == name:
            return space
    names = ", ".join(space.name for space in spaces) or "none"
    raise ConfigurationError(f"there is no space '{name}'; there are: {names}")


def count_vectors(connection: Connection, table: str) -> int:
    """Rows of one of a space's tables."""
    return count_rows(connection, table)


def count_missing(connection: Connection, space: Space) -> int:
    """The number of distinct texts of chunks without a vector in a space."""
    query = sql.SQL(
        "SELECT pg_catalog.count(DISTINCT content_hash) FROM chunks c WHERE NOT EXISTS "
        "(SELECT FROM {} e WHERE e.content_hash = c.content_hash) AND NOT EXISTS "
        "(SELECT FROM {} l WHERE l.content_hash = c.content_hash)"
    ).format(sql.Identifier(space.embeddings), sql.Identifier(space.landing))
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0
