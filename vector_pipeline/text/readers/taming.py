"""HTML whose tree would take far longer, or far more memory, than its length tells: made harmless before it is parsed.

None of it changes what an ordinary page's text is. The parser does what the standard asks for, and so do browsers.
"""

from __future__ import annotations

import re

# Browsers nest 512 levels and put what is deeper beside; the parser walks up all of them for every element.
_MAX_DEPTH = 1_000
_BLOCK = 4_096
_NESTING_TAG = re.compile(
    r"<(/?)(?!(?:p|li|dt|dd|tr|td|th|tbody|thead|tfoot|option|optgroup|html|head|body|br|img|hr|input|meta|link|col|area|"
    r"base|embed|source|track|wbr|param|script|style|title|textarea)\b)([a-z][^\s>/]*)[^>]*>?",
    re.IGNORECASE,
)

# What is open of these is opened again in each paragraph
# (https://html.spec.whatwg.org/multipage/parsing.html#reconstruct-the-active-formatting-elements).
_FORMAT = re.compile(r"<(/?)(?:a|b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)(?=[\s/>])", re.IGNORECASE)
_FEW_ELEMENTS = 10_000

# A tag is compared with itself for attributes of one name, and each `<body …>` with all before it.
_MAX_ATTRIBUTES = 512
_SMALL = 64 * 1024
_VALUE = r"""(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s>"'][^\s>]*+)?+)?+"""
_CROWDED = re.compile(rf"<([a-z][^\s/>]*+)(?:[\s/]*+[^\s/>][^\s/>=]*+{_VALUE}){{{_MAX_ATTRIBUTES},}}+", re.IGNORECASE)
_ROOT = re.compile(r"<(html|body)(?=[\s/])[^>]*+", re.IGNORECASE)
_MAX_ROOTS = 64


def tamed(text: str) -> str:
    """A page that parses in time and memory in proportion to its length."""
    text = _unformatted(text)
    if len(text) > _SMALL:
        text = _CROWDED.sub(r"<\1", text)
        if len(_ROOT.findall(text)) > _MAX_ROOTS:
            text = _ROOT.sub(r"<\1", text)
    return _flattened(text)


def _unformatted(text: str) -> str:
    """A page, its formatting made ordinary elements where more of them would be opened again than it has characters."""
    depth = opened = begin = 0
    for tag in _FORMAT.finditer(text):
        if depth:
            opened += depth * text.count("<", begin, tag.start())
        begin = tag.end()
        depth = max(0, depth - 1) if tag[1] else depth + 1
    opened += depth * text.count("<", begin)
    return _FORMAT.sub(r"<\1x-format", text) if opened > len(text) + _FEW_ELEMENTS else text


def _flattened(text: str) -> str:
    """A page, its elements in no element where they nest deeper than any browser shows."""
    depth = deepest = 0
    for start in range(0, len(text), _BLOCK):
        closed = text.count("</", start, start + _BLOCK)
        opened = text.count("<", start, start + _BLOCK) - closed
        deepest = max(deepest, depth + opened)
        depth = max(0, depth + opened - closed)
    if deepest <= _MAX_DEPTH:
        return text
    # That counted elements which have no end or need none; to know better takes longer.
    depth = deepest = 0
    for tag in _NESTING_TAG.finditer(text):
        depth = max(0, depth - 1) if tag[1] else depth + 1
        deepest = max(deepest, depth)
    return text if deepest <= _MAX_DEPTH else _NESTING_TAG.sub("\n", text)
