"""A container of Azure Blob Storage behind adlfs, as `bucket_listing` lists it.

https://learn.microsoft.com/rest/api/storageservices/list-blobs describes the requests. The answers are read here, since
the SDK takes ten times as long to make its objects of them.
"""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.core.pipeline.policies import ContentDecodePolicy
from azure.storage.blob import __version__ as sdk
from fsspec.asyn import sync

from vector_pipeline.sources.bucket_listing import BucketPart, Order, Page
from vector_pipeline.sources.properties import modified, size, tag
from vector_pipeline.sources.spool import Entry

# The first version of the SDK that can send the parameter startFrom, by which a listing begins anywhere.
_BEGINS_ANYWHERE = (12, 28)


class Container(BucketPart):
    """The part of a container below a prefix of names."""

    needs = "service_client"

    def page(self, *, after: str = "", token: str | None = None, at_most: int | None = None) -> Page:
        """The first files after a name, or of those the files that a token continues with. Raises what the SDK raises.

        The store begins with the name itself, if there is a file of that name. A container that does not exist has no
        files. Directories of Data Lake Storage are left out.
        """
        asked = {"start_from": after} if after else {}
        try:
            answer = sync(self.filesystem.loop, self._answer, token, at_most and at_most + bool(after), asked)
        except ResourceNotFoundError:
            if after or token:
                raise
            return Page([], None, None)
        entries = [_entry(name, blob) for blob in answer.iterfind("Blobs/Blob") if (name := _file(blob))]
        following = answer.findtext("NextMarker") or None
        kept = [entry for entry in entries if entry.key != after]
        return Page(kept, following, self._order if following else None)

    async def _answer(self, token: str | None, at_most: int | None, asked: dict[str, Any]) -> Element:
        answers: list[Any] = []
        async with self.filesystem.service_client.get_container_client(self.name) as client:
            # Of the SDK's ways of listing, the one for names alone leaves the answer as it is.
            pages = client.list_blob_names(
                name_starts_with=self.stem or None,
                include=["metadata"],
                results_per_page=at_most,
                raw_response_hook=answers.append,
                **asked,
            ).by_page(token)
            await anext(pages)
        answer: Element = answers[-1].context[ContentDecodePolicy.CONTEXT_NAME]
        return answer

    @cached_property
    def _order(self) -> Order | None:
        """That of UTF-16 code units in an account with a flat namespace.

        One with a hierarchical namespace lists the files of a folder before those whose names begin like it.
        https://github.com/blobfile/blobfile/pull/238 and https://github.com/Azure/azure-sdk-for-go/issues/24210
        """
        if tuple(int(number) for number in re.findall(r"\d+", sdk)[:2]) < _BEGINS_ANYWHERE:
            return None
        try:
            account = sync(self.filesystem.loop, self._account)
        except AzureError:
            return None  # the rights to list files may lack that to ask for this
        return Order.UTF_16 if account.get("is_hns_enabled") is False else None

    async def _account(self) -> dict[str, Any]:
        async with self.filesystem.service_client.get_container_client(self.name) as client:
            account: dict[str, Any] = await client.get_account_information()
            return account


def _file(blob: Element) -> str:
    """The name of a file; empty for a directory.

    adlfs takes a name without its slashes at the end for that of a file, which it then does not find.
    """
    name = blob.find("Name")
    if name is None or not name.text or _is_directory({entry.tag: entry.text for entry in blob.iterfind("Metadata/*")}):
        return ""
    return unquote(name.text) if name.get("Encoded") == "true" else name.text


def _is_directory(metadata: dict[str, str | None]) -> bool:
    marked = metadata.get("is_directory")
    if marked in ("true", "false"):
        return marked == "true"
    return "true" in (metadata.get("hdi_isfolder"), metadata.get("Hdi_isfolder"))


def _entry(name: str, blob: Element) -> Entry:
    told = {
        "etag": blob.findtext("Properties/Etag"),
        "last_modified": _time(blob.findtext("Properties/Last-Modified")),
    }
    return Entry(name, size(blob.findtext("Properties/Content-Length")), tag(told), modified(told))


def _time(value: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(value) if value else None
    except ValueError:
        return None
