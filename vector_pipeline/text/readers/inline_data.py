"""Remove images and other files that are embedded in a text as `data:` URLs (RFC 2397), which no one can read."""

from __future__ import annotations

import re

import regex

MIN_CHARACTERS = 256
"""The shortest content that is removed. Shorter ones are examples and cost almost nothing."""

# The standard library finds a constant several times as fast.
_SIGN = re.compile(r"(?i);base64,")
_BEGIN = regex.compile(r"(?i)data:[\w.+/;=*%-]{0,100}(?:;base64,|,(?=%3C))")

# Base64 goes on over line breaks where lines are as long as tools make them (60, 64 or 76 characters), and its last
# line ends with `=` or nothing else is on it.
_BASE64 = regex.compile(
    r"[A-Za-z0-9+/_%-]*+=*+(?:[ \t]*+\n[ \t]*+[A-Za-z0-9+/_-]{60,}+=*+)*+(?:[ \t]*+\n[ \t]*+[A-Za-z0-9+/_-]*+={1,2})?+"
)
_ESCAPED = regex.compile(r"[^\s\"'()<>]*+")


def without_inline_data(text: str) -> tuple[str, int]:
    """A text without the content of its long `data:` URLs, and the number of these.

    What stands around the content stays: `![map](data:image/png;base64,)`.
    """
    # One character is found several times as fast as several.
    if _SIGN.search(text) is None and not ("%" in text and ",%3C" in text):
        return text, 0
    kept: list[str] = []
    begin = count = 0
    sign = _BEGIN.search(text)
    while sign is not None:
        content = _BASE64 if sign[0].lower().endswith("base64,") else _ESCAPED
        found = content.match(text, sign.end())
        end = found.end() if found else sign.end()
        if end - sign.end() >= MIN_CHARACTERS:
            kept.append(text[begin : sign.end()])
            begin = end
            count += 1
        sign = _BEGIN.search(text, end)
    return ("".join([*kept, text[begin:]]), count) if count else (text, 0)
