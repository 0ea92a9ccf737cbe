"""Markdown and HTML: one document a file, with what stands in its head as metadata."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import regex
from selectolax.lexbor import LexborHTMLParser, LexborNode

from vector_pipeline.text.documents import Document
from vector_pipeline.text.encodings.decode import decode
from vector_pipeline.text.readers import front_matter
from vector_pipeline.text.readers.base import ReaderOptions
from vector_pipeline.text.readers.metadata import document

_DECLARED = regex.compile(
    rb"<meta[^>]{1,200}?charset\s*=\s*[\"']?\s*([\w.:-]{2,40})|\A\s*<\?xml[^>]{1,200}?encoding\s*=\s*[\"']([\w.:-]{2,40})",
    regex.IGNORECASE,
)
_DECLARED_BYTES = 4_096

# What pages call their encodings, where it is not what Python does. As browsers do, Latin-1 is read as cp1252.
_LABELS = {
    label: encoding
    for encoding, labels in {
        "cp949": "euc-kr ks_c_5601-1987 ks_c_5601-1989 ksc5601 korean windows-949 cp949",
        "shift_jis": "shift_jis shift-jis sjis x-sjis windows-31j ms_kanji ms932",
        "euc_jp": "euc-jp x-euc-jp",
        "gb18030": "gb18030 gb2312 gbk gb_2312-80 x-gbk chinese cp936",
        "big5": "big5 big5-hkscs cn-big5 x-x-big5",
        "cp1252": "iso-8859-1 iso8859-1 latin1 l1 us-ascii ascii windows-1252 cp1252",
        "cp1254": "iso-8859-9 iso8859-9 latin5 windows-1254",
        "cp874": "tis-620 windows-874 iso-8859-11",
        "koi8_r": "koi8-r koi",
        "koi8_u": "koi8-u",
        "cp866": "ibm866 cp866",
        "mac_roman": "macintosh mac x-mac-roman",
        **{f"cp{page}": f"windows-{page} cp{page} x-cp{page}" for page in (1250, 1251, 1253, 1255, 1256, 1257, 1258)},
        **{f"iso8859_{part}": f"iso-8859-{part} iso8859-{part}" for part in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)},
    }.items()
    for label in labels.split()
}


def read_markdown(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """The file as one document; YAML front matter becomes metadata and is no part of the text."""
    decoded = decode(stream.read())
    metadata, text, removed = front_matter.split(decoded.text)
    yield document(text, metadata, encoding=decoded.encoding, removed=decoded.removed + removed)


def read_html(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """The text that a reader of the page sees; its title becomes metadata."""
    data = stream.read()
    match = _DECLARED.search(data, 0, _DECLARED_BYTES)
    label = (match[1] or match[2]).decode("ascii", "ignore").lower() if match else ""
    decoded = decode(data, declared=_LABELS.get(label, ""))
    page = LexborHTMLParser(_flattened(decoded.text))
    metadata: dict[str, Any] = {}
    title = page.css_first("head title")
    if title is not None and (named := " ".join(title.text().split())):
        metadata["title"] = named
    yield document(_visible_text(page), metadata, encoding=decoded.encoding, removed=decoded.removed)


# Browsers nest 512 levels and put what is deeper beside; the parser walks up all of them for every element.
_MAX_DEPTH = 1_000
_BLOCK = 4_096
_NESTING_TAG = regex.compile(
    r"<(/?)(?!(?:p|li|dt|dd|tr|td|th|tbody|thead|tfoot|option|optgroup|html|head|body|br|img|hr|input|meta|link|col|area|"
    r"base|embed|source|track|wbr|param|script|style|title|textarea)\b)([a-z][^\s>/]*)[^>]*>?",
    regex.IGNORECASE,
)


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


_HIDDEN = frozenset("script style noscript template svg head iframe object audio video canvas".split())
_HEADINGS = frozenset("h1 h2 h3 h4 h5 h6".split())
_PARAGRAPHS = frozenset(
    "p table ul ol dl section article aside nav main header footer blockquote div form fieldset figure details dialog "
    "address body".split()
)
_LINES = frozenset("tr dt dd hr legend caption figcaption summary option optgroup title center".split())

_SPACE = regex.compile(r"[ \t\f\u00a0]{2,}|[\t\f\u00a0]")
_AROUND_BREAKS = regex.compile(r"[ ]*[\n\x00][\n\x00 ]*")
_BREAKS = regex.compile(r"\n{3,}")
# A line ends here, if it does not anyway: rows and items end where the next begins. Text of a page has no NUL.
_LINE = "\x00"


def _visible_text(page: LexborHTMLParser) -> str:
    """The page's text, headings and code marked as in Markdown: headings are cut at and kept as a path, code is not."""
    text = _Text()
    node = page.body
    depth = 0
    # By hand and not by recursion: pages nest as deep as they like.
    while node is not None:
        inner = None if node.tag in _HIDDEN else text.enter(node)
        if inner is not None:
            node, depth = inner, depth + 1
            continue
        text.leave(node)
        while node is not None and depth and node.next is None:
            node, depth = node.parent, depth - 1
            if node is not None:
                text.leave(node)
        node = node.next if node is not None and depth else None
    return text.finished()


class _Text:
    """Text put together from a page's nodes, in their order."""

    def __init__(self) -> None:
        # Pieces of prose, of which white space is folded, and of code, which stays as it is, by turns.
        self._finished: list[str] = []
        self._prose: list[str] = []
        self._code: list[str] = []
        self._in_code = 0
        self._in_heading = False

    def enter(self, node: LexborNode) -> LexborNode | None:
        """Begin a node; the first of those inside it, if any is to be seen."""
        tag = node.tag or ""
        if tag == "-text":
            content = node.text_content or ""
            if self._in_code:
                self._code.append(content)
            else:
                self._prose.append(content.replace("\n", " "))
        elif tag == "br":
            (self._code if self._in_code else self._prose).append(" " if self._in_heading else "\n")
        elif tag == "pre":
            self._in_code += 1
        elif not self._in_code:
            if tag in _HEADINGS:
                self._in_heading = True
                self._prose.append("\n\n" + "#" * int(tag[1]) + " ")
            elif tag == "li":
                self._prose.append(_LINE + "- ")
            elif tag in ("td", "th"):
                self._prose.append(" | ")
            else:
                self._prose.append(_break(tag))
        return node.child

    def leave(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if tag == "pre":
            self._in_code -= 1
            if not self._in_code:
                self._finish_code()
        elif not self._in_code:
            if tag in _HEADINGS:
                self._in_heading = False
                self._prose.append("\n\n")
            elif tag == "li":
                self._prose.append(_LINE)
            else:
                self._prose.append(_break(tag))

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
            fence = "```"
            while fence in code:
                fence += "`"
            self._finished.append(f"{fence}\n{code}\n{fence}")


# Headings and items without text.
_EMPTY_MARKS = regex.compile(r"(?m)^[ ]*(?:#{1,6}|-)[ ]*$")


def _break_of(run: regex.Match[str]) -> str:
    return "\n\n" if run[0].count("\n") > 1 else "\n"


def _break(tag: str) -> str:
    return "\n\n" if tag in _PARAGRAPHS else _LINE if tag in _LINES else ""
