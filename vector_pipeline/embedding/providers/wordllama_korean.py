"""The embedded model for Korean and English: wordllama, beside a table of Korean word pieces.

A vector has two parts. The first 256 dimensions are wordllama's, of what is not Hangul; the others are the Hangul's. The
squared length of the second part is the share of the Hangul among a text's letters and digits, so a text without Hangul
has wordllama's similarities, and one in Korean alone those of the table.

The table has a vector for each of multilingual-e5-small's 5,373 pieces of Hangul, made from that model's own weights by
`benchmarks/korean_vectors.py`. A text's vector has the direction of the sum of its pieces' vectors; the weights of
pieces by their frequency are part of the table.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import regex
from tokenizers import Tokenizer, models, pre_tokenizers

from vector_pipeline.embedding.providers import wordllama
from vector_pipeline.embedding.providers.base import Purpose, Vectors
from vector_pipeline.embedding.providers.wordllama import GROUP_CHARACTERS, WordLlamaModel, groups, sum_rows

KOREAN_DIMENSIONS = 384
DIMENSIONS = wordllama.DIMENSIONS + KOREAN_DIMENSIONS
TABLE = "korean.npz"

# Syllables and single letters, as NFC composes them.
HANGUL = regex.compile(r"[ㄱ-ㅎㅏ-ㅣ가-힣]+")
UNKNOWN = 0

Pieces = np.ndarray[tuple[int], np.dtype[np.int64]]


def hangul_of(text: str) -> str:
    """The Hangul of a text in NFC, as words."""
    return " ".join(HANGUL.findall(text))


class PieceTokenizer:
    """Cuts Hangul into pieces: those whose scores (log probabilities) have the highest sum.

    The number of a piece is its place from 1; UNKNOWN stands for what no piece holds.
    """

    def __init__(self, pieces: Sequence[str], scores: Sequence[float]) -> None:
        unigram = models.Unigram([("<unk>", 0.0), *zip(pieces, map(float, scores), strict=True)], unk_id=UNKNOWN)
        self._tokenizer = Tokenizer(unigram)
        self._tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")

    def cut(self, texts: Sequence[str]) -> list[Pieces]:
        """The numbers of each text's pieces. The texts are results of `hangul_of`."""
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.asarray(one.ids, dtype=np.int64) for one in encoded]


class KoreanTable:
    """The packaged table. `vectors` has the shape (pieces + 1, 384), float32; the row of UNKNOWN is zero."""

    def __init__(self) -> None:
        with (
            resources.as_file(resources.files("vector_pipeline.embedding.providers") / TABLE) as path,
            np.load(path, allow_pickle=False) as packed,
        ):
            pieces = packed["pieces"].tobytes().decode().split("\n")
            self.tokenizer = PieceTokenizer(pieces, packed["scores"].tolist())
            self.vectors = np.zeros((len(pieces) + 1, KOREAN_DIMENSIONS), dtype=np.float32)
            np.multiply(packed["vectors"], packed["scales"][:, None], out=self.vectors[1:], dtype=np.float32)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of unit length, or zero where no piece is known, of results of `hangul_of`."""
        vectors = np.zeros((len(texts), KOREAN_DIMENSIONS), dtype=np.float32)
        for begin, end in groups(texts, GROUP_CHARACTERS):
            vectors[begin:end] = sum_rows(self.vectors, self.tokenizer.cut(texts[begin:end]))
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(np.divide(vectors, lengths, out=vectors, where=lengths > 0), dtype=np.float32)


class WordLlamaKoreanModel:
    """The model. Loading takes about as long as wordllama's and 10 MB more. Threads may share it."""

    def __init__(self) -> None:
        self._other = WordLlamaModel()
        self._korean = KoreanTable()

    @staticmethod
    def require_installed() -> Path:
        """See WordLlamaModel."""
        return WordLlamaModel.require_installed()

    def embed(self, texts: Sequence[str], purpose: Purpose = Purpose.DOCUMENT) -> Vectors:
        """Vectors of unit length, shape (len(texts), 640), float32; the same for each purpose."""
        composed = [unicodedata.normalize("NFC", text) for text in texts]
        hangul = [hangul_of(text) for text in composed]
        rest = [HANGUL.sub(" ", new) if found else old for new, old, found in zip(composed, texts, hangul, strict=True)]
        korean = self._korean.embed(hangul)
        shares = np.array([_share(*both) for both in zip(hangul, rest, strict=True)], dtype=np.float32)
        shares[~korean.any(axis=1)] = 0.0
        weights = np.sqrt(shares)[:, None]
        return np.concatenate([self._other.embed(rest) * np.sqrt(1 - shares)[:, None], korean * weights], axis=1)


def _share(hangul: str, rest: str) -> float:
    """The share of Hangul among the letters and digits of a text."""
    if not hangul:
        return 0.0
    syllables = len(hangul) - hangul.count(" ")
    return syllables / (syllables + sum(map(str.isalnum, rest)))
