"""A database's URL as libpq parses it, what of it may be shown, and the variables that libpq reads itself."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import quote

import psycopg
from psycopg import conninfo, pq

from vector_pipeline.errors import ConfigurationError
from vector_pipeline.redaction import HIDDEN

SECRETS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key", "passfile")
"""Parameters that are never shown."""

# Parameters of the query that are shown. Others may be secret.
_SHOWN = ("hostaddr", "service", "sslmode", "target_session_attrs")

# Variables that libpq reads and that no parameter can override.
# https://www.postgresql.org/docs/current/libpq-envars.html
_WITHOUT_PARAMETER = ("PGSERVICE", "PGSERVICEFILE", "PGSYSCONFDIR", "PGDATESTYLE", "PGTZ", "PGGEQO")

# Values that mean "not set", for parameters where neither libpq's default nor an empty value does.
_NEUTRAL = {
    "sslcertmode": "allow",
    "min_protocol_version": "3.0",
    "max_protocol_version": "latest",
    # The embedded server's ways; one that a version before 0.2 started asks for no password.
    "require_auth": "scram-sha-256,none",
}

_PLAIN = re.compile(r"[\w.,:-]+")

# Held while variables are removed from the environment, so that two threads restore the original values.
_ENVIRONMENT = threading.RLock()


def parameters(url: str) -> dict[str, str]:
    """The parameters of a URL or a line of `name=value`, as libpq parses them.

    Raises ConfigurationError, which says what is wrong and nothing of what the URL holds.
    """
    try:
        return {name: str(value) for name, value in conninfo.conninfo_to_dict(url).items() if value is not None}
    except psycopg.ProgrammingError as error:
        raise ConfigurationError(_what_is_wrong(url, str(error))) from None
    except UnicodeError:
        raise ConfigurationError(
            "DATABASE_URL is not UTF-8: write each character outside ASCII as its bytes in UTF-8, é as %C3%A9"
        ) from None


def shown(url: str) -> str:
    """A database's URL for messages: user, host, port and database, as libpq parsed it."""
    if is_ambiguous(url):
        # libpq may have taken a part of the password for the host, so no parsed part can be shown.
        return f"postgresql://{HIDDEN}" + ("" if "?" in url else f"@{url.rpartition('@')[2]}")
    try:
        found = parameters(url)
    except ConfigurationError:
        return f"postgresql://{HIDDEN}"
    host, port = found.get("host", ""), found.get("port", "")
    behind = {name: found[name] for name in _SHOWN if _PLAIN.fullmatch(found.get(name, ""))}
    if "/" in host:
        place, behind = "", {"host": host, **({"port": port} if port else {}), **behind}
    else:
        place = _places(host, port)
    user = f"{quote(found['user'], safe='')}@" if found.get("user") else ""
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in behind.items())
    return f"postgresql://{user}{place}/{quote(found.get('dbname', ''), safe='')}" + (f"?{query}" if query else "")


def _places(host: str, port: str) -> str:
    hosts, ports = host.split(","), port.split(",")
    pairs = zip(hosts, ports if len(ports) > 1 else ports * len(hosts), strict=False)
    return ",".join(f"{f'[{h}]' if ':' in h else quote(h)}{p and f':{p}'}" for h, p in pairs)


def secrets(url: str) -> list[str]:
    """The parts of a URL that must not be shown in any text."""
    try:
        found = parameters(url)
    except ConfigurationError:
        return []
    return [found[name] for name in SECRETS if found.get(name)]


def is_ambiguous(url: str) -> bool:
    """Whether libpq reads a part of the user or password as the host, the port or the database."""
    _, is_url, rest = url.partition("://")
    at = rest.find("@")
    if not is_url or at < 0:
        return False
    try:
        found = parameters(url)
    except ConfigurationError:
        found = None
    # User and password end at the first @, if there is no / before it.
    behind = rest if "/" in rest[:at] else rest[at + 1 :]
    if found is None:
        return "@" in behind
    return "@" in behind.partition("?")[0] or not re.fullmatch(r"[\d,]*", found.get("port", ""))


def _what_is_wrong(url: str, message: str) -> str:
    if url.startswith(("postgresql://", "postgres://")):
        unknown = re.search(r'"([A-Za-z_]{1,40})"', message)
        if unknown and f"{unknown[1]}=" in url.rpartition("@")[2].partition("?")[2]:
            return (
                f"DATABASE_URL has the parameter '{unknown[1]}', which is another library's: take it out of the URL "
                "(https://www.postgresql.org/docs/current/libpq-connect.html lists those that Postgres knows)"
            )
        return (
            "DATABASE_URL cannot be read: it looks like postgresql://user:password@host:5432/database, with @ / ? # % "
            "in user and password written as %40 %2F %3F %23 %25"
        )
    return "DATABASE_URL is not a Postgres URL; it looks like postgresql://user:password@host:5432/database"


def neutral_parameters() -> dict[str, str]:
    """For each parameter that an environment variable sets, the value that has the effect of no variable."""
    return {
        name: _NEUTRAL.get(name, (option.compiled or b"").decode())
        for option in pq.Conninfo.get_defaults()
        if option.envvar and option.envvar.decode() in os.environ and (name := option.keyword.decode()) != "service"
    }


@contextmanager
def without_variables() -> Iterator[None]:
    """Remove variables that no parameter can override from the environment while a connect lasts."""
    with _ENVIRONMENT:
        kept: Mapping[str, str] = {n: os.environ.pop(n) for n in _WITHOUT_PARAMETER if n in os.environ}
        try:
            yield
        finally:
            os.environ.update(kept)
