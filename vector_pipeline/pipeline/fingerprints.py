"""Fingerprints of the rules that a file was loaded with: the reader of its kind, and the rules for cutting."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from vector_pipeline.formats.kinds import TEXT, kind_of, stamps
from vector_pipeline.text.chunking.chunker import CHUNKER_VERSION, ChunkingConfig
from vector_pipeline.text.readers import ReaderOptions


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """The present fingerprint of each kind of file. A file that was loaded with another one is loaded again."""

    by_kind: Mapping[str, str]
    rejecting: str
    """What the readers, settings and limits are that files are rejected under: with others a file may be readable."""

    @classmethod
    def under(cls, chunking: ChunkingConfig, options: ReaderOptions, *others: object) -> Self:
        """The fingerprints of the present readers with some settings. `others` decide too whether a file is rejected."""
        cut: tuple[object, ...] = (CHUNKER_VERSION, chunking.strategy, chunking.max_tokens, chunking.overlap)
        if chunking.context != "none":
            cut += (chunking.context,)
        # The form for text is that of earlier versions, so that an update does not load all text files again.
        text = (TEXT.version, *cut, options.text_field, options.id_field)
        by_kind = {name: _digest(text if name == TEXT.name else (stamp, *cut)) for name, stamp in stamps().items()}
        return cls(by_kind, _digest((sorted(by_kind.items()), options, *others)))

    def of(self, path: str) -> str:
        """The fingerprint of a file by its name."""
        kind = kind_of(path) or TEXT
        return self.by_kind[kind.name]

    @property
    def current(self) -> list[str]:
        """All present fingerprints. A file that was loaded with none of them is out of date."""
        return sorted(self.by_kind.values())


def _digest(parts: tuple[object, ...]) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()
