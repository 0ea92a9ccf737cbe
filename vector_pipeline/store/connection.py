"""Connections to the pipeline's database, and what is said when there are none to be had.

A Database is a value: where Postgres is and which schema is the pipeline's. Nothing is kept open by it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import conninfo, sql

from vector_pipeline.errors import ConfigurationError, DatabaseError, DatabaseUnavailable
from vector_pipeline.store.binary import register, register_vectors

CONNECT_SECONDS = 10
RETRY_SECONDS = 600.0
SERVER_KEEPALIVES = {"tcp_keepalives_idle": 30, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 3}
SHARED_SCHEMA = "vector_pipeline_shared"
"""What all pipelines of a database share: the rate limits' state, money spent."""


# A run that was stopped in the middle of a transaction would keep its successor waiting: the server ends it after this.
IDLE_IN_TRANSACTION = "60s"


@dataclass(frozen=True, slots=True)
class Owner:
    """A run that took up an arrival: the number rises with each, and only the last one may write."""

    arrival: str
    number: int


class Connection(psycopg.Connection[Any]):
    """A session whose search_path begins with the pipeline's schema."""

    owner: Owner | None = None
    """The run on whose behalf it writes, as `fencing` checks in every transaction; None outside of runs."""


def commit_without_waiting(connection: Connection) -> None:
    """Return from commits before they are on disk: a crash of the server loses the last ones, and breaks nothing."""
    connection.execute("SET synchronous_commit = off")


@dataclass(frozen=True, slots=True)
class Database:
    """Where Postgres is, and which schema is the pipeline's own."""

    url: str = field(repr=False)
    schema: str = "public"
    owner: Owner | None = None
    """The run that the connections write for."""
    retry_seconds: float = RETRY_SECONDS
    """How long work that can be repeated is tried again on new connections."""

    @property
    def safe_url(self) -> str:
        """The URL without its password, for people to read."""
        if "://" not in self.url:
            return "(not a URL)"
        address = urlsplit(self.url)
        user, at, place = address.netloc.rpartition("@")
        kept = [part for part in address.query.split("&") if part and "password" not in part.lower()]
        return urlunsplit((address.scheme, f"{user.partition(':')[0]}{at}{place}", address.path, "&".join(kept), ""))

    def owned_by(self, owner: Owner) -> Database:
        """The same database, for the run that owns an arrival to write in."""
        return replace(self, owner=owner)

    def connect(self, *, role: str = "", autocommit: bool = True) -> Connection:
        """A new connection whose search_path begins with the schema, with pgvector's types known if installed.

        `role` is shown in pg_stat_activity. Close it, or use it as a context manager, which also closes it.
        Raises ConfigurationError for a URL that is none, DatabaseUnavailable where Postgres does not answer, and
        DatabaseError where it refuses.
        """
        name = f"vector_pipeline {role}".strip()
        try:
            connection = Connection.connect(
                self.url,
                autocommit=True,
                connect_timeout=CONNECT_SECONDS,
                application_name=name[:63],
                # A server that vanished without a word is noticed within about a minute.
                keepalives_idle=30,
                keepalives_interval=10,
                keepalives_count=3,
            )
        except psycopg.ProgrammingError as error:
            raise ConfigurationError(
                "DATABASE_URL is not a Postgres URL; it looks like postgresql://user:password@host:5432/database"
            ) from error
        except psycopg.OperationalError as error:
            raise self._explained(error) from None
        try:
            self._prepare(connection)
            connection.autocommit = autocommit
            connection.owner = self.owner
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: Connection) -> None:
        with connection.pipeline():
            types = connection.execute(
                "SELECT n.nspname, t.typname, t.oid FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
                "JOIN pg_type t ON t.typnamespace = n.oid AND t.typname IN ('vector', 'halfvec') "
                "WHERE e.extname = 'vector'"
            )
            # What waits for a lock has to see what whoever held it has written, whatever a role's default is.
            connection.execute("SET default_transaction_isolation = 'read committed'")
            # A client that vanished without a word is noticed as soon, and its locks are free; no effect on a socket.
            for name, value in SERVER_KEEPALIVES.items():
                connection.execute(sql.SQL("SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
            if self.owner is not None:
                connection.execute(
                    sql.SQL("SET idle_in_transaction_session_timeout = {}").format(sql.Literal(IDLE_IN_TRANSACTION))
                )
            found = types.fetchall()
            path = [self.schema, *(row[0] for row in found), "public"]
            connection.execute(
                sql.SQL("SET search_path = {}").format(sql.SQL(", ").join(map(sql.Identifier, dict.fromkeys(path))))
            )
        register(connection)
        register_vectors(connection, {name: oid for _, name, oid in found})

    def _explained(self, error: psycopg.OperationalError) -> DatabaseError:
        """One line for why a connection was refused, without the password, and what to do."""
        said = " ".join(str(error).split())
        password = conninfo.conninfo_to_dict(self.url).get("password")
        if password:
            said = said.replace(str(password), "***")
        for sign, advice in (
            ("password authentication failed", "check user and password in DATABASE_URL"),
            ("no password supplied", "put the password into DATABASE_URL"),
            ("does not exist", "create it, or name another in DATABASE_URL"),
            ("no pg_hba.conf entry", "the server does not admit this user from here"),
        ):
            if sign in said:
                return DatabaseError(f"Postgres at {self.safe_url} refuses: {said[-200:]}; {advice}")
        return DatabaseUnavailable(
            f"Postgres at {self.safe_url} does not answer ({said[-200:]}); is it running, and is DATABASE_URL right?"
        )
