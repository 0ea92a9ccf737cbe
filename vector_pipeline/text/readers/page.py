"""The text of an HTML page as a reader sees it: which elements are visible, and in which form."""

from __future__ import annotations

import regex
from selectolax.lexbor import LexborHTMLParser, LexborNode

from vector_pipeline.text.readers.elements import APART, BLOCKS, CODE, HEADINGS, HIDDEN, LINES, PARAGRAPHS
from vector_pipeline.text.readers.formula import formula_text
from vector_pipeline.text.readers.styles import Styles
from vector_pipeline.text.readers.taming import tamed

_BETWEEN = {**dict.fromkeys(PARAGRAPHS, "\n\n"), **dict.fromkeys(LINES, "\x00"), **dict.fromkeys(APART, " ")}

_SPACE = regex.compile(r"[ \t\f\u00a0]{2,}|[\t\f\u00a0]")
_AROUND_BREAKS = regex.compile(r"[ ]*[\n\x00][\n\x00 ]*")
_BREAKS = regex.compile(r"\n{3,}")
# Marks an end of line, unless there is one already: a row or item ends where the next begins. A page's text has no NUL.
_LINE = "\x00"
# Headings, items and rows without text.
_EMPTY_MARKS = regex.compile(r"(?m)^[ ]*(?:#{1,6}|-|\|(?:[ ]*\|)*)[ ]*$")

