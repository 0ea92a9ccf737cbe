"""What a file was loaded with: the reader of its kind, and how its text was cut."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from vector_pipeline.formats.kinds import KINDS, TEXT, kind_of
from vector_pipeline.text.chunking.chunker import CHUNKER_VERSION, ChunkingConfig
from vector_pipeline.text.readers import ReaderOptions


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """A fingerprint for each kind of file: one that is none of these means to load the file again."""

    by_kind: Mapping[str, str]

    @classmethod
    def under(cls, chunking: ChunkingConfig, options: ReaderOptions) -> Self:
        """The fingerprints under present readers and the settings given."""
        cut = (CHUNKER_VERSION, chunking.strategy, chunking.max_tokens, chunking.overlap)
        # Text kept its form when other kinds came, so that nobody's files were loaded again for that.
        text = (TEXT.version, *cut, options.text_field, options.id_field)
        return cls({kind.name: _digest(text if kind is TEXT else (kind.stamp, *cut)) for kind in KINDS})

    def of(self, path: str) -> str:
        """The fingerprint of a file by its name."""
        kind = kind_of(path) or TEXT
        return self.by_kind[kind.name]

    @property
    def current(self) -> list[str]:
        """All of them: a file that was loaded with none is out of date."""
        return sorted(self.by_kind.values())


def _digest(parts: tuple[object, ...]) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()
