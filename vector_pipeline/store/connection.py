"""Connections to the pipeline's database. Their settings do not depend on environment, role, database or server.

A Database is a value: the URL of Postgres and the pipeline's schema. It holds nothing open.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from types import MappingProxyType, TracebackType
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from vector_pipeline.errors import ConfigurationError, DatabaseError, DatabaseUnavailable
from vector_pipeline.redaction import hide
from vector_pipeline.store import libpq
from vector_pipeline.store.binary import register, register_vectors
from vector_pipeline.store.failures import explain

CONNECT_SECONDS = 10
SHARED_SCHEMA = "vector_pipeline_shared"
"""The schema that all pipelines of a database share: the state of rate limits, money spent."""

RETRY_SECONDS = 600.0
"""How long a lost connection is retried by default."""

# Settings that results depend on, or that would end a session that waits: a lock is held as long as the work lasts.
# https://www.postgresql.org/docs/current/runtime-config-client.html
_SETTINGS = {
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "transform_null_equals": "off",
    # A transaction that waited for a lock has to see what its previous holder has written.
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_session_timeout": "0",
    # A client that vanished is noticed in the same time, and its locks are released; no effect on a socket.
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    # While an answer is on its way no keepalives are sent, and the system would try for a quarter of an hour.
    "tcp_user_timeout": "60s",
}
# For Postgres 17 and later.
_TRANSACTION_TIMEOUT = {"transaction_timeout": "0"}

# A server that vanished is noticed within about a minute, both while waiting for it and while writing to it.
_VANISHED: dict[str, Any] = {
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}


# A run that was stopped inside a transaction would block its successor. The server ends its session after this time.
IDLE_IN_TRANSACTION_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Owner:
    """A run that took over an arrival. Each such run has a higher number, and only the last one may write.

    The nonce is random. It is None if only the number is known.
    """

    arrival: str
    number: int
    nonce: uuid.UUID | None = None


class Connection(psycopg.Connection[Any]):
    """A session whose search_path begins with the pipeline's schema.

    An unhandled error of Postgres leaves its `with` block as a DatabaseError of one line.
    """

    database: Database
    owner: Owner | None = None
    """The run that it writes for, which `fencing` checks in every transaction; None outside of runs."""
    pgvector: str = "public"
    """The schema of pgvector's types and operators."""
    segment_lengths: Mapping[int, np.ndarray[tuple[int], np.dtype[np.uint16]]] = MappingProxyType({})
    """The lengths of texts in segments of the lexical index, which never change: two bytes a text."""

    @property
    def distance(self) -> sql.Composed:
        """The operator of the cosine distance. Another user may have made one of the same name in the schema."""
        return sql.SQL("OPERATOR({}.<=>)").format(sql.Identifier(self.pgvector))

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        try:
            super().__exit__(exc_type, exc_val, exc_tb)
        except psycopg.Error as error:
            raise self.database.explained(error) from error
        if isinstance(exc_val, psycopg.Error):
            raise self.database.explained(exc_val) from exc_val


def commit_without_waiting(connection: Connection) -> None:
    """Return from commits before they are on disk. A crash of the server may lose the last ones, which does no harm."""
    connection.execute("SET synchronous_commit = off")


def break_off(connection: Connection) -> None:
    """Cancel the query of a connection that another thread waits for. It may end before, and Postgres may be away."""
    with suppress(psycopg.Error):
        connection.cancel_safe(timeout=CONNECT_SECONDS)


def require_writable(connection: Connection) -> None:
    """Raise DatabaseError if the database is read-only, before work begins that would wait for it."""
    row = connection.execute("SHOW transaction_read_only").fetchone()
    if row and row[0] == "on":
        raise DatabaseError(
            f"Postgres at {connection.database.safe_url} only reads: name the primary in DATABASE_URL, or let it take "
            "writes again (default_transaction_read_only)"
        )


