"""The text of an HTML page as a reader sees it: which elements are visible, and in which form."""

from __future__ import annotations

from collections.abc import Iterator

import regex
from selectolax.lexbor import LexborHTMLParser, LexborNode

from vector_pipeline.text.readers.taming import tamed

# https://html.spec.whatwg.org/multipage/rendering.html#hidden-elements, and elements that are shown only if a browser
# lacks a feature.
_HIDDEN = frozenset(
    "script style title noscript template svg head iframe object audio video canvas annotation annotation-xml datalist "
    "noembed noframes meter progress".split()
)
_HEADINGS = frozenset("h1 h2 h3 h4 h5 h6".split())
_PARAGRAPHS = frozenset(
    "p table ul ol dl menu dir section article aside nav main header footer blockquote div form fieldset figure details "
    "dialog address body hgroup search".split()
)
_LINES = frozenset("tr dt dd hr legend caption figcaption summary option optgroup center".split())
_CODE = frozenset("pre listing xmp plaintext".split())
_BLOCKS = _PARAGRAPHS | _LINES | _HEADINGS | _CODE | {"li"}
# Labels that are separated from each other without a new line.
_APART = frozenset("button select".split())
_BETWEEN = {**dict.fromkeys(_PARAGRAPHS, "\n\n"), **dict.fromkeys(_LINES, "\x00"), **dict.fromkeys(_APART, " ")}

_SPACE = regex.compile(r"[ \t\f\u00a0]{2,}|[\t\f\u00a0]")
_AROUND_BREAKS = regex.compile(r"[ ]*[\n\x00][\n\x00 ]*")
_BREAKS = regex.compile(r"\n{3,}")
# Marks an end of line, unless there is one already: a row or item ends where the next begins. A page's text has no NUL.
_LINE = "\x00"
# Headings, items and rows without text.
_EMPTY_MARKS = regex.compile(r"(?m)^[ ]*(?:#{1,6}|-|\|(?:[ ]*\|)*)[ ]*$")

_MARKED = "[style],[hidden],[popover],[aria-hidden],dialog:not([open]),textarea"
_DISPLAY = regex.compile(r"(?i)(?:^|[;\s])(display|visibility|white-space)\s*:\s*([a-z-]+)")
# https://www.w3.org/TR/css-text-3/#white-space-property: whether a line end of the source is shown as one.
_KEEPS_LINES = {
    **dict.fromkeys("pre pre-wrap pre-line break-spaces".split(), True),
    **dict.fromkeys("normal nowrap initial".split(), False),
}
_INLINE = frozenset("inline inline-block inline-flex inline-grid inline-table contents ruby ruby-text ruby-base".split())


class Page:
    """A parsed page. `title` is the title in its head, or empty."""

    def __init__(self, text: str) -> None:
        self._tree = LexborHTMLParser(tamed(text))
        title = self._tree.css_first("head title")
        self.title = " ".join(title.text().split()) if title is not None else ""

    def visible_text(self) -> str:
        """The text of the page, with headings and code marked as in Markdown for the chunker.

        Style sheets and scripts are not applied, so what they would hide or add is unknown.
        """
        body = self._tree.body
        if body is None:
            return ""
        styles = _Styles(self._tree)
        text = _Text(styles)
        text.enter(body, "body")
        # With a stack of its own instead of recursion, because pages may be nested very deeply.
        open_nodes = [(body, "body", *styles.children(body, None))]
        while open_nodes:
            owner, tag, inside, shadow = open_nodes[-1]
            node = next(inside, None)
            if node is None:
                text.leave(owner, tag)
                open_nodes.pop()
                continue
            tag = node.tag or ""
            if tag == "-text":
                text.add(node.text_content or "")
            elif tag not in _HIDDEN and node.mem_id not in styles.hidden:
                text.enter(node, tag)
                open_nodes.append((node, tag, *styles.children(node, shadow)))
        return text.finished()


class _Shadow:
    """The children of an element with a shadow root. They fill the slots of that root."""

    def __init__(self, host: LexborNode, outer: _Shadow | None) -> None:
        self.outer = outer
        self._assigned: dict[str, list[LexborNode]] = {}
        for node in _siblings(host.child):
            if node.tag == "template":
                continue
            name = node.attributes.get("slot") or "" if node.is_element_node else ""
            self._assigned.setdefault(name, []).append(node)

    def fill(self, slot: LexborNode) -> list[LexborNode]:
        """The nodes for a slot: the first slot of a name gets all. If there are none, the slot shows its own content."""
        return self._assigned.pop(slot.attributes.get("name") or "", [])