# What stands around the text of an element, though it is not in the page.
_QUOTED = {"rt": "()", "q": '""'}
_SCRIPTS = {
    "sup": str.maketrans("0123456789+-−", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻"),
    "sub": str.maketrans("0123456789+-−", "₀₁₂₃₄₅₆₇₈₉₊₋₋"),
}
_MAX_SCRIPT = 8


class Page:
    """A parsed page. `title` is its first title outside drawings, or empty."""

    def __init__(self, text: str) -> None:
        self._tree = LexborHTMLParser(tamed(text), scripting=True)
        title = self._tree.css_first("title:not(svg title)")
        self.title = " ".join(title.text().split()) if title is not None else ""

    def visible_text(self) -> str:
        """The text of the page, with headings and code marked as in Markdown for the chunker.

        Style sheets and scripts are not applied, so what they would hide or add is unknown.
        """
        body = self._tree.body
        if body is None:
            return ""
        styles = Styles(self._tree)
        text = _Text(styles)
        text.enter(body, "body")
        # With a stack of its own instead of recursion, because pages may be nested very deeply.
        open_nodes = [(body, "body", True, *styles.children(body, None))]
        while open_nodes:
            owner, tag, shows, inside, shadow = open_nodes[-1]
            node = next(inside, None)
            if node is None:
                text.leave(owner, tag)
                open_nodes.pop()
                continue
            tag = node.tag or ""
            if tag == "-text":
                if shows:
                    text.add(node.text_content or "")
            elif tag not in HIDDEN and not styles.is_hidden(node):
                shows = styles.shows(node, shows)
                tag = "span" if tag in _QUOTED and not shows else tag
                text.enter(node, tag)
                if tag == "math":
                    text.add(formula_text(node, styles, shows=shows))
                    text.leave(node, tag)
                else:
                    open_nodes.append((node, tag, shows, *styles.children(node, shadow)))
        return text.finished()


class _Text:
    """Joins the text of a page's nodes, in their order."""

    def __init__(self, styles: Styles) -> None:
        self._blocks = styles.blocks
        self._keeps_lines = styles.keeps_lines
        # For each open element; empty if all lines of the page are folded.
        self._kept: list[bool] = []
        # Alternating pieces of prose, whose white space is folded, and of code, which stays as it is.
        self._finished: list[str] = []
        self._prose: list[str] = []
        self._code: list[str] = []
        self._in_code = 0
        self._in_heading = False
        # Inside an exponent or an index: the characters for its digits.
        self._script: dict[int, int] = {}

    def add(self, text: str) -> None:
        if self._script:
            text = text.translate(self._script)
        if self._in_code:
            self._code.append(text)
        elif self._kept and self._kept[-1] and not self._in_heading:
            self._prose.append(text)
        else:
            self._prose.append(text.replace("\n", " "))

    def enter(self, node: LexborNode, tag: str) -> None:
        if self._keeps_lines:
            around = bool(self._kept) and self._kept[-1]
            self._kept.append(self._keeps_lines.get(node.mem_id, around))
        if tag in CODE:
            self._in_code += 1
        elif tag == "br":
            self.add("\n") if self._in_code else self._prose.append(" " if self._in_heading else "\n")
        elif tag in _QUOTED and not _has_bracket(node):
            self.add(_QUOTED[tag][0])
        elif tag in _SCRIPTS and self._is_script(node):
            self._script = _SCRIPTS[tag]
        elif self._in_code:
            self._enter_code(node, tag)
        elif tag in HEADINGS:
            self._in_heading = True
            self._prose.append("\n\n" + "#" * int(tag[1]) + " ")
        elif tag == "li":
            self._prose.append(_LINE + "- ")
        elif tag in ("td", "th"):
            self._prose.append(" | ")
        else:
            self._break(node, tag)

    def leave(self, node: LexborNode, tag: str) -> None:
        if self._keeps_lines:
            self._kept.pop()
        if tag in CODE:
            self._in_code -= 1
            if not self._in_code:
                self._finish_code()
        elif tag in _QUOTED and not _has_bracket(node):
            self.add(_QUOTED[tag][1])
        elif tag in _SCRIPTS:
            self._script = {}
        elif self._in_code:
            self._enter_code(node, "" if tag in ("td", "th") else tag)
        elif tag in HEADINGS:
            self._in_heading = False
            self._prose.append("\n\n")
        elif tag == "li":
            self._prose.append(_LINE)
        else:
            self._break(node, tag)

    def _is_script(self, node: LexborNode) -> bool:
        """Whether an element holds digits that would make another number of the digits before it: 10<sup>6</sup>."""
        before = self._code if self._in_code else self._prose
        if not before or not before[-1][-1:].isdigit():
            return False
        text = node.text().strip()
        return 0 < len(text) <= _MAX_SCRIPT and all(ord(sign) in _SCRIPTS["sup"] for sign in text)

    def _break(self, node: LexborNode, tag: str) -> None:
        between = _BETWEEN.get(tag, "")
        if not between and self._blocks and node.mem_id in self._blocks:
            between = _LINE
        if between:
            self._prose.append(" " if self._in_heading else between)

    def _enter_code(self, node: LexborNode, tag: str) -> None:
        """End a line of code at an element that is a line, unless it has already ended."""
        ended = not self._code or self._code[-1].endswith("\n")
        if tag in ("td", "th"):
            self._code.append("" if ended else " ")
        elif not ended and (tag in BLOCKS or node.mem_id in self._blocks):
            self._code.append("\n")

    def finished(self) -> str:
        self._finish_prose()
        return "\n\n".join(self._finished)

    def _finish_prose(self) -> None:
        text = _AROUND_BREAKS.sub(_break_of, _SPACE.sub(" ", "".join(self._prose)))
        text = _BREAKS.sub("\n\n", _EMPTY_MARKS.sub("", text)).replace("\u00ad", "").strip()
        self._prose.clear()
        if text:
            self._finished.append(text)

    def _finish_code(self) -> None:
        code = "".join(self._code).replace("\u00a0", " ").strip("\n")
        self._code.clear()
        if code.strip():
            self._finish_prose()
            fence = _fence(code)
            self._finished.append(f"{fence}\n{code}\n{fence}")


def _has_bracket(node: LexborNode) -> bool:
    """Whether the page itself puts a reading in brackets, for browsers without `ruby`."""
    before = node.prev
    if before is not None and before.is_text_node:
        before = before.prev
    return node.tag == "rt" and before is not None and before.tag == "rp"


def _fence(code: str) -> str:
    longest = max(map(len, _BACKTICKS.findall(code)), default=0)
    return "`" * max(3, longest + 1)


_BACKTICKS = regex.compile("`{3,}")


def _break_of(run: regex.Match[str]) -> str:
    return "\n\n" if run[0].count("\n") > 1 else "\n"
