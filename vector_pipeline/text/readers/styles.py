"""What the attributes of a page's elements say about how they show: hidden or visible, block or inline, line ends kept.

Style sheets and scripts are not applied.
"""

from __future__ import annotations

from collections.abc import Iterator

import regex
from selectolax.lexbor import LexborHTMLParser, LexborNode

from vector_pipeline.text.readers.elements import BLOCKS

_MARKED = "[style],[hidden],[popover],[aria-hidden],dialog:not([open]),textarea,math mphantom,math[display]"
# Only attributes with one of these properties are parsed.
_PROPERTIES = regex.compile(r"(?i)display|visibility|white-space")
_COMMENT = regex.compile(r"/\*(?:(?!\*/).)*+(?:\*/)?", regex.DOTALL)
# A declaration ends at a semicolon outside quotes and brackets (https://www.w3.org/TR/css-syntax-3/).
_DECLARATION = regex.compile(
    r"""(?:[^;"'(\\]|\\.|"(?:[^"\\]|\\.)*+"?|'(?:[^'\\]|\\.)*+'?|\((?:[^)"'\\]|\\.|"[^"]*+"?|'[^']*+'?)*+\)?)++""",
    regex.DOTALL,
)
_IMPORTANT = regex.compile(r"\s*!\s*important\Z")
# https://www.w3.org/TR/css-text-3/#white-space-property: whether a line end of the source is shown as one.
_KEEPS_LINES = {
    **dict.fromkeys("pre pre-wrap pre-line break-spaces".split(), True),
    **dict.fromkeys("normal nowrap initial".split(), False),
}
# https://www.w3.org/TR/css-display-3/. A browser passes over a declaration with any other value.
_INLINE = frozenset(
    "inline inline-block inline-flex inline-grid inline-table contents ruby ruby-text ruby-base math initial".split()
)
_BLOCK = frozenset(
    "block flex grid table list-item flow-root table-row-group table-header-group table-footer-group table-row "
    "table-cell table-column-group table-column table-caption -webkit-box -webkit-flex".split()
)
_BOXES = frozenset("block flex grid list-item flow-root inline-block inline-flex inline-grid table-cell".split())
_BOX_TAGS = BLOCKS - {"table", "tr", "caption"} | {"td", "th", "button"}
_VALUES = {
    "display": _INLINE | _BLOCK | {"none", "inherit", "unset", "revert"},
    "visibility": frozenset("visible hidden collapse initial inherit unset revert".split()),
    "content-visibility": frozenset("visible auto hidden initial inherit unset revert".split()),
    "white-space": frozenset([*_KEEPS_LINES, "inherit", "unset", "revert"]),
}
# The elements of a drawing that may hold text which shows.
_DRAWN = frozenset("svg g a switch text foreignObject".split())
_VISIBILITY = {"visible": True, "initial": True, "hidden": False, "collapse": False}


class Shadow:
    """The children of an element with a shadow root. They fill the slots of that root."""

    def __init__(self, host: LexborNode, outer: Shadow | None) -> None:
        self.outer = outer
        self._assigned: dict[str, list[LexborNode]] = {}
        for node in siblings(host.child):
            if node.tag == "template":
                continue
            name = node.attributes.get("slot") or "" if node.is_element_node else ""
            self._assigned.setdefault(name, []).append(node)

    def fill(self, slot: LexborNode) -> list[LexborNode]:
        """The nodes for a slot: the first slot of a name gets all. If there are none, the slot shows its own content."""
        return self._assigned.pop(slot.attributes.get("name") or "", [])


