"""Files behind a URL that fsspec opens: S3, Google Cloud Storage, Azure, SFTP, HTTP, memory.

The packages that speak each protocol are extras (`pip install vector-pipeline[s3]`); credentials come from where
those packages look for them (environment, instance role, configuration files), never from the URL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, Self, cast

import fsspec

from vector_pipeline.errors import ConfigurationError, SourceError
from vector_pipeline.redaction import holds_credentials, shown
from vector_pipeline.sources.base import ListedFile, PassedOver

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
    """A folder behind a URL; `prefix` is the root as the file system itself writes it."""

    root: str
    filesystem: Any
    prefix: str

    @classmethod
    def at(cls, url: str) -> Self:
        """The source at a URL. Raises ConfigurationError for an unknown protocol or a missing package."""
        if holds_credentials(url):
            raise ConfigurationError(f"source '{shown(url)}' holds credentials; leave them to the environment")
        protocol = url.partition("://")[0]
        try:
            # Listings are never served from a cache: a scan has to see what is there now.
            filesystem, prefix = fsspec.url_to_fs(url, use_listings_cache=False)
        except ImportError as error:
            raise ConfigurationError(
                f"source '{url}' needs a package that is not installed; {install(protocol)}"
            ) from error
        except ValueError as error:
            raise ConfigurationError(f"source '{url}' cannot be used: {error}") from error
        return cls(root=url.rstrip("/"), filesystem=filesystem, prefix=str(prefix).rstrip("/"))

    @property
    def reads_cheaply(self) -> bool:
        """False: comparing bytes means to download them."""
        return False

    def walk(self, wanted: Callable[[str], bool]) -> Iterator[ListedFile | PassedOver]:
        """Files in path order. The store's own listing is held in memory: about 1 KB a file."""
        try:
            self.filesystem.invalidate_cache()
            found = self.filesystem.find(self.prefix, detail=True)
            if not found and not self.filesystem.exists(self.prefix):
                raise SourceError(f"source '{self.root}' does not exist")
        except SourceError:
            raise
        except Exception as error:
            raise SourceError(f"source '{self.root}' cannot be listed: {_one_line(error)}") from error
        for full in sorted(found):
            path = str(full)[len(self.prefix) :].lstrip("/")
            if path and not any(part.startswith(".") for part in path.split("/")) and wanted(path):
                info = found[full]
                size = int(info.get("size") or 0)
                yield ListedFile(path, size, _fingerprint(info), _modified(info), by_content=bool(_tag(info)))

    def open(self, path: str) -> BinaryIO:
        """The bytes of a file; an OSError of any store becomes one that says what the store said."""
        try:
            return cast(BinaryIO, self.filesystem.open(f"{self.prefix}/{path}", "rb"))
        except OSError:
            raise
        except Exception as error:
            raise OSError(_one_line(error)) from error

    def fingerprint(self, path: str, opened: BinaryIO | None = None) -> str:
        """Size, etag and time of last change, as one text, as far as the store tells them."""
        self.filesystem.invalidate_cache()
        return _fingerprint(self.filesystem.info(f"{self.prefix}/{path}"))


def _fingerprint(info: dict[str, Any]) -> str:
    return f"{info.get('size')}:{_tag(info)}:{_modified(info)}"


def _tag(info: dict[str, Any]) -> str:
    return next((str(info[key]).strip('"') for key in ("ETag", "etag", "md5Hash", "content_md5") if info.get(key)), "")


def _modified(info: dict[str, Any]) -> float:
    for key in ("LastModified", "last_modified", "updated", "mtime", "created"):
        value = info.get(key)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
        if isinstance(value, str):
            try:
                return datetime.fromisoformat(value).timestamp()
            except ValueError:
                continue
    return 0.0


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
