"""Token counts equal to the API's, by the model's own encoding. Its vocabulary ships with the package.

All text is plain text: `<|endoftext|>` in a document is seven ordinary tokens and never raises an error.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from importlib.resources.abc import Traversable

import numpy as np
import regex
import tiktoken

# cl100k_base and the checksum of its vocabulary, from tiktoken 0.14 (tiktoken_ext/openai_public.py).
VOCABULARY = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
VOCABULARY_SHA256 = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|"
    r"\s+(?!\S)|\s"
)

# The same pattern without look-ahead and possessive repetition, for which tiktoken's engine has to backtrack. It is
# twice as fast on English (benchmarks/text.py). Repetitions at the end of an alternative are possessive anyway. One
# case differs: in a row of white space before a word, `\s+(?!\S)` leaves the last character to the word. `_parts`
# separates such rows from the text around them.
_PLAIN_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+$|\s*[\r\n]|\s+"
)

# A special token between the parts of a text, so that one call encodes them separately.
_MARK = "\x00|\x00"

# White space as the pattern defines it (https://www.unicode.org/reports/tr44/#White_Space), except line breaks.
_RARE_SPACES = "\t\x0b\x0c\x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
_ROW = re.compile(rf"[ {_RARE_SPACES}]{{2,}}")

# The end of letters or of digits. A match of the pattern ends there, whatever stands before it.
_WORD_END = regex.compile(r"\p{L}(?!\p{L})|\p{N}(?!\p{N})")

Int32s = np.ndarray[tuple[int], np.dtype[np.int32]]
UInt32s = np.ndarray[tuple[int], np.dtype[np.uint32]]


@dataclass(frozen=True)
class Tokenizer:
    """Counts tokens in one encoding. Threads may share it."""

    name: str
    encoding: tiktoken.Encoding
    """It uses `_PLAIN_PATTERN`, so it is correct only for the parts that `encode` passes to it."""

    def count(self, text: str) -> int:
        """The exact number of tokens that the API bills for a text."""
        # Bytes give only an upper bound: every token is at least one byte and most are more.
        return len(self.encode(text))

    def encode(self, text: str) -> UInt32s:
        """The tokens of a text: shape (tokens,), uint32. Special tokens in it count as plain text."""
        encode = self.encoding.encode_to_numpy
        tokens: UInt32s
        if "  " not in text and not any(space in text for space in _RARE_SPACES):
            tokens = encode(text, disallowed_special=())
        elif _MARK in text:
            tokens = np.concatenate([encode(part, disallowed_special=()) for part in _parts(text)])
        else:
            tokens = encode(_MARK.join(_parts(text)), allowed_special={_MARK}, disallowed_special=())
            tokens = tokens[tokens != self.encoding.max_token_value]
        return tokens

    def count_before(self, prefix: str, text: str) -> int:
        """The exact number of tokens that a prefix adds to a text.

        It is often one less than those of the prefix, because a space at its end becomes part of the text's first word.
        """
        # Behind the first word the tokens are the same with and without the prefix.
        word_end = _WORD_END.search(text)
        head = text[: word_end.end()] if word_end else text
        return self.count(prefix + head) - self.count(head)

    def starts(self, text: str) -> Int32s:
        """The beginning of each token of a text, in characters: shape (tokens,), int32, never decreasing.

        For a token that begins inside a character it is the beginning of that character. `text` has no lone surrogate.
        """
        tokens = self.encode(text)
        begun, begun_and_inside = self._characters
        ends = np.cumsum(begun[tokens], dtype=np.int32)
        ends -= begun_and_inside[tokens]
        return ends

    @cached_property
    def _characters(self) -> tuple[Int32s, Int32s]:
        """For each token, the number of characters that begin in it; and that plus 1 if it begins inside one."""
        tokens = [self.encoding.decode_single_token_bytes(token) for token in range(self.encoding.n_vocab)]
        joined = np.frombuffer(b"".join(tokens), dtype=np.uint8)
        # Bytes 10xxxxxx continue a character; all others begin one.
        begins = (joined & 0xC0) != 0x80
        firsts = np.cumsum([0, *map(len, tokens[:-1])])
        begun = np.add.reduceat(begins, firsts, dtype=np.int32)
        return begun, begun + ~begins[firsts]


def _parts(text: str) -> Iterator[str]:
    """Yield the parts of a text whose tokens add up: each row of white space is one, without its last character."""
    begin = 0
    for row in _ROW.finditer(text):
        if row.end() < len(text) and text[row.end()] not in "\r\n":
            yield text[begin : row.start()]
            yield text[row.start() : row.end() - 1]
            begin = row.end() - 1
    yield text[begin:]


def tokenizer_for(model: str) -> Tokenizer:
    """The tokenizer of an embedding model.

    All of OpenAI's embedding models use cl100k_base (https://platform.openai.com/docs/guides/embeddings). For any
    other model its counts are an estimate, and limits are checked against that. The first call of a process loads the
    vocabulary, which takes about a third of a second and 40 MB.
    """
    return _cl100k_base()


@cache
def _cl100k_base() -> Tokenizer:
    name, ranks = "cl100k_base", vocabulary()
    special = {_MARK: len(ranks)}
    encoding = tiktoken.Encoding(name=name, pat_str=_PLAIN_PATTERN, mergeable_ranks=ranks, special_tokens=special)
    return Tokenizer(name, encoding)


def vocabulary() -> dict[bytes, int]:
    """The tokens of cl100k_base and their ranks, from the packaged file; tiktoken's own loader would download it."""
    packed = vocabulary_file().read_bytes()
    if hashlib.sha256(packed).hexdigest() != VOCABULARY_SHA256:
        raise RuntimeError(f"the packaged vocabulary {VOCABULARY} is damaged; reinstall vector-pipeline")
    words = packed.split()
    return dict(zip(map(binascii.a2b_base64, words[::2]), map(int, words[1::2]), strict=True))


def vocabulary_file() -> Traversable:
    """The packaged file of cl100k_base, in tiktoken's format: each line has a token in base64 and its rank."""
    return resources.files("vector_pipeline.text") / "vocabulary" / VOCABULARY
