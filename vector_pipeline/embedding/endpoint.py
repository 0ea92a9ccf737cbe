"""The HTTP endpoint of a provider: one POST, one answer of bounded size."""

from __future__ import annotations

import ssl
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx2

from vector_pipeline.embedding.providers.base import BrokenAnswer
from vector_pipeline.errors import ConfigurationError, one_line

if TYPE_CHECKING:
    from vector_pipeline.embedding.values import ClientConfig

# The most bytes of a number in JSON with its comma. A float32 in base64 takes 5.3.
BYTES_PER_NUMBER = 25
BYTES_PER_INPUT = 1_024
BYTES_BESIDES = 64 * 1024

# Bounds for an answer without known dimensions: no model has more, and no answer is larger.
MAX_DIMENSIONS = 16_384
MAX_BYTES = 256 * 1024 * 1024

# At most this much of an error is read.
ERROR_BYTES = 64 * 1024

MAX_REDIRECTS = 3


class Moved(Exception):
    """The server redirects to an address that must not be followed."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. The names of its headers do not depend on case."""

    status: int
    headers: httpx2.Headers
    content: bytes


class Endpoint:
    """Sends requests and reuses its connections. Close it at the end."""

    def __init__(self, config: ClientConfig, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        most = config.max_in_flight + 4
        with explained_configuration():
            self._url = request_url(config)
            self._http = httpx2.AsyncClient(
                transport=transport,
                auth=config.credentials,
                limits=httpx2.Limits(max_connections=most, max_keepalive_connections=most),
                timeout=httpx2.Timeout(config.timeout_seconds, connect=min(10.0, config.timeout_seconds)),
                event_hooks={"request": [_hide_query]},
                headers={
                    "Accept": "application/json",
                    "Accept-Encoding": "gzip",
                    "Content-Type": "application/json",
                    "User-Agent": "vector-pipeline",
                    **config.provider.headers(config.access),
                },
            )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def post(self, body: bytes, most_bytes: int) -> Reply:
        """Send a body and return the answer. Redirects on the same host are followed.

        Only the beginning of an error is read. Raises Moved for any other redirect, BrokenAnswer if the answer has more
        than `most_bytes`, and the errors of httpx2.
        """
        url = self._url
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._http.send(self._http.build_request("POST", url, content=body), stream=True)
            try:
                if not response.has_redirect_location:
                    # Later requests go directly to this address.
                    self._url = url
                    content = await _bounded(response, most_bytes)
                    return Reply(response.status_code, response.headers, content)
                url = _target(response, url)
            finally:
                await response.aclose()
        raise Moved(f"{response.status_code}: it redirects in a circle, at last to {_shown(url)}")


def most_bytes(inputs: int, dimensions: int | None) -> int:
    """The most bytes that an answer for some inputs may have, with the longest way of writing numbers."""
    vector = (dimensions or MAX_DIMENSIONS) * BYTES_PER_NUMBER + BYTES_PER_INPUT
    return min(MAX_BYTES, inputs * vector) + BYTES_BESIDES


def request_url(config: ClientConfig) -> httpx2.URL:
    """The URL of a request: the base URL with the provider's path appended before its query."""
    base = urlsplit(config.address or config.provider.base_url)
    return httpx2.URL(base._replace(path=base.path.rstrip("/") + config.provider.path, fragment="").geturl())


def _target(response: httpx2.Response, url: httpx2.URL) -> httpx2.URL:
    """The address of a redirect. Raises Moved if the texts and the key must not be sent there."""
    target = url.join(response.headers["location"])
    safe = target.host == url.host and (target.scheme == url.scheme or target.scheme == "https")
    if response.status_code in (307, 308) and safe:
        return target
    raise Moved(f"{response.status_code}: it is at {_shown(target)} now")


def _shown(url: httpx2.URL) -> str:
    return str(httpx2.URL(url).copy_with(username=None, password=None, query=None))


async def _bounded(response: httpx2.Response, most: int) -> bytes:
    encoding = response.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip", ""):
        raise BrokenAnswer(f"an answer encoded as {encoding[:20]!r}, which was not asked for")
    decoder = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
    good = response.is_success
    limit = most if good else ERROR_BYTES
    parts: list[bytes] = []
    total = 0
    async for raw in response.aiter_raw():
        try:
            part = decoder.decompress(raw, limit - total + 1) if decoder else raw
        except zlib.error as error:
            raise BrokenAnswer("an answer that says it is gzip, and is not") from error
        parts.append(part)
        total += len(part)
        if total > limit:
            if good:
                raise BrokenAnswer(f"an answer of more than {limit:,} bytes")
            break
    return b"".join(parts)[:limit]


class _WithoutQuery(httpx2.URL):
    """A URL whose text lacks the query, which may hold a key. httpx2 logs the URL of each request."""

    def __str__(self) -> str:
        return str(self.copy_with(query=None))


async def _hide_query(request: httpx2.Request) -> None:
    request.url = _WithoutQuery(request.url)


def hide_query(request: httpx2.Request) -> None:
    """A hook for a synchronous client: the query is sent, but not logged."""
    request.url = _WithoutQuery(request.url)


@contextmanager
def explained_configuration() -> Iterator[None]:
    """Turn errors of the HTTP client about its environment into ConfigurationError."""
    try:
        yield
    except httpx2.InvalidURL:
        # The error itself is not shown, because it may quote a part of a password.
        raise ConfigurationError(
            "OPENAI_BASE_URL, ALL_PROXY, HTTPS_PROXY or HTTP_PROXY is no URL that can be asked: write @ / ? # in a user "
            "or password as %40 %2F %3F %23, and the port as a number"
        ) from None
    except ImportError:
        raise ConfigurationError(
            "ALL_PROXY, HTTPS_PROXY or HTTP_PROXY names a SOCKS proxy, which needs another package: "
            "`pip install 'httpx2[socks]'`, or unset the variable"
        ) from None
    except ssl.SSLError as error:
        raise ConfigurationError(f"SSL_CERT_FILE or SSL_CERT_DIR holds no certificates ({one_line(error)})") from None
    except OSError as error:
        raise ConfigurationError(f"SSL_CERT_FILE or SSL_CERT_DIR cannot be read ({error.strerror})") from None
    except ValueError as error:
        # The error itself is not shown, because the URL of a proxy may hold a password.
        raise ConfigurationError("ALL_PROXY, HTTPS_PROXY or HTTP_PROXY is no proxy's URL") from error
