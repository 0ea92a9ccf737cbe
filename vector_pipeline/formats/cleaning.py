"""Restore the letters that the author meant: resolve forms that a page's layout or a font gave them.

Text files are not changed (`text.readers`), because their characters were typed. In a PDF, ligatures and presentation
forms are the work of the typesetting, and no one types them into a search.
"""

from __future__ import annotations

import re
import unicodedata

import regex

# Sets of characters are patterns of `re`, which finds them several times faster than `regex`.
#
# Characters that NFKC resolves: Latin ligatures, Arabic presentation forms, CJK radicals and compatibility ideographs,
# Hangul in halfwidth forms or in single letters. NFKC of the whole text would also change superscripts.
_FORMS = re.compile(
    r"[\uFB00-\uFB4F\uFB50-\uFDCF\uFDF0-\uFDFF\uFE70-\uFEFC\u2E80-\u2FDF\uF900-\uFAFF"
    r"\u1100-\u11FF\uA960-\uA97F\uD7B0-\uD7FF\uFFA0-\uFFDC]+"
)
_SPACES = re.compile(r"[\u00A0\u2000-\u200A\u202F\u205F]")
# Soft hyphens and characters without width. PDFium writes U+FFFE for a hyphen at the end of a line.
_NOTHING = re.compile(r"[\u00AD\u200B\u2060\uFEFF\uFFFE\uFFFF\x00-\x08\x0B\x0E-\x1F\x7F-\x9F]")
_SOFT_BREAK = regex.compile(r"[\u00AD\uFFFE\x02]\s*\n\s*(?=\p{L})|(?<=\p{Ll})[-\u2010][ ]*\n[ ]*(?=\p{Ll})")
_LINE_END = regex.compile(r"(?<=\p{L})(?:[\uFFFE\x02][ \r\n]*|[-\u00AD\u2010][ ]*\r?\n[ ]*)(\p{Ll}+)")
_LAST_WORD = regex.compile(r"\p{L}+\Z")
_MAX_LETTERS = 60
_FIRST_LETTERS = regex.compile(r"\p{Ll}+")
_APART = re.compile(r"[-\u2010] ")
# Bullets of Word's symbol fonts, which are in the private use area.
_BULLETS = re.compile(r"[\uF0B7\uF0A7\uF0D8\uF0FC\uF076\uF0A8\uF06C\uF06E\uF071]")
# Not U+0002, which PDFium writes for a hyphen at the end of a line.
_BROKEN = re.compile(r"[\uFFFD\uE000-\uF8FF\x00\x01\x03-\x08\x0E-\x1F\x80-\x9F]")
_WORD = regex.compile(r"[a-z]{3,}", regex.IGNORECASE)
_VOWEL = regex.compile(r"[aeiouy]", regex.IGNORECASE)

_BROKEN_SHARE = 0.3
_VOWEL_SHARE = 0.7


def resolved(text: str) -> str:
    """Text with words joined across line ends, ligatures and presentation forms resolved, and no control characters."""
    if text.isascii():
        return _SOFT_BREAK.sub("", text) if "-" in text or "\x02" in text else text
    text = _SOFT_BREAK.sub("", text)
    text = _BULLETS.sub("•", text)
    text = _NOTHING.sub("", _SPACES.sub(" ", text))
    return _FORMS.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)


def broken_words(text: str) -> set[tuple[str, str]]:
    """The words that are broken across line ends, each as its two parts."""
    found = set()
    for end in _LINE_END.finditer(text):
        first = _LAST_WORD.search(text, max(0, end.start() - _MAX_LETTERS), end.start())
        if first is not None:
            found.add((first[0], end[1]))
    return found


def with_words_joined(text: str, broken: set[tuple[str, str]]) -> str:
    """Text with broken words joined again, if their line end became a space: `experi- ment`."""
    if not broken:
        return text

    def join(space: re.Match[str]) -> str:
        first = _LAST_WORD.search(text, max(0, space.start() - _MAX_LETTERS), space.start())
        second = _FIRST_LETTERS.match(text, space.end())
        return "" if first and second and (first[0], second[0]) in broken else space[0]

    return _APART.sub(join, text)


def without_mojibake(text: str) -> tuple[str, int]:
    """Text without the lines that consist of the codes of a font without a map, and the number of removed letters.

    Such lines have many replacement characters, control characters or characters for private use.
    """
    if _BROKEN.search(text) is None:
        return text, 0
    kept, removed = [], 0
    for line in text.split("\n"):
        size = len("".join(line.split()))
        if len(_BROKEN.findall(_BULLETS.sub("", line))) > _BROKEN_SHARE * size:
            removed += size
        else:
            kept.append(line)
    return "\n".join(kept), removed


def is_unpronounceable(text: str) -> bool:
    """Whether the words of Latin letters mostly have no vowel, as codes of a font without a map look like letters."""
    words = _WORD.findall(text)
    return len(words) >= 10 and sum(bool(_VOWEL.search(word)) for word in words) < _VOWEL_SHARE * len(words)