@dataclass(frozen=True, slots=True)
class Database:
    """The URL of Postgres and the pipeline's schema.

    An `embedded` one is reached independent of libpq's variables (PGHOST and others).
    """

    url: str = field(repr=False)
    schema: str = "public"
    owner: Owner | None = None
    """The run that the connections write for."""
    embedded: bool = False
    retry_seconds: float = RETRY_SECONDS
    """How long repeatable work is retried on new connections."""
    idle_in_transaction_seconds: int = IDLE_IN_TRANSACTION_SECONDS
    """How long a transaction of a run may do nothing before the server ends its session."""

    @property
    def safe_url(self) -> str:
        """The URL for messages, without any part of its password."""
        return libpq.shown(self.url)

    def owned_by(self, owner: Owner) -> Database:
        """The same database for the run that owns an arrival and may write for it."""
        return replace(self, owner=owner)

    def connect(self, *, role: str = "", autocommit: bool = True, row_policies: bool = False) -> Connection:
        """Open a connection whose search_path begins with the schema. It knows pgvector's types if they are installed.

        `role` is shown in pg_stat_activity. Close it, or use it as a context manager, which also turns errors of
        Postgres into DatabaseError. With `row_policies` a statement sees only rows that the policies of a table allow.
        Without, it fails if they would hide a row, because a load has to see all rows.
        Raises ConfigurationError for an invalid URL or a database that is not in UTF-8, DatabaseUnavailable if Postgres
        does not answer, and DatabaseError if it refuses.
        """
        try:
            connection = self._open(f"vector_pipeline {role}".strip())
        except psycopg.Error as error:
            raise self._refused(error) from None
        connection.database, connection.owner = self, self.owner
        try:
            self._prepare(connection, row_policies)
            connection.autocommit = autocommit
        except psycopg.Error as error:
            connection.close()
            raise self.explained(error) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def reach(self) -> None:
        """Connect and disconnect. Raises psycopg.OperationalError for the state of the server."""
        self._open("vector_pipeline").close()

    def _open(self, name: str) -> Connection:
        parameters: dict[str, Any] = libpq.parameters(self.url)
        if self.embedded:
            parameters = {**libpq.neutral_parameters(), **parameters}
        parameters |= {
            "client_encoding": "utf8",
            "connect_timeout": CONNECT_SECONDS,
            "application_name": name[:63],
            **_VANISHED,
        }
        with libpq.without_variables() if self.embedded else nullcontext():
            return Connection.connect(autocommit=True, **parameters)

    def explained(self, error: psycopg.Error) -> DatabaseError:
        """An error of Postgres as one line with what to do, without any part of the password."""
        return explain(error, self.safe_url, libpq.secrets(self.url))

    def _prepare(self, connection: Connection, row_policies: bool) -> None:
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise ConfigurationError(
                f"{self.safe_url} is in the encoding {encoding}, which cannot hold every text: make a database with "
                "`CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0` and name it in DATABASE_URL"
            )
        settings = {
            **_SETTINGS,
            "idle_in_transaction_session_timeout": f"{self.idle_in_transaction_seconds}s" if self.owner else "0",
            "row_security": "on" if row_policies else "off",
        }
        if connection.info.server_version >= 170_000:
            settings |= _TRANSACTION_TIMEOUT
        with connection.pipeline():
            # First, because a role's limit may be shorter than the following statements take.
            connection.execute("SET statement_timeout = 0")
            connection.execute("SET search_path = pg_catalog, pg_temp")
            connection.execute(
                "SELECT pg_catalog.set_config(s.name, s.value, false) "
                "FROM unnest(%s::text[], %s::text[]) AS s (name, value)",
                (list(settings), list(settings.values())),
            )
            # As replica no trigger counts. Only where it is that, since to set it takes a right that most roles lack.
            connection.execute(
                "SELECT pg_catalog.set_config('session_replication_role', 'origin', false) "
                "WHERE pg_catalog.current_setting('session_replication_role') <> 'origin'"
            )
            self.find_pgvector(connection)
        register(connection)

    def find_pgvector(self, connection: Connection) -> None:
        """Set the search_path to the pipeline's schema and pgvector's, and register pgvector's types.

        It runs at each connect, and again after the extension has been installed.
        """
        types = connection.execute(
            "SELECT n.nspname, t.typname, t.oid FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
            "JOIN pg_type t ON t.typnamespace = n.oid AND t.typname IN ('vector', 'halfvec') WHERE e.extname = 'vector'"
        ).fetchall()
        # Other users may create functions in a schema of the path, and Postgres prefers one that fits better than its
        # own. So the statements of this package write pg_catalog before every function.
        path = dict.fromkeys([self.schema, *(row[0] for row in types), "pg_temp"])
        connection.execute(sql.SQL("SET search_path = {}").format(sql.SQL(", ").join(map(sql.Identifier, path))))
        connection.pgvector = next((row[0] for row in types), connection.pgvector)
        register_vectors(connection, {name: oid for _, name, oid in types})

    def _refused(self, error: psycopg.Error) -> DatabaseError | ConfigurationError:
        """The reason why there is no connection, as one line with what to do."""
        if libpq.is_ambiguous(self.url):
            return ConfigurationError(
                f"{self.safe_url} cannot be reached as it is written in DATABASE_URL: a sign in its user or password "
                "ends them too early; write @ as %40, / as %2F, ? as %3F and # as %23"
            )
        reason = " ".join(hide(str(error), libpq.secrets(self.url)).split())[-200:]
        for sign, advice in (
            ("password authentication failed", "check user and password in DATABASE_URL"),
            ("no password supplied", "put the password into DATABASE_URL"),
            ("does not exist", "create it, or name another in DATABASE_URL"),
            ("no pg_hba.conf entry", "the server does not admit this user from here"),
        ):
            if sign in reason:
                return DatabaseError(f"Postgres at {self.safe_url} refuses: {reason}; {advice}")
        if any(sign in reason for sign in ("too many connections", "too many clients", "remaining connection slots")):
            return DatabaseUnavailable(
                f"Postgres at {self.safe_url} refuses: {reason}; close some connections, or raise the limit of the "
                "server (max_connections), of the role or of the database (CONNECTION LIMIT)"
            )
        return DatabaseUnavailable(
            f"Postgres at {self.safe_url} does not answer ({reason}); is it running, and is DATABASE_URL right?"
        )