class _Styles:
    """Which elements of a page are hidden or blocks, by their attributes. `mem_id` identifies an element."""

    def __init__(self, tree: LexborHTMLParser) -> None:
        self.hidden: set[int] = set()
        self.blocks: set[int] = set()
        self.keeps_lines: dict[int, bool] = {}
        """For elements that say it: whether line ends inside them are shown. Others are like the element around them."""
        self._shadows: dict[int, LexborNode] = {}
        # The content of a nested template is not part of the template around it.
        parts: list[LexborHTMLParser | LexborNode] = [tree]
        while parts:
            part = parts.pop()
            self._look(part)
            parts += part.template_fragments()

    def _look(self, part: LexborHTMLParser | LexborNode) -> None:
        template = part.parent if isinstance(part, LexborNode) else None
        # https://html.spec.whatwg.org/multipage/scripting.html#attr-template-shadowrootmode
        mode = (template.attributes.get("shadowrootmode") or "").lower() if template is not None else ""
        if mode in ("open", "closed") and isinstance(part, LexborNode) and template is not None:
            host = template.parent
            if host is not None:
                self._shadows.setdefault(host.mem_id, part)
        formulas = part.css("math")
        with_formula = {around.mem_id for math in formulas for around in _around(math)}
        for node in part.css(_MARKED):
            self._mark(node, with_formula)
        for math in formulas:
            # It is hidden beside a picture of the formula, but it holds the formula's text.
            around = math.parent
            if around is not None and around.child == math and math.next is None:
                self.hidden.discard(around.mem_id)

    def _mark(self, node: LexborNode, with_formula: set[int]) -> None:
        if node.tag in ("html", "body"):
            return  # a script will show them
        said = node.attributes
        shown = {name.lower(): value.lower() for name, value in _DISPLAY.findall(said.get("style") or "")}
        display = shown.get("display", "")
        space = "pre-wrap" if node.tag == "textarea" else shown.get("white-space", "")
        if space in _KEEPS_LINES:
            self.keeps_lines[node.mem_id] = _KEEPS_LINES[space]
        closed = node.tag == "dialog" or "popover" in said
        found_by_search = (said.get("hidden") or "").lower() == "until-found"
        beside_formula = (
            said.get("aria-hidden") == "true" and (p := node.parent) is not None and p.mem_id in with_formula
        )
        if (
            display == "none"
            or shown.get("visibility") in ("hidden", "collapse")
            or ("hidden" in said and not found_by_search)
            or (closed and "open" not in said)
            or beside_formula
        ):
            self.hidden.add(node.mem_id)
        elif display and display not in _INLINE:
            self.blocks.add(node.mem_id)

    def children(self, node: LexborNode, shadow: _Shadow | None) -> tuple[Iterator[LexborNode], _Shadow | None]:
        """The visible children of an element, and the shadow root around them."""
        if self._shadows:
            if (root := self._shadows.get(node.mem_id)) is not None:
                return _siblings(root.child), _Shadow(node, shadow)
            if shadow is not None and node.tag == "slot" and (assigned := shadow.fill(node)):
                return iter(assigned), shadow.outer
        return _siblings(node.child), shadow


def _siblings(node: LexborNode | None) -> Iterator[LexborNode]:
    while node is not None:
        yield node
        node = node.next


def _around(math: LexborNode) -> Iterator[LexborNode]:
    """The elements that may hold a formula together with its picture."""
    around = math.parent
    for _ in range(2):
        if around is not None and around.tag not in ("body", None):
            yield around
            around = around.parent


class _Text:
    """Joins the text of a page's nodes, in their order."""

    def __init__(self, styles: _Styles) -> None:
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

    def add(self, text: str) -> None:
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
        if tag in _CODE:
            self._in_code += 1
        elif tag == "br":
            self.add("\n") if self._in_code else self._prose.append(" " if self._in_heading else "\n")
        elif tag == "rt" and not _has_bracket(node):
            self.add("(")
        elif self._in_code:
            self._enter_code(node, tag)
        elif tag in _HEADINGS:
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
        if tag in _CODE:
            self._in_code -= 1
            if not self._in_code:
                self._finish_code()
        elif tag == "rt" and not _has_bracket(node):
            self.add(")")
        elif self._in_code:
            self._enter_code(node, "" if tag in ("td", "th") else tag)
        elif tag in _HEADINGS:
            self._in_heading = False
            self._prose.append("\n\n")
        elif tag == "li":
            self._prose.append(_LINE)
        else:
            self._break(node, tag)

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
        elif not ended and (tag in _BLOCKS or node.mem_id in self._blocks):
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


def _has_bracket(rt: LexborNode) -> bool:
    """Whether the page itself puts a reading in brackets, for browsers without `ruby`."""
    before = rt.prev
    if before is not None and before.is_text_node:
        before = before.prev
    return before is not None and before.tag == "rp"


def _fence(code: str) -> str:
    longest = max(map(len, _BACKTICKS.findall(code)), default=0)
    return "`" * max(3, longest + 1)


_BACKTICKS = regex.compile("`{3,}")


def _break_of(run: regex.Match[str]) -> str:
    return "\n\n" if run[0].count("\n") > 1 else "\n"
