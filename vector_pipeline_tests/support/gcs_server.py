"""A bucket of Google Cloud Storage over HTTP: listings and descriptions of objects, as its JSON API documents them.

https://cloud.google.com/storage/docs/json_api/v1/objects/list
"""

from __future__ import annotations

import base64
import hashlib
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import orjson

from vector_pipeline_tests.support.counting_server import CountingServer, Handler

_LISTING = re.compile(r"/storage/v1/b/(?P<bucket>[^/]+)/o")
_OBJECT = re.compile(r"/storage/v1/b/(?P<bucket>[^/]+)/o/(?P<name>[^/]+)")
_BUCKET = re.compile(r"/storage/v1/b/(?P<bucket>[^/]+)")


class GcsServer(CountingServer):
    """A bucket `texts` with objects of some names. It forbids the listing of the bucket `secret`."""

    def __init__(self, names: Iterable[str], seconds: float = 0.0, *, page: int = 1_000) -> None:
        super().__init__(_Handler, seconds)
        self.names = sorted(names)  # by code points, which is by the bytes in UTF-8
        self.page = page
        self.objects = {name: described(name) for name in self.names}
        self.asked: list[dict[str, str]] = []

    @property
    def variables(self) -> dict[str, str]:
        """By these gcsfs finds the server, and asks for no credentials."""
        return {"STORAGE_EMULATOR_HOST": self.url}


class _Handler(Handler[GcsServer]):
    def do_GET(self) -> None:
        split = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(split.query).items()}
        found = next(filter(None, (kind.fullmatch(split.path) for kind in (_LISTING, _OBJECT, _BUCKET))), None)
        if found is None or found["bucket"] not in ("texts", "secret"):
            self._answer({"error": {"code": 404, "message": "The specified bucket does not exist."}}, 404)
        elif found["bucket"] == "secret":
            self._answer({"error": {"code": 403, "message": "t does not have storage.objects.list access"}}, 403)
        elif found.re is _LISTING:
            at_most = min(int(asked.get("maxResults", "1000")), 1_000)
            with self.server.counted(at_most):
                self.server.asked.append(asked)
                listed = _listing(self.server, asked, at_most)
            self._answer(listed)
        elif found.re is _BUCKET:
            self._answer({"kind": "storage#bucket", "name": "texts"})
        elif (described := self.server.objects.get(unquote(found["name"]))) is not None:
            self._answer(described)
        else:
            self._answer({"error": {"code": 404, "message": "No such object"}}, 404)

    def _answer(self, answer: dict[str, Any], status: int = 200) -> None:
        self.answer(orjson.dumps(answer), {"Content-Type": "application/json; charset=UTF-8"}, status=status)


def described(name: str) -> dict[str, Any]:
    """The resource of an object, with more properties than a listing of files needs."""
    digest = hashlib.md5(name.encode(), usedforsecurity=False).digest()
    milliseconds = digest[0] * 4 % 1_000
    return {
        "kind": "storage#object",
        "id": f"texts/{name}/1",
        "name": name,
        "bucket": "texts",
        "generation": "1",
        "size": str(0 if name.endswith("/") else len(name)),  # a number of 64 bits is text in this API
        "md5Hash": base64.b64encode(digest).decode(),
        "etag": base64.b64encode(digest[:9]).decode(),
        "timeCreated": "2026-10-01T12:00:00.001Z",
        "updated": f"2026-11-01T12:00:00.{milliseconds:03}Z",
    }


def _listing(server: GcsServer, asked: dict[str, str], at_most: int) -> dict[str, Any]:
    """Names from `startOffset` on, or after that of the token; `fields` chooses properties."""
    prefix = asked.get("prefix", "")
    begin = bisect_left(server.names, max(prefix, asked.get("startOffset", "")))
    if "pageToken" in asked:
        begin = bisect_right(server.names, base64.b64decode(asked["pageToken"]).decode())
    end = min(begin + min(at_most, server.page), len(server.names))
    names = [name for name in server.names[begin:end] if name.startswith(prefix)]
    fields = re.search(r"items\(([^)]*)\)", asked.get("fields", ""))
    items = [server.objects[name] for name in names]
    if fields is not None:
        items = [{field: item[field] for field in fields[1].split(",") if field in item} for item in items]
    answer: dict[str, Any] = {"items": items} if items else {}
    if end < len(server.names) and server.names[end].startswith(prefix):
        answer["nextPageToken"] = base64.b64encode(server.names[end - 1].encode()).decode()
    return answer if fields is not None else {"kind": "storage#objects", **answer}
