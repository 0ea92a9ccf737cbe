"""Simplify the Markdown of libraries: headings, lists, tables and code stay, marks inside sentences are removed."""

from __future__ import annotations

from collections.abc import Callable

import regex

_FENCED = regex.compile(r"(?ms)^(```+|~~~+).*?(?:^\1[`~]*[ \t]*$|\Z)")
_COMMENT = regex.compile(r"(?s)<!--.*?-->")
_PICTURE = regex.compile(r"!\[([^\]\n]*)\]\([^)\n]*\)")
# The description that programs give a picture if a person gave none. Hangul's names the file, its size and its date.
_NO_DESCRIPTION = regex.compile(
    r"(?i)(?:picture|image|graphic|그림|이미지|bild|img)?[ _-]*\d*(?:\.\w{3,4})?|그림입니다\.?(?:\s*원본 그림의 .*)?"
)
_STRONG = regex.compile(r"\*\*\*?|(?<!\w)__(?=\S)|(?<=\S)__(?!\w)")
_EMPHASIS = regex.compile(r"(?<![\w*\\])\*(?=[^\s*])([^*\n]+?)(?<=[^\s*\\])\*(?![\w*])")
_INSIDE_WORD = regex.compile(r"(?<=\p{L})\*(\p{L}{2,})\*(?=\p{L})")
_ESCAPED = regex.compile(r"\\([!-/:-@\[-`{}~])")
_TAGS = regex.compile(r"</?(?:u|b|i|em|strong|s|del|ins|sup|sub|span|mark|small|font)(?: [^<>\n]*)?>")
_BREAK = regex.compile(r"<br ?/?>")


def plainer(markdown: str) -> str:
    """Text without emphasis, escapes and comments, with pictures replaced by their descriptions. Code is unchanged."""
    return outside_code(markdown, _prose)


def without_pictures(markdown: str) -> str:
    """Text without pictures and their descriptions."""
    return str(_PICTURE.sub("", markdown))


def outside_code(markdown: str, change: Callable[[str], str]) -> str:
    """Text with all parts changed that are not code."""
    parts, position = [], 0
    for fence in _FENCED.finditer(markdown):
        parts += [change(markdown[position : fence.start()]), fence[0]]
        position = fence.end()
    return "".join([*parts, change(markdown[position:])])


def _prose(text: str) -> str:
    text = _PICTURE.sub(_described, _COMMENT.sub("", text))
    if "**" in text or "__" in text:
        text = _STRONG.sub("", text)
    if "*" in text:
        text = _INSIDE_WORD.sub(r"\1", _EMPHASIS.sub(r"\1", text))
    if "\\" in text:
        text = _ESCAPED.sub(r"\1", text)
    return _BREAK.sub(" ", _TAGS.sub("", text)) if "<" in text else text


def _described(picture: regex.Match[str]) -> str:
    description: str = picture[1].strip()
    return "" if _NO_DESCRIPTION.fullmatch(description) else description
