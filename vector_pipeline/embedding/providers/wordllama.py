"""The default embedded model: wordllama. A text's vector has the direction of the mean of its tokens' vectors."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from vector_pipeline.embedding.providers.base import Purpose, Vectors
from vector_pipeline.errors import ConfigurationError

DIMENSIONS = 256

# Texts are split into tokens in groups of this many characters: a call costs more than the tokens of a short text.
GROUP_CHARACTERS = 16 * 1024


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

        The library's own function pads all texts to the longest one, which takes gigabytes for one long text among
        short ones.
        """
        vectors = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        for begin, end in groups(texts, GROUP_CHARACTERS):
            # "Fast" leaves out offsets, which nobody needs here.
            found = self._model.tokenizer.encode_batch_fast(texts[begin:end], add_special_tokens=False)
            vectors[begin:end] = sum_rows(self._model.embedding, [encoding.ids for encoding in found])
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        # A text without any known token has no direction. It gets one, because no search finds a zero vector.
        vectors[lengths[:, 0] == 0, 0] = 1.0
        lengths[lengths == 0] = 1.0
        return np.asarray(vectors / lengths, dtype=np.float32)


def sum_rows(table: Vectors, texts: Iterable[Sequence[int] | np.ndarray[tuple[int], np.dtype[np.int64]]]) -> Vectors:
    """The sum of the rows of each text's tokens, shape (texts, columns), float32; zero for a text without tokens.

    It adds one text at a time, so that the rows of its tokens stay in a core's cache.
    """
    # "clip" is the fastest mode; every token has a row.
    rows = [table.take(np.asarray(tokens, dtype=np.int64), axis=0, mode="clip").sum(axis=0) for tokens in texts]
    return np.array(rows, dtype=np.float32).reshape(len(rows), table.shape[1])


def groups(texts: Sequence[str], characters: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of texts that have at most so many characters together; each has at least one text."""
    begin = total = 0
    for index, text in enumerate(texts):
        if index > begin and total + len(text) > characters:
            yield begin, index
            begin, total = index, 0
        total += len(text)
    if begin < len(texts):
        yield begin, len(texts)
