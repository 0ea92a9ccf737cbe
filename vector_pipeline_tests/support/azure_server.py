"""A container of Azure Blob Storage over HTTP: listings, properties and bytes of blobs, as its REST API documents them.

https://learn.microsoft.com/rest/api/storageservices/list-blobs
"""

from __future__ import annotations

import base64
import hashlib
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from vector_pipeline_tests.support.counting_server import CountingServer, Handler

_HEAD = '<?xml version="1.0" encoding="utf-8"?>'
_MODIFIED = "Sun, 01 Nov 2026 12:00:{seconds:02} GMT"
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class AzureServer(CountingServer):
    """An account with a container `texts`. Directories are blobs with metadata, as Data Lake Storage makes them.

    It forbids the listing of the container `secret`, and `is_open` = False forbids to ask for the kind of account.
    """

    def __init__(
        self,
        names: Iterable[str],
        seconds: float = 0.0,
        *,
        page: int = 5_000,
        directories: Mapping[str, Mapping[str, str]] | None = None,
        is_hierarchical: bool = False,
        is_open: bool = True,
        begins_anywhere: bool = True,
    ) -> None:
        super().__init__(_Handler, seconds)
        self.metadata: dict[str, Mapping[str, str]] = {name: {} for name in names} | dict(directories or {})
        self.page = page
        self.is_hierarchical = is_hierarchical
        self.is_open = is_open
        self.begins_anywhere = begins_anywhere
        self.names = sorted(self.metadata, key=self.place)
        self.places = [self.place(name) for name in self.names]

    def place(self, name: str) -> bytes:
        """By this the blobs are in order."""
        return (name.replace("/", "\x00") if self.is_hierarchical else name).encode("utf-16-be")

    @property
    def variables(self) -> dict[str, str]:
        """By these adlfs finds the server."""
        key = base64.b64encode(b"key").decode()
        account = f"DefaultEndpointsProtocol=http;AccountName=account;AccountKey={key}"
        return {"AZURE_STORAGE_CONNECTION_STRING": f"{account};BlobEndpoint={self.url}/account"}


class _Handler(Handler[AzureServer]):
    def do_GET(self) -> None:
        split = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(split.query).items()}
        _, _, container, *rest = split.path.split("/", 3)
        name = unquote(rest[0]) if rest else ""
        if container == "secret":
            self._refuse(403, "AuthorizationFailure", "This request is not authorized to perform this operation.")
        elif container != "texts":
            self._refuse(404, "ContainerNotFound", "The specified container does not exist.")
        elif asked.get("restype") == "account":
            self._account()
        elif asked.get("comp") == "list":
            at_most = int(asked.get("maxresults", "5000"))
            with self.server.counted(at_most):
                body = _listing(self.server, asked, at_most).encode()
            self.answer(body, {"Content-Type": "application/xml"})
        elif not name:
            self._describe({"x-ms-lease-state": "available", "x-ms-lease-status": "unlocked"}, "0x8D0", _time(""))
        elif name in self.server.metadata:
            self._blob(name)
        else:
            self._refuse(404, "BlobNotFound", "The specified blob does not exist.")

    do_HEAD = do_GET

    def _account(self) -> None:
        if not self.server.is_open:
            self._refuse(403, "AuthorizationPermissionMismatch", "This request is not authorized.")
            return
        is_hierarchical = str(self.server.is_hierarchical).lower()
        kind = {"x-ms-sku-name": "Standard_LRS", "x-ms-account-kind": "StorageV2"}
        self.answer(b"", kind | {"x-ms-is-hns-enabled": is_hierarchical})

    def _blob(self, name: str) -> None:
        body = _bytes(name)
        metadata = {f"x-ms-meta-{key}": value for key, value in self.server.metadata[name].items()}
        if self.command == "HEAD":
            self._describe(metadata | {"Content-Length": str(len(body))}, _etag(name), _time(name))
            return
        first, _, last = self.headers.get("x-ms-range", "bytes=0-").removeprefix("bytes=").partition("-")
        piece = body[int(first) : int(last) + 1 if last else None]
        place = {"Content-Range": f"bytes {first}-{int(first) + len(piece) - 1}/{len(body)}"}
        self._describe(metadata | place, _etag(name), _time(name), piece, status=206)

    def _describe(
        self, headers: Mapping[str, str], etag: str, modified: str, body: bytes = b"", *, status: int = 200
    ) -> None:
        known = {"ETag": f'"{etag}"', "Last-Modified": modified, "x-ms-blob-type": "BlockBlob"}
        self.answer(body, known | dict(headers), status=status)

    def _refuse(self, status: int, code: str, message: str) -> None:
        body = f"{_HEAD}<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        headers = {"x-ms-error-code": code, "Content-Type": "application/xml"}
        self.answer(b"" if self.command == "HEAD" else body, headers, status=status)


def _bytes(name: str) -> bytes:
    return name.encode()


def _etag(name: str) -> str:
    return "0x8D" + hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()[:13].upper()


def _time(name: str) -> str:
    return _MODIFIED.format(seconds=len(name) % 60)


def _listing(server: AzureServer, asked: dict[str, str], at_most: int) -> str:
    """Blobs from `startFrom` on (in later versions of the service), and after that of the marker."""
    prefix = asked.get("prefix", "")
    begin = bisect_left(server.places, server.place(prefix))
    if server.begins_anywhere:
        begin = max(begin, bisect_left(server.places, server.place(asked.get("startFrom", ""))))
    if "marker" in asked:
        begin = max(begin, bisect_right(server.places, server.place(base64.b64decode(asked["marker"]).decode())))
    end = min(begin + min(at_most, server.page), len(server.names))
    names = [name for name in server.names[begin:end] if name.startswith(prefix)]
    more = end < len(server.names) and server.names[end].startswith(prefix)
    marker = base64.b64encode(server.names[end - 1].encode()).decode() if more else ""
    blobs = "".join(_listed(name, server.metadata[name]) for name in names)
    return (
        f'{_HEAD}<EnumerationResults ServiceEndpoint="{server.url}/account/" ContainerName="texts">'
        f"<Prefix>{escape(prefix)}</Prefix><MaxResults>{at_most}</MaxResults><Blobs>{blobs}</Blobs>"
        f"<NextMarker>{marker}</NextMarker></EnumerationResults>"
    )


def _listed(name: str, metadata: Mapping[str, str]) -> str:
    shown = f'<Name Encoded="true">{quote(name)}</Name>' if _NOT_IN_XML.search(name) else f"<Name>{escape(name)}</Name>"
    marks = "".join(f"<{key}>{value}</{key}>" for key, value in metadata.items())
    return (
        f"<Blob>{shown}<Properties><Creation-Time>{_time('')}</Creation-Time><Last-Modified>{_time(name)}</Last-Modified>"
        f"<Etag>{_etag(name)}</Etag><Content-Length>{len(_bytes(name))}</Content-Length>"
        f"<Content-Type>text/plain</Content-Type><BlobType>BlockBlob</BlobType><AccessTier>Hot</AccessTier>"
        f"<LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState><ServerEncrypted>true</ServerEncrypted>"
        f"</Properties><Metadata>{marks}</Metadata><OrMetadata /></Blob>"
    )
