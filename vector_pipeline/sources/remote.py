"""Files behind a URL that fsspec can open: S3, Google Cloud Storage, Azure, SFTP, HTTP, memory.

The packages for each protocol are extras (`pip install vector-pipeline[s3]`). They find credentials in their usual
places (environment, instance role, configuration files), never in the URL.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Self, cast

import fsspec

from vector_pipeline.errors import ConfigurationError, SourceError
from vector_pipeline.redaction import holds_credentials, shown
from vector_pipeline.sources.base import ListedFile, PassedOver, printable
from vector_pipeline.sources.bucket_listing import Store, list_bucket
from vector_pipeline.sources.properties import modified, tag

# The extra of this package that brings a protocol's.
EXTRAS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "abfs": "azure",
    "abfss": "azure",
    "az": "azure",
    "adl": "azure",
}


def install(protocol: str) -> str:
    """What to run so that URLs of a protocol can be opened."""
    extra = EXTRAS.get(protocol)
    return f"run `pip install 'vector-pipeline[{extra}]'`" if extra else f"install fsspec's package for {protocol}://"


@dataclass(frozen=True, slots=True)
class RemoteSource:
    """A folder behind a URL. `prefix` is the root in the file system's own spelling."""

    root: str
    filesystem: Any
    prefix: str

    @classmethod
    def at(cls, url: str) -> Self:
        """The source at a URL. Raises ConfigurationError for an unknown protocol or a missing package."""
        if holds_credentials(url):
            raise ConfigurationError(f"source '{shown(url)}' holds credentials; leave them to the environment")
        protocol, _, place = url.partition("://")
        if not place.strip("/"):
            raise ConfigurationError(
                f"source '{url}' names nothing behind {protocol}://; give a URL such as s3://bucket"
            )
        try:
            # Without a cache of listings, because a scan has to see the present files.
            filesystem, prefix = fsspec.url_to_fs(url, use_listings_cache=False)
        except ImportError as error:
            raise ConfigurationError(
                f"source '{url}' needs a package that is not installed; {install(protocol)}"
            ) from error
        except ValueError as error:
            raise ConfigurationError(f"source '{url}' cannot be used: {error}") from error
        source = cls(root=url.rstrip("/"), filesystem=filesystem, prefix=str(prefix).rstrip("/"))
        if source.is_s3:
            from vector_pipeline.sources.s3 import read_times_quickly

            read_times_quickly(filesystem)
        return source

    @property
    def reads_cheaply(self) -> bool:
        """False: to compare bytes they would have to be downloaded."""
        return False

    @property
    def is_s3(self) -> bool:
        """Whether the store has the API of S3."""
        return "s3" in self._protocols

    @property
    def _protocols(self) -> tuple[str, ...]:
        protocols = self.filesystem.protocol
        return (protocols,) if isinstance(protocols, str) else tuple(protocols)

    def walk(self, wanted: Callable[[str], bool]) -> Iterator[ListedFile | PassedOver]:
        """Files in path order, once the store has listed all of them.

        S3, Google Cloud Storage and Azure are listed in parallel, as far as the store allows that, and the listing is
        kept in a temporary file. Those of other stores are held in memory: about 1 KB a file.
        """
        is_empty = True
        for full, info in self._listed():
            is_empty = False
            entry = self._entry(full, info, wanted)
            if entry is not None:
                yield entry
        if is_empty:
            self.check()

    def check(self) -> None:
        """Raise SourceError if the store cannot be reached, or if the root is a file or does not exist."""
        try:
            self.filesystem.invalidate_cache()
            exists, is_file = self.filesystem.exists(self.prefix), self.filesystem.isfile(self.prefix)
        except Exception as error:
            raise self._cannot_be_listed(error) from error
        if is_file:
            raise SourceError(f"source '{self.root}' is a file; give the folder that holds it")
        if not exists:
            raise SourceError(f"source '{self.root}' does not exist")

    def check_bucket(self) -> None:
        """Raise SourceError if the bucket cannot be listed, or does not exist."""
        try:
            if (store := self.store()) is not None:
                store.page(at_most=1)
        except Exception as error:
            raise self._cannot_be_listed(error) from error

    def _listed(self) -> Iterator[tuple[str, Any]]:
        """The complete names of all files in order, with what the store says of each. Raises SourceError."""
        try:
            if (store := self.store()) is not None:
                for key, size, etag, since in list_bucket(store):
                    yield f"{store.name}/{key}", {"size": size, "ETag": etag, "LastModified": since}
                return
            self.filesystem.invalidate_cache()
            found = self.filesystem.find(self.prefix, detail=True)
        except Exception as error:
            raise self._cannot_be_listed(error) from error
        for full in sorted(map(str, found)):
            yield full, found[full]

    def store(self) -> Store | None:
        """The store, if it can be listed page by page. This imports what only this store needs."""
        if self.is_s3:
            from vector_pipeline.sources import s3

            return s3.Bucket.of(self.filesystem, self.prefix)
        if "gs" in self._protocols:
            from vector_pipeline.sources import gcs

            return gcs.Bucket.of(self.filesystem, self.prefix)
        if "abfs" in self._protocols:
            from vector_pipeline.sources import azure

            return azure.Container.of(self.filesystem, self.prefix)
        return None

    def _cannot_be_listed(self, error: Exception) -> SourceError:
        return SourceError(f"source '{self.root}' cannot be listed: {_one_line(error)}")

    def look_at(self, path: str) -> ListedFile | PassedOver:
        """A file as `walk` would list it, found by its path. Raises FileNotFoundError or another OSError."""
        if (reason := _why_not_named(path)) is not None:
            return PassedOver(printable(path), reason)
        with _as_os_errors():
            self.filesystem.invalidate_cache()
            info = self.filesystem.info(f"{self.prefix}/{path}")
        if info.get("type") == "directory":
            raise FileNotFoundError(path)
        found = self._entry(f"{self.prefix}/{path}", info, lambda _: True)
        if found is None:
            raise FileNotFoundError(path)  # a name that `walk` leaves out
        return found

    def _entry(self, full: str, info: Any, wanted: Callable[[str], bool]) -> ListedFile | PassedOver | None:
        """One entry of a listing, whose path stands for its name and no other; None if it is not wanted."""
        if not full.startswith(f"{self.prefix}/"):
            return PassedOver(printable(full), "lies outside of the source")
        path = full[len(self.prefix) + 1 :]
        if (reason := _why_not_named(path)) is not None:
            return PassedOver(printable(path), reason)
        if not path or path.endswith("/") or any(part.startswith(".") for part in path.split("/")) or not wanted(path):
            return None
        try:
            size = int(info.get("size") or 0)
            if not 0 <= size <= _MOST_BYTES:
                raise ValueError(f"a size of {size}")
            return ListedFile(path, size, _fingerprint(info), modified(info), by_content=bool(tag(info)))
        except (AttributeError, TypeError, ValueError, LookupError, ArithmeticError) as error:
            # Whatever a store says of one file, the others are listed.
            return PassedOver(printable(path), f"cannot be looked at: {_one_line(error)}", hides_files=True)

    def open(self, path: str) -> BinaryIO:
        """The bytes of a file; what a store's own errors say becomes an OSError, also of what is read later."""
        with _as_os_errors():
            opened = self.filesystem.open(f"{self.prefix}/{path}", "rb")
        return cast(BinaryIO, io.BufferedReader(_Opened(opened), 1 << 20))

    def fingerprint(self, path: str, opened: BinaryIO | None = None) -> str:
        """Size, etag and time of last change, as one text, as far as the store tells them."""
        with _as_os_errors():
            self.filesystem.invalidate_cache()
            return _fingerprint(self.filesystem.info(f"{self.prefix}/{path}"))


