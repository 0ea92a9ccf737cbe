"""URLs of a test's database, for other roles."""

from __future__ import annotations

from urllib.parse import urlsplit


def as_role(url: str, role: str, password: str) -> str:
    """The URL of the same database for another role."""
    address = urlsplit(url)
    host = address.netloc.rpartition("@")[2]
    return address._replace(netloc=f"{role}:{password}@{host}").geturl()
