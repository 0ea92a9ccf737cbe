"""The text of a formula in MathML on one line, as a person would type it: `x=(−b±√(b^2−4ac))/(2a)`.

A browser shows a fraction, a root or an exponent by its place. Without it `a/b` would read as `ab` and `10^6` as `106`.
The signs are those of UnicodeMath (https://www.unicode.org/notes/tn28/). What an element holds follows MathML Core
(https://www.w3.org/TR/mathml-core/).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from itertools import pairwise

import regex
from selectolax.lexbor import LexborNode

from vector_pipeline.text.readers.styles import Styles, siblings

_TOKENS = frozenset("mi mn mo mtext ms".split())
_LEFT_OUT = frozenset("annotation annotation-xml script style template title".split())
_SPACES = regex.compile(r"\s+")
# Function application, and the invisible signs for times, a separator and plus.
_INVISIBLE = dict.fromkeys(range(0x2061, 0x2065))
_OPENING, _CLOSING, _BARS = frozenset("([{⟨⌈⌊⟦"), frozenset(")]}⟩⌉⌋⟧"), frozenset("|‖∣∥")
# Exponents that have a character of their own: primes, and the ring of degrees.
_RAISED = {**{sign: sign for sign in "′″‴⁗'°"}, "∘": "°"}
_ACCENTS = {
    sign: mark
    for signs, mark in (
        ("¯‾_ˉ\u0304\u0305", "\u0304"),
        ("^ˆ\u0302", "\u0302"),
        ("~˜\u0303", "\u0303"),
        ("→\u20d7", "\u20d7"),
        (".˙\u0307", "\u0307"),
        ("¨\u0308", "\u0308"),
        ("ˇ\u030c", "\u030c"),
    )
    for sign in signs
}
# Signs that only group what they stand above or below.
_BRACES = frozenset("⏞⏟⏠⏡︷︸⎴⎵")


class _Form(Enum):
    """What a piece of a formula is, or what stands at one of its ends."""

    TERM = auto()
    """A number, a letter, a sign, or something in brackets: it needs no others."""
    WORD = auto()
    """A term of several letters, such as `sin`."""
    SCRIPT = auto()
    """A term with an index or an exponent, or a root."""
    FRACTION = auto()
    ROW = auto()
    """Several pieces beside each other."""


@dataclass(frozen=True, slots=True)
class _Piece:
    text: str
    form: _Form = _Form.TERM
    first: _Form = _Form.TERM
    last: _Form = _Form.TERM


_NOTHING = _Piece("")
_PRESCRIPTS = _Piece("")


def formula_text(math: LexborNode, styles: Styles, *, shows: bool) -> str:
    """The text of an element `math`, in one line. `shows` is whether its own text is visible."""
    # With a stack of its own instead of recursion, because formulas may be nested very deeply.
    open_nodes = [_Open(math, shows, in_token=False)]
    while True:
        around = open_nodes[-1]
        node = next(around.inside, None)
        if node is None:
            open_nodes.pop()
            piece = around.combined()
            if not open_nodes:
                return _folded(piece.text).strip()
            open_nodes[-1].pieces.append(piece)
        elif node.is_text_node:
            around.add(node.text_content or "")
        elif node.is_element_node and node.tag not in _LEFT_OUT and not styles.is_hidden(node):
            open_nodes.append(_Open(node, styles.shows(node, around.shows), in_token=around.in_token))


class _Open:
    """An element that is being read, with the pieces of its children so far."""

    def __init__(self, node: LexborNode, shows: bool, *, in_token: bool) -> None:
        self.node, self.tag, self.shows = node, node.tag or "", shows
        self.in_token = in_token or self.tag in _TOKENS
        # Of what an action changes between, the first shows.
        self.inside = _first_only(node) if self.tag == "maction" else siblings(node.child)
        self.pieces: list[_Piece] = []
        self._inside_token = in_token

    def add(self, text: str) -> None:
        if self.in_token:
            self.pieces.append(_Piece(text if self.shows else ""))
        elif self.shows and not text.isspace():
            self.pieces.append(_term(text))

    def combined(self) -> _Piece:
        if self.in_token:
            text = "".join(piece.text for piece in self.pieces)
            return _Piece(text) if self._inside_token else _term(text)
        if self.tag == "mprescripts":
            return _PRESCRIPTS
        combine = _COMBINED.get(self.tag)
        return combine(self.node, self.pieces) if combine is not None else _row(self.pieces)


def _first_only(node: LexborNode) -> Iterator[LexborNode]:
    first = next((child for child in siblings(node.child) if child.is_element_node), None)
    return iter((first,) if first is not None else ())


def _folded(text: str) -> str:
    return _SPACES.sub(" ", text)


def _term(text: str) -> _Piece:
    # Spaces at the ends do not show, but no-break spaces do.
    text = _folded(text.strip(" \t\n\r\f").translate(_INVISIBLE))
    form = _Form.WORD if len(text) > 1 and text.replace(" ", "").isalpha() else _Form.TERM
    return _Piece(text, _Form.ROW if " " in text.strip() else _Form.TERM, form, form)


def _row(pieces: Sequence[_Piece]) -> _Piece:
    pieces = [piece for piece in pieces if piece.text]
    if len(pieces) <= 1:
        return pieces[0] if pieces else _NOTHING
    parts = [pieces[0].text]
    for before, piece in pairwise(pieces):
        parts += " " * _is_apart(before, piece), piece.text
    form = _Form.TERM if _is_enclosed(pieces) else _Form.ROW
    return _Piece("".join(parts), form, pieces[0].first, pieces[-1].last)


def _is_apart(before: _Piece, after: _Piece) -> bool:
    """Whether two pieces would read as something else without a space between them."""
    left, right = before.text[-1], after.text[0]
    if left.isdigit() and right.isdigit():
        return True
    if before.last is _Form.SCRIPT:
        return right.isalnum()
    if _Form.FRACTION in (before.last, after.first):
        return (left.isalnum() or left in _CLOSING) and (right.isalnum() or right in _OPENING or right == "√")
    return _Form.WORD in (before.last, after.first) and left.isalnum() and right.isalnum()


def _is_enclosed(pieces: Sequence[_Piece]) -> bool:
    """Whether the first piece is a bracket that the last one closes."""
    first, last = pieces[0].text, pieces[-1].text
    if first in _BARS:
        return first == last and all(piece.text != first for piece in pieces[1:-1])
    if first not in _OPENING or last not in _CLOSING:
        return False
    depth = 0
    for piece in pieces[:-1]:
        depth += (piece.text in _OPENING) - (piece.text in _CLOSING)
        if not depth:
            return False
    return True


def _bracketed(piece: _Piece, *allowed: _Form) -> str:
    """The text of a part, in brackets unless it is a term or of an allowed form."""
    return piece.text if piece.form in (_Form.TERM, *allowed) else f"({piece.text})"


def _fraction(node: LexborNode, pieces: Sequence[_Piece]) -> _Piece:
    if len(pieces) != 2 or not (pieces[0].text and pieces[1].text):
        return _row(pieces)
    # Without a line it is a binomial coefficient, or an exponent's two lines.
    bar = "¦" if (node.attributes.get("linethickness") or "").strip().startswith("0") else "/"
    text = bar.join(_bracketed(piece, _Form.SCRIPT) for piece in pieces)
    return _Piece(text, _Form.FRACTION, _Form.FRACTION, _Form.FRACTION)


def _root(node: LexborNode, pieces: Sequence[_Piece]) -> _Piece:
    index = ""
    if node.tag == "mroot" and len(pieces) == 2:
        pieces, index = pieces[:1], pieces[1].text
    inside = _row(pieces)
    if not inside.text:
        return inside
    sign = {"": "√", "2": "√", "3": "∛", "4": "∜"}.get(index)
    text = f"√({index}&{inside.text})" if sign is None else sign + _bracketed(inside)
    return _Piece(text, _Form.SCRIPT, _Form.TERM, _Form.SCRIPT)


def _scripts(node: LexborNode, pieces: Sequence[_Piece]) -> _Piece:
    marks = _MARKS[node.tag or ""]
    if len(pieces) != 1 + len(marks):
        return _row(pieces)
    base, *scripts = pieces
    over = scripts[-1].text
    if marks[-1] == "^" and (node.tag or "").endswith("over") and len(base.text) == 1 and over in _ACCENTS:
        base, scripts = replace(base, text=base.text + _ACCENTS[over]), scripts[:-1]
    return _with_scripts(base, "".join(map(_script, marks, scripts)))


def _multiscripts(_: LexborNode, pieces: Sequence[_Piece]) -> _Piece:
    if not pieces:
        return _NOTHING
    at = next((n for n, piece in enumerate(pieces) if piece is _PRESCRIPTS), len(pieces))
    before = "".join(map(_script, "_^" * len(pieces), pieces[at + 1 :]))
    piece = _with_scripts(pieces[0], "".join(map(_script, "_^" * len(pieces), pieces[1:at])))
    return replace(piece, text=f"{before} {piece.text}", form=_Form.ROW) if before else piece


def _script(mark: str, script: _Piece) -> str:
    if not script.text or script.text in _BRACES:
        return ""
    if mark == "^" and all(sign in _RAISED for sign in script.text):
        return "".join(_RAISED[sign] for sign in script.text)
    return mark + _bracketed(script)


def _with_scripts(base: _Piece, scripts: str) -> _Piece:
    if not scripts:
        return base
    last = _Form.TERM if scripts[0] in _RAISED.values() else _Form.SCRIPT
    return _Piece(_bracketed(base) + scripts, last, base.first, last)


def _table(_: LexborNode, pieces: Sequence[_Piece]) -> _Piece:
    return _between("; ", pieces)


def _table_row(_: LexborNode, pieces: Sequence[_Piece]) -> _Piece:
    return _between(" ", pieces)


def _between(separator: str, pieces: Sequence[_Piece]) -> _Piece:
    pieces = [piece for piece in pieces if piece.text]
    return pieces[0] if len(pieces) == 1 else _Piece(separator.join(piece.text for piece in pieces), _Form.ROW)


def _fenced(node: LexborNode, pieces: Sequence[_Piece]) -> _Piece:
    said = node.attributes
    opening, closing = (_folded((said.get(name) or sign).strip()) for name, sign in (("open", "("), ("close", ")")))
    signs = "".join((said.get("separators", ",") or "").split())
    text = "".join(
        piece.text + (signs[min(n, len(signs) - 1)] if signs and n < len(pieces) - 1 else "")
        for n, piece in enumerate(pieces)
    )
    return _Piece(f"{opening}{text}{closing}")


def _space(node: LexborNode, _: Sequence[_Piece]) -> _Piece:
    return _NOTHING if (node.attributes.get("width") or "").strip().startswith("-") else _Piece(" ")


_MARKS = {"msub": "_", "munder": "_", "msup": "^", "mover": "^", "msubsup": "_^", "munderover": "_^"}
_COMBINED: dict[str, Callable[[LexborNode, Sequence[_Piece]], _Piece]] = {
    "mfrac": _fraction,
    **dict.fromkeys(("msqrt", "mroot"), _root),
    **dict.fromkeys(_MARKS, _scripts),
    "mmultiscripts": _multiscripts,
    "mtable": _table,
    **dict.fromkeys(("mtr", "mlabeledtr"), _table_row),
    "mfenced": _fenced,
    "mspace": _space,
}