_MOST_BYTES = 2**63 - 1


def _why_not_named(path: str) -> str | None:
    """Why a name cannot be asked for as it is: something on the way to the store would take it for another."""
    if any(part in (".", "..") for part in path.split("/")):
        return "name has . or .. between slashes, by which another file may be meant; rename it"
    if "?versionId=" in path:
        return "name has ?versionId= in it, by which another file is meant; rename it"
    if "\x00" in path or any("\ud800" <= character <= "\udfff" for character in path):
        return "name is no text; rename the file"
    return None


class _Opened(io.RawIOBase):
    """A store's file whose errors are all OSErrors: then they are those of this file, and the others go on."""

    def __init__(self, opened: Any) -> None:
        self._opened = opened

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        with _as_os_errors():
            piece = self._opened.read(len(view))
        view[: len(piece)] = piece
        return len(piece)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with _as_os_errors():
            return int(self._opened.seek(offset, whence))

    def tell(self) -> int:
        return int(self._opened.tell())

    def close(self) -> None:
        if not self.closed:
            self._opened.close()
        super().close()


@contextmanager
def _as_os_errors() -> Iterator[None]:
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(_one_line(error)) from error


def _fingerprint(info: dict[str, Any]) -> str:
    return printable(f"{info.get('size')}:{tag(info)}:{modified(info)}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
