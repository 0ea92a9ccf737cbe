"""Errors of Postgres, under the names by which the rooms above `store` catch them."""

from __future__ import annotations

import psycopg

from vector_pipeline.errors import DatabaseUnavailable

PostgresError = psycopg.Error
"""Whatever Postgres or the connection to it reports."""

ConnectionLost = psycopg.OperationalError
"""The server is away, restarts, or ended the session."""

PASSING = (DatabaseUnavailable, psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
"""Errors that may pass: the server is away, is starting, or became a standby, which only reads."""
