"""The dagster.yaml that this package writes into its own home and updates until a person edits it.

Its last line holds the digest of all lines above. It shows whether the file was edited, whichever version wrote it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

# The beginning of a file that this package wrote. Any other file is the user's own and is never changed.
BEGINNING = "# Dagster's instance for one machine"

STAMP = "# Brought up to date by `vector-pipeline dev` as long as nobody edits it; sha256 of all above: "

# SHA-256 of the files of versions that did not write a digest yet.
UNSTAMPED = frozenset(
    {
        "fedb2f5b5e53052b2c81f47481ba8a19f59f4588834397b3eb4a7a96c1f490e7",
        "e07c38573ae5288b64c9b5704d2a778f638b40a56fb2c5f71060f12266a85d8a",
        "ff2df4b339b168cc71adc9ea9beb222bc5f60106e0af0b9d256589ebb86e9687",
    }
)


def own_config() -> str:
    """The text of dagster.yaml as this version writes it."""
    return _stamped((resources.files("vector_pipeline.local") / "dagster.yaml").read_text("utf-8"))


def write_own_config(config: Path) -> None:
    """Write dagster.yaml, so that a process that reads it meanwhile finds it whole. Raises OSError."""
    fresh = config.with_name(f".{config.name}.{os.getpid()}")
    fresh.write_text(own_config(), "utf-8")
    fresh.replace(config)


def bring_up_to_date(config: Path) -> str | None:
    """Update a dagster.yaml that an earlier version wrote and that was not edited; returns a message, if there is one.

    An edited file stays as it is, and the message lists the differences to this version. Raises OSError if the file
    cannot be read or written.
    """
    text, new = config.read_text("utf-8"), own_config()
    if text == new or not text.startswith(BEGINNING):
        return None
    if _is_unedited(text):
        write_own_config(config)
        return f"{config} is brought up to date"
    differs = ", ".join(_differences(_parsed(text), _parsed(new)))
    return f"{config} was edited and is not changed; this version differs in: {differs}" if differs else None


def _stamped(text: str) -> str:
    return f"{text}\n{STAMP}{_digest(text)}\n"


def _is_unedited(text: str) -> bool:
    above, found, stamp = text.rpartition(f"\n{STAMP}")
    return _digest(above) == stamp.strip() if found else _digest(text) in UNSTAMPED


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _parsed(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None  # Dagster reports what is wrong with it


def _differences(theirs: Any, ours: Any, at: str = "") -> Iterator[str]:
    """Yield 'concurrency.pools.granularity: run (there: op)' for each key that differs, but not for added keys."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key, value in ours.items():
            name = f"{at}.{key}" if at else str(key)
            if key in theirs:
                yield from _differences(theirs[key], value, name)
            else:
                yield f"{name} (there: none)"
    elif theirs != ours and at:
        yield f"{at}: {ours} (there: {theirs})"