class Styles:
    """How the elements of a page show, by their attributes. `mem_id` identifies an element."""

    def __init__(self, tree: LexborHTMLParser) -> None:
        self._hidden: set[int] = set()
        # Whether the text of an element is visible, for those that say it. Others are like the element around them.
        self._visible: dict[int, bool] = {}
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

    def is_hidden(self, node: LexborNode) -> bool:
        """Whether nothing of an element shows, whatever the elements inside say."""
        return node.mem_id in self._hidden

    def shows(self, node: LexborNode, around: bool) -> bool:
        """Whether the text of an element is visible. `around` is that of the element around it."""
        return self._visible.get(node.mem_id, around) if self._visible else around

    def children(self, node: LexborNode, shadow: Shadow | None) -> tuple[Iterator[LexborNode], Shadow | None]:
        """The children of an element as they show, and the shadow root around them."""
        if self._shadows:
            if (root := self._shadows.get(node.mem_id)) is not None:
                return siblings(root.child), Shadow(node, shadow)
            if shadow is not None and node.tag == "slot" and (assigned := shadow.fill(node)):
                return iter(assigned), shadow.outer
        if node.tag == "svg":
            return self._drawn(node), shadow
        return siblings(node.child), shadow

    def _drawn(self, svg: LexborNode) -> Iterator[LexborNode]:
        """The elements of a drawing that have text. Each `text` is a line, and so is each part of it with its own place.

        Of a `switch` the first element shows: programs put a plain copy for other browsers behind it.
        """
        waiting = [svg]
        while waiting:
            node = waiting.pop()
            if node.tag in ("text", "foreignObject"):
                self.blocks.add(node.mem_id)
                self.blocks.update(
                    part.mem_id
                    for part in siblings(node.child)
                    if part.tag == "tspan" and not part.attributes.keys().isdisjoint(("x", "y", "dy"))
                )
                yield node
                continue
            inside = [n for n in siblings(node.child) if n.tag in _DRAWN and not self.is_hidden(n)]
            if node.mem_id in self._visible:
                for part in inside:
                    self._visible.setdefault(part.mem_id, self._visible[node.mem_id])
            waiting += inside[:1] if node.tag == "switch" else reversed(inside)

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
                self._hidden.discard(around.mem_id)
                self._visible.pop(around.mem_id, None)

    def _mark(self, node: LexborNode, with_formula: set[int]) -> None:
        if node.tag in ("html", "body"):
            return  # a script will show them
        said = node.attributes
        style = _declared(said.get("style") or "")
        display = style.get("display", "")
        space = "pre-wrap" if node.tag == "textarea" else style.get("white-space", "")
        if space in _KEEPS_LINES:
            self.keeps_lines[node.mem_id] = _KEEPS_LINES[space]
        visibility = "hidden" if node.tag == "mphantom" else ""
        visibility = style.get("visibility", visibility)
        if visibility in _VISIBILITY:
            self._visible[node.mem_id] = _VISIBILITY[visibility]
        beside_formula = (
            said.get("aria-hidden") == "true" and (p := node.parent) is not None and p.mem_id in with_formula
        )
        skipped = style.get("content-visibility") == "hidden" and _is_box(node, display)
        if display == "none" or skipped or beside_formula or (not display and _is_closed(node)):
            self._hidden.add(node.mem_id)
        elif display in _BLOCK or (node.tag == "math" and said.get("display") == "block"):
            self.blocks.add(node.mem_id)


def _is_box(node: LexborNode, display: str) -> bool:
    """Whether `content-visibility` has an effect: not on tables and rows, nor on elements inside a line."""
    return display in _BOXES or (not display and node.tag in _BOX_TAGS)


def _is_closed(node: LexborNode) -> bool:
    """Whether a browser hides an element unless a style shows it."""
    said = node.attributes
    if "hidden" in said and (said.get("hidden") or "").lower() != "until-found":
        return True
    return ("popover" in said or node.tag == "dialog") and not (node.tag == "dialog" and "open" in said)


def siblings(node: LexborNode | None) -> Iterator[LexborNode]:
    """An element, and those that follow it in the same element."""
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


def _declared(style: str) -> dict[str, str]:
    """The values of the properties above in a `style` attribute, as a browser reads them."""
    found: dict[str, tuple[bool, str]] = {}
    if _PROPERTIES.search(style) is None:
        return {}
    for declaration in _DECLARATION.findall(_COMMENT.sub(" ", style)):
        name, _, value = declaration.lower().partition(":")
        name, value = name.strip(), value.strip()
        plain = _IMPORTANT.sub("", value)
        if plain in _VALUES.get(name, ()) and (plain != value) >= found.get(name, (False, ""))[0]:
            found[name] = (plain != value, plain)
    return {name: value for name, (_, value) in found.items()}
