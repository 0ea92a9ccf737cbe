"""The place where a provider is asked, over HTTP: one POST, one answer of bounded size."""

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

# Of a number in JSON at most, with its comma; packed float32 takes 5.3.
BYTES_PER_NUMBER = 25
BYTES_PER_INPUT = 1_024
BYTES_BESIDES = 64 * 1024

# An answer without known dimensions: no model has so many, and no answer is so large.
MAX_DIMENSIONS = 16_384
MAX_BYTES = 256 * 1024 * 1024

# What is read of an error.
ERROR_BYTES = 64 * 1024

MAX_REDIRECTS = 3


class Moved(Exception):
    """The server names another place than the one that was asked."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; names of headers in any case."""

    status: int
    headers: httpx2.Headers
    content: bytes


class Endpoint:
    """Where requests go: connections are reused. Close it at the end."""

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
        """Send a body and return the answer, following redirects on the same host.

        Raises Moved for any other redirect, BrokenAnswer where the answer has more than `most_bytes`, and what httpx2
        raises. Of an error only the beginning is read.
        """
        url = self._url
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._http.send(self._http.build_request("POST", url, content=body), stream=True)
            try:
                if not response.has_redirect_location:
                    # What comes next is sent there at once.
                    self._url = url
                    content = await _bounded(response, most_bytes)
                    return Reply(response.status_code, response.headers, content)
                url = _target(response, url)
            finally:
                await response.aclose()
        raise Moved(f"{response.status_code}: it redirects in a circle, at last to {_shown(url)}")


def most_bytes(inputs: int, dimensions: int | None) -> int:
    """Bytes that an answer to some inputs may have, in the wordiest way of writing its vectors."""
    vector = (dimensions or MAX_DIMENSIONS) * BYTES_PER_NUMBER + BYTES_PER_INPUT
    return min(MAX_BYTES, inputs * vector) + BYTES_BESIDES


def request_url(config: ClientConfig) -> httpx2.URL:
    """The URL of a request: the path is appended to the base URL's, and its query stays behind it."""
    base = urlsplit(config.address or config.provider.base_url)
    return httpx2.URL(base._replace(path=base.path.rstrip("/") + config.provider.path, fragment="").geturl())


def _target(response: httpx2.Response, url: httpx2.URL) -> httpx2.URL:
    """Where a redirect leads. Raises Moved where the texts and the key must not follow."""
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
    """A URL that is shown without its query, which may hold a key: httpx2 logs the URL of each request."""

    def __str__(self) -> str:
        return str(self.copy_with(query=None))


async def _hide_query(request: httpx2.Request) -> None:
    request.url = _WithoutQuery(request.url)


def hide_query(request: httpx2.Request) -> None:
    """A hook for a client that is not asynchronous: the query is sent, and not logged."""
    request.url = _WithoutQuery(request.url)


@contextmanager
def explained_configuration() -> Iterator[None]:
    """Turns what the HTTP client says of its surroundings into an error of ours. Raises ConfigurationError."""
    try:
        yield
    except httpx2.InvalidURL as error:
        raise ConfigurationError(f"OPENAI_BASE_URL is no URL that can be asked ({error})") from None
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
        # Not what it says: a proxy's URL may hold a password.
        raise ConfigurationError("ALL_PROXY, HTTPS_PROXY or HTTP_PROXY is no proxy's URL") from error
