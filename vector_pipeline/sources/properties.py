"""What stores tell of a file, in the names that fsspec's file systems use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any


def tag(info: Mapping[str, Any]) -> str:
    """The etag of a file without quotation marks, or else its MD5; empty if the store tells neither."""
    return next((str(info[key]).strip('"') for key in ("ETag", "etag", "md5Hash", "content_md5") if info.get(key)), "")


def modified(info: Mapping[str, Any]) -> float:
    """When a file was changed, in seconds since the epoch; 0 if the store does not tell that."""
    for key in ("LastModified", "last_modified", "updated", "mtime", "created"):
        value = info.get(key)
        if isinstance(value, datetime):
            return _timestamp(value)
        if isinstance(value, int | float):
            return float(value) if math.isfinite(value) else 0.0
        if isinstance(value, str):
            with suppress(ValueError):
                return _timestamp(datetime.fromisoformat(value))
    return 0.0


def _timestamp(moment: datetime) -> float:
    try:
        return moment.timestamp()
    except (OverflowError, OSError, ValueError):
        return 0.0  # the year 1, with which a store says that it does not know


def size(value: Any) -> int:
    """A size in bytes; -1 if a store gives none."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return -1
