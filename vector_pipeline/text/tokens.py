"""Token counts that equal the API's: the model's own encoding, from a vocabulary that ships with the package.

Text is plain text: `<|endoftext|>` in a document is seven ordinary tokens, and never an exception.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib import resources

import numpy as np
import regex
import tiktoken

# cl100k_base as tiktoken 0.14 defines it (tiktoken_ext/openai_public.py), and its vocabulary's own checksum there.
VOCABULARY = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
VOCABULARY_SHA256 = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|"
    r"\s+(?!\S)|\s"
)

# The encoding works inside pre-tokens. Between a letter and one of these a pre-token ends, whatever stands around
# it, so counts on both sides of such a place add up: it is an anchor. Only characters that were no letters in any
# version of Unicode are taken, since Python's and the tokenizer's may differ.
_ENDS = frozenset(chr(code) for code in range(128) if not chr(code).isalpha()) | frozenset("。、！？「」『』（）…")
_ANCHOR = regex.compile(rf"\p{{L}}(?=[{regex.escape(''.join(sorted(_ENDS)))}])")
_NEAR = 256

# Long texts are encoded in blocks that end at anchors: no more than this is in tokens and bytes at once.
BLOCK_CHARACTERS = 256 * 1024


@dataclass(frozen=True)
class Tokenizer:
    """Counts tokens in one encoding. Threads may share it."""

    name: str
    encoding: tiktoken.Encoding

    def count(self, text: str) -> int:
        """The exact number of tokens that the API bills for a text."""
        # Every token is at least one byte and most are more, but counting is the only way to be exact.
        return len(self.encoding.encode_ordinary(text))

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, special ones as plain text."""
        return self.encoding.encode_ordinary(text)

    @cached_property
    def _token_bytes(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        sizes = np.zeros(self.encoding.n_vocab, dtype=np.int64)
        for token in range(self.encoding.n_vocab):
            try:
                sizes[token] = len(self.encoding.decode_single_token_bytes(token))
            except KeyError:
                continue  # a gap in the vocabulary, or a special token, which plain text never becomes
        return sizes

    def starts(self, text: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Where each token of a text begins, in characters: shape (tokens,), int64, never decreasing.

        A token that begins inside a character counts as beginning where that character does.
        """
        parts = []
        for begin, end in _blocks(text):
            block = text[begin:end]
            sizes = self._token_bytes[np.array(self.encoding.encode_ordinary(block), dtype=np.intp)]
            offsets = np.cumsum(sizes) - sizes
            if not block.isascii():
                raw = np.frombuffer(block.encode(), dtype=np.uint8)
                # The n-th character begins at the n-th byte that is no continuation byte (10xxxxxx).
                offsets = (np.cumsum((raw & 0xC0) != 0x80) - 1)[offsets]
            parts.append(offsets + begin)
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def first_anchor(text: str, start: int, end: int) -> int | None:
    """The first place in text[start:end] where counts on both sides add up; None where there is none."""
    found = _ANCHOR.search(text, start, end)
    return found.end() if found and found.end() < end else None


def last_anchor(text: str, start: int, end: int) -> int | None:
    """The last place in text[start:end] where counts on both sides add up; None where there is none."""
    near = max(start, end - _NEAR)
    for position in range(end - 1, near, -1):
        if text[position] in _ENDS and text[position - 1].isalpha():
            return position
    last = None
    if near > start:
        for found in _ANCHOR.finditer(text, start, near + 1):
            last = found.end() if found.end() < end else last
    return last


def _blocks(text: str) -> list[tuple[int, int]]:
    blocks = []
    begin = 0
    while len(text) - begin > BLOCK_CHARACTERS:
        # Without an anchor (a megabyte of digits) the block ends anywhere: counts are then estimates at that place,
        # which the chunker corrects by counting the chunk itself.
        end = last_anchor(text, begin + BLOCK_CHARACTERS // 2, begin + BLOCK_CHARACTERS) or begin + BLOCK_CHARACTERS
        blocks.append((begin, end))
        begin = end
    if begin < len(text):
        blocks.append((begin, len(text)))
    return blocks


def tokenizer_for(model: str) -> Tokenizer:
    """The tokenizer of an embedding model.

    All of OpenAI's embedding models use cl100k_base (https://platform.openai.com/docs/guides/embeddings); for any
    other model its counts are an estimate that limits are held by. Loading takes about a third of a second.
    """
    return Tokenizer("cl100k_base", _cl100k_base())


def _cl100k_base() -> tiktoken.Encoding:
    """Built from the packaged file: tiktoken's own loader would ask a host on the network."""
    packed = (resources.files("vector_pipeline.text") / "vocabulary" / VOCABULARY).read_bytes()
    if hashlib.sha256(packed).hexdigest() != VOCABULARY_SHA256:
        raise RuntimeError(f"the packaged vocabulary {VOCABULARY} is damaged; reinstall vector-pipeline")
    ranks = {}
    for line in packed.splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    return tiktoken.Encoding(name="cl100k_base", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})
