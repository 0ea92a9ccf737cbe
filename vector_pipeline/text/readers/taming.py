"""Make HTML harmless before it is parsed, if its tree would take far more time or memory than its length suggests.

The text of an ordinary page does not change. Such growth is what the standard requires, and browsers do the same.
"""

from __future__ import annotations

import re

# Browsers nest 512 levels and put deeper elements beside each other. The parser walks up all levels for each element.
_MAX_DEPTH = 1_000
_BLOCK = 4_096
_NESTING_TAG = re.compile(
    r"<(/?)(?!(?:p|li|dt|dd|tr|td|th|tbody|thead|tfoot|option|optgroup|html|head|body|br|img|hr|input|meta|link|col|area|"
    r"base|embed|source|track|wbr|param|script|style|title|textarea)\b)([a-z][^\s>/]*)[^>]*>?",
    re.IGNORECASE,
)

# Open elements of these kinds are opened again in each paragraph
# (https://html.spec.whatwg.org/multipage/parsing.html#reconstruct-the-active-formatting-elements).
_FORMAT = re.compile(r"<(/?)(?:a|b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)(?=[\s/>])", re.IGNORECASE)
_FEW_ELEMENTS = 10_000

# The attributes of a tag are compared with each other, and each `<body …>` with all before it.
_MAX_ATTRIBUTES = 512
_SMALL = 64 * 1024
_VALUE = r"""(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s>"'][^\s>]*+)?+)?+"""
_CROWDED = re.compile(rf"<([a-z][^\s/>]*+)(?:[\s/]*+[^\s/>][^\s/>=]*+{_VALUE}){{{_MAX_ATTRIBUTES},}}+", re.IGNORECASE)
_ROOT = re.compile(r"<(html|body)(?=[\s/])[^>]*+", re.IGNORECASE)
_MAX_ROOTS = 64


def tamed(text: str) -> str:
    """The page in a form that parses in time and memory proportional to its length."""
    text = _unformatted(text)
    if len(text) > _SMALL:
        text = _CROWDED.sub(r"<\1", text)
        if len(_ROOT.findall(text)) > _MAX_ROOTS:
            text = _ROOT.sub(r"<\1", text)
    return _flattened(text)


def _unformatted(text: str) -> str:
    """Replace formatting elements by ordinary ones, if the parser would open too many of them again."""
    depth = opened = begin = 0
    for tag in _FORMAT.finditer(text):
        if depth:
            opened += depth * text.count("<", begin, tag.start())
        begin = tag.end()
        depth = max(0, depth - 1) if tag[1] else depth + 1
    opened += depth * text.count("<", begin)
    return _FORMAT.sub(r"<\1x-format", text) if opened > len(text) + _FEW_ELEMENTS else text


def _flattened(text: str) -> str:
    """Remove the nesting tags of a page, if they nest deeper than any browser shows."""
    depth = deepest = 0
    for start in range(0, len(text), _BLOCK):
        closed = text.count("</", start, start + _BLOCK)
        opened = text.count("<", start, start + _BLOCK) - closed
        deepest = max(deepest, depth + opened)
        depth = max(0, depth + opened - closed)
    if deepest <= _MAX_DEPTH:
        return text
    # This count included elements without an end tag. An exact count takes longer.
    depth = deepest = 0
    for tag in _NESTING_TAG.finditer(text):
        depth = max(0, depth - 1) if tag[1] else depth + 1
        deepest = max(deepest, depth)
    return text if deepest <= _MAX_DEPTH else _NESTING_TAG.sub("\n", text)
