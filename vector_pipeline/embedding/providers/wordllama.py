"""The default embedded model: wordllama. A text's vector has the direction of the mean of its tokens' vectors."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vector_pipeline.embedding.providers.base import Purpose, Vectors
from vector_pipeline.errors import ConfigurationError

DIMENSIONS = 256

# Texts are split into tokens in groups of this many characters: a call costs more than the tokens of a short text.
GROUP_CHARACTERS = 16 * 1024
# Token vectors are added in groups of this many: 1 MB, which stays in a core's cache and is given back by malloc.
GROUP_TOKENS = 1_024


class WordLlamaModel:
    """The model. Loading takes about a fifth of a second and 40 MB. Threads may share it."""

    def __init__(self) -> None:
        weights = self.require_installed()
        root = logging.getLogger()
        handlers, level = list(root.handlers), root.level
        from wordllama import WordLlama

        # Importing it sets up logging for the whole process, which is not a library's business.
        root.handlers[:] = handlers
        root.setLevel(level)
        # The weights are in the wheel, so nothing is downloaded.
        self._model = WordLlama.load(cache_dir=weights, disable_download=True)
        self._model.tokenizer.no_padding()

    @staticmethod
    def require_installed() -> Path:
        """The folder with the weights. Raises ConfigurationError if the package is missing."""
        spec = importlib.util.find_spec("wordllama")
        if spec is None or spec.origin is None:
            raise ConfigurationError(
                "neither OPENAI_API_KEY nor OPENAI_BASE_URL is set and the embedded model is not installed: set one "
                "of them, or install it with `pip install wordllama`"
            )
        return Path(spec.origin).parent

    def embed(self, texts: Sequence[str], purpose: Purpose = Purpose.DOCUMENT) -> Vectors:
        """Vectors of unit length, shape (len(texts), 256), float32; the same for each purpose.

        This function sums over the concatenated tokens of all texts. The library's own function pads all texts to the
        longest one, which takes gigabytes for one long text among short ones.
        """
        vectors = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        for begin, end in groups([len(text) for text in texts], GROUP_CHARACTERS):
            found = [e.ids for e in self._model.tokenizer.encode_batch(texts[begin:end], add_special_tokens=False)]
            for first, last in groups([len(ids) for ids in found], GROUP_TOKENS):
                self._add(found[first:last], vectors[begin + first : begin + last])
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        # A text without any known token has no direction. It gets one, because no search finds a zero vector.
        vectors[lengths[:, 0] == 0, 0] = 1.0
        lengths[lengths == 0] = 1.0
        return np.asarray(vectors / lengths, dtype=np.float32)

    def _add(self, texts: Sequence[Sequence[int]], vectors: Vectors) -> None:
        """Set each row of `vectors`, shape (len(texts), 256), to the sum of the vectors of a text's tokens."""
        counts = np.array([len(ids) for ids in texts])
        full = np.flatnonzero(counts)
        if full.size:
            tokens = np.concatenate([np.asarray(ids, dtype=np.int64) for ids in texts])
            table = self._model.embedding[np.minimum(tokens, len(self._model.embedding) - 1)]
            vectors[full] = np.add.reduceat(table, (np.cumsum(counts) - counts)[full], axis=0)


def groups(sizes: Sequence[int], limit: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of places whose sizes add up to at most `limit`; each has at least one place."""
    begin = total = 0
    for place, size in enumerate(sizes):
        if place > begin and total + size > limit:
            yield begin, place
            begin, total = place, 0
        total += size
    if begin < len(sizes):
        yield begin, len(sizes)
