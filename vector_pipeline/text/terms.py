r"""Split texts and questions into terms, the units that ranking by words counts.

A term is a word, case-folded and NFKC-normalised. The text itself does not change. A name with signs inside is a term,
and so are its parts: `ERR-4012` is also `err` and `4012`, and `camelCase` is also `camel` and `case`. Scripts without
spaces between words, and Korean, which joins particles to words, are split into n-grams: runs of Hangul, Han and Kana
into bigrams, and Thai, Lao, Khmer and Burmese into trigrams. English endings are removed (`stem`).

The SQL function `lexical_terms` (migrations) splits a question by the same rules and character classes, and a test
compares the two. Raise TERMS_VERSION with any change of these rules.

Measured on benchmarks/labelled_set (recall@5 of BM25, chunks of 400 tokens): bigrams find 0.88 of the Korean answers,
but 0.85 if whole runs are terms too. Removing endings adds 0.02 to 0.03 in English, as much as Snowball's stemmer.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

TERMS_VERSION = 1

MAX_TERM_CHARACTERS = 64
"""A longer word is cut off here, so a line of base64 is one term of bounded length."""
MAX_QUERY_CHARACTERS = 4_000
"""A longer question is cut off here. The rest hardly changes its meaning."""

# Character classes as ranges of code points. Python's and Postgres's regular expressions read them in the same way,
# while `\w` depends on a database's locale. Blocks: https://www.unicode.org/Public/UCD/latest/ucd/Blocks.txt.
BIGRAM_SCRIPTS = (
    r"\u1100-\u11ff\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    r"\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
)
TRIGRAM_SCRIPTS = (
    r"\u0e01-\u0e3e\u0e40-\u0e4e\u0e50-\u0e59\u0e80-\u0eff\u1000-\u1049\u1050-\u109f\u1780-\u17d3\u17e0-\u17ff"
)
# White space, punctuation and symbols after NFKC.
SEPARATORS = (
    r"\u0001-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf\u00d7\u00f7"
    r"\u02c2-\u02c5\u02d2-\u02df\u037e\u0387\u055a-\u055f\u0589\u058a\u05be\u05c0\u05c3\u05f3\u05f4\u060c\u061b\u061f"
    r"\u066a-\u066d\u06d4\u0964\u0965\u0e3f\u0e4f\u0e5a-\u0e5f\u104a-\u104f\u17d4-\u17df\u1680\u2000-\u2bff"
    r"\u2e00-\u3004\u3008-\u3040\u3097-\u309c\u30a0\u30fb\u3130-\u318f\ue000-\uf8ff\ufe00-\ufe6f\uff00-\uffff"
    r"\U0001d000-\U0001d3ff\U0001f000-\U0001fbff\U000e0000-\U0010ffff"
)
WORD_CHARACTER = f"[^{SEPARATORS}{BIGRAM_SCRIPTS}{TRIGRAM_SCRIPTS}]"

# A name (a word, or several joined by signs), or a run of a script that is split into n-grams.
_TOKEN = re.compile(rf"{WORD_CHARACTER}++(?:[._\-]{WORD_CHARACTER}++)*+|[{BIGRAM_SCRIPTS}]++|[{TRIGRAM_SCRIPTS}]++")
_RUN = re.compile(f"[{BIGRAM_SCRIPTS}{TRIGRAM_SCRIPTS}]")
_BIGRAM_RUN = re.compile(f"[{BIGRAM_SCRIPTS}]")
_JOINT = re.compile(r"[._\-]")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_STEMMED = re.compile(r"[a-z]{4,24}")
_PHRASE = re.compile(r'"([^"]*)"')

_ASCII_TOKEN = re.compile(r"[0-9A-Za-z\0]++(?:[._\-][0-9A-Za-z\0]++)*+")
"""The same for ASCII alone, where it takes a third of the time."""

# The terms of this many pieces between white space are kept, so that a piece of another text is not split again.
_REMEMBERED_PIECES = 1 << 16
_MAX_REMEMBERED_CHARACTERS = 32


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed question: its distinct terms, and its phrases in quotes."""

    terms: tuple[str, ...]
    phrases: tuple[str, ...] = ()
    exact: bool = False
    """Whether a search by words is enough: for an identifier, a phrase in quotes, or a single word."""


def frequencies(text: str) -> dict[str, int]:
    """The number of times that each term occurs in a text. The sum is the text's length for BM25. Linear in the text."""
    # White space separates tokens, so each piece between it is split alone, and most pieces are known already.
    return dict(Counter(chain.from_iterable(map(_PIECES.__getitem__, _normal(text).split()))))


def parse_query(text: str) -> Query:
    """Parse a question. An unclosed quote is an ordinary sign."""
    text = text[:MAX_QUERY_CHARACTERS].replace("\0", " ")
    phrases = tuple(phrase for phrase in dict.fromkeys(_PHRASE.findall(text)) if _TOKEN.search(_normal(phrase)))
    one_name = len(text.split()) == 1
    found = tuple(frequencies(text))
    return Query(found, phrases, bool(found) and (one_name or bool(phrases)))


class PhraseMatcher:
    """Tells whether texts contain some phrases: the words of each in order, with any signs and white space between them.

    In scripts without spaces a phrase may begin and end inside a run.
    """

    def __init__(self, phrases: Iterable[str]) -> None:
        phrases = list(dict.fromkeys(phrases))
        self._patterns = [_rough_pattern(phrase) for phrase in phrases]
        self._in_order = [_in_order(phrase, phrase=True) for phrase in phrases]

    def matches(self, text: str) -> bool:
        """Whether a text contains all phrases."""
        # Most texts with the words do not have them in order, and patterns find that out in a tenth of the time.
        folded = _normal(text).casefold()
        if not all(pattern.search(folded) for pattern in self._patterns):
            return False
        in_order = _in_order(text, phrase=False)
        return all(phrase in in_order for phrase in self._in_order)


def has_phrase(text: str, phrase: str) -> bool:
    """Whether a text contains the words of a phrase in order (`PhraseMatcher`)."""
    return PhraseMatcher((phrase,)).matches(text)


def terms_of_phrase(phrase: str) -> set[str]:
    """Terms that every text has which contains a phrase (`has_phrase`).

    A run shorter than an n-gram may be a part of a longer one, so it requires no term.
    """
    found: set[str] = set()
    for token in _TOKEN.findall(_normal(phrase)):
        if not _RUN.match(token):
            found.update(map(_term, _JOINT.split(token)))
        elif len(token) >= _gram_size(token):
            found.update(_terms_of(token))
    return found


def stem(word: str) -> str:
    """An English word in lower case without its ending: steps 1 and 5a of Porter's algorithm, which do most of the work.

    https://tartarus.org/martin/PorterStemmer/def.txt. Words of other languages lose such endings too, in texts as in
    questions.
    """
    word = _without_plural(word)
    for ending in ("ed", "ing"):
        if word.endswith(ending) and not word.endswith("eed"):
            word = _without_ending(word, word[: -len(ending)])
            break
    if len(word) > 3 and word[-1] == "e":
        word = word[:-1]
    if len(word) > 2 and word[-1] == "y" and word[-2] not in "aeiou":
        word = f"{word[:-1]}i"
    return word


def _without_plural(word: str) -> str:
    if word.endswith(("sses", "ies")):
        return word[:-2]
    return word[:-1] if word[-1] == "s" and word[-2] not in "us" else word


def _without_ending(word: str, rest: str) -> str:
    if len(rest) < 2 or not any(letter in "aeiouy" for letter in rest):
        return word
    doubled = len(rest) > 2 and rest[-1] == rest[-2] and rest[-1] not in "aeiouylsz"
    return rest[:-1] if doubled else rest


def _normal(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


class _Pieces(dict[str, tuple[str, ...]]):
    """A cache: the terms of pieces between white space. A lookup takes half the time of `lru_cache`."""

    def __missing__(self, piece: str) -> tuple[str, ...]:
        found = tuple(term for token in _tokens_of(piece) for term in _terms_of(token))
        if len(piece) <= _MAX_REMEMBERED_CHARACTERS:
            if len(self) >= _REMEMBERED_PIECES:
                self.clear()
            self[piece] = found
        return found


_PIECES = _Pieces()


def _tokens_of(text: str) -> list[str]:
    return (_ASCII_TOKEN if text.isascii() else _TOKEN).findall(text)


def _terms_of(token: str) -> Iterator[str]:
    """Yield the terms of one token: the n-grams of a run, or a name and its parts."""
    if _RUN.match(token):
        size = _gram_size(token)
        yield from (token[i : i + size] for i in range(max(1, len(token) - size + 1)))
        return
    yield _term(token)
    # Most tokens have no joint. A pattern, and even `isalnum`, takes several times as long to find that out.
    words = _JOINT.split(token) if "-" in token or "." in token or "_" in token else [token]
    for word in words:
        if len(words) > 1:
            yield _term(word)
        # No person writes a longer word, so it has no parts.
        parts = _HUMP.split(word) if len(word) <= MAX_TERM_CHARACTERS else ()
        if len(parts) > 1:
            yield from map(_term, parts)


def _gram_size(run: str) -> int:
    return 2 if _BIGRAM_RUN.match(run) else 3


def _term(word: str) -> str:
    folded = word.casefold()
    return stem(folded) if _STEMMED.fullmatch(folded) else folded[:MAX_TERM_CHARACTERS]


def _rough_pattern(phrase: str) -> re.Pattern[str]:
    """Matches in every text that has a phrase, case-folded: its words with nothing but signs and white space between."""
    words = [re.escape(part.casefold()) for token in _TOKEN.findall(_normal(phrase)) for part in _JOINT.split(token)]
    return re.compile(f"[{SEPARATORS}]*+".join(words))


def _in_order(text: str, *, phrase: bool) -> str:
    tokens = [part for token in _TOKEN.findall(_normal(text)) for part in _JOINT.split(token)]
    before = "" if phrase and tokens and _RUN.match(tokens[0]) else " "
    after = "" if phrase and tokens and _RUN.match(tokens[-1]) else " "
    return f"{before}{' '.join(tokens).casefold()}{after}"
