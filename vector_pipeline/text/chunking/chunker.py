"""Cut documents into chunks at the best boundary that fits, with exact token counts and offsets.

A document is tokenized once. The ends of chunks and their token counts follow from that (`tokenized`). The same text and
settings always give the same chunks, because content hashes depend on it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from vector_pipeline.text.chunking import boundaries
from vector_pipeline.text.chunking.boundaries import Finder
from vector_pipeline.text.chunking.tables import TableHeaders, row_beginning
from vector_pipeline.text.chunking.tokenized import TokenizedText
from vector_pipeline.text.chunking.tokens import Tokenizer
from vector_pipeline.text.context import Context
from vector_pipeline.text.documents import Chunk, Document

CHUNKER_VERSION = 4
"""Part of the fingerprint of the rules that a file was loaded with. Raise it with every change of a cut."""

# The kinds of boundary in the order in which they are tried. A boundary counts only if the chunk before it fills at
# least this share of the room. Example with room for 400 tokens: a blank line is used if about 160 tokens or more stand
# before it; if there is none, a list item with about 200 or more. A shorter chunk that ends with its paragraph is better
# than a full one that ends inside a sentence.
_PREFERENCE: tuple[tuple[Finder, float], ...] = (
    (boundaries.last_blank_line, 0.4),
    (boundaries.last_item, 0.5),
    (boundaries.last_line, 0.5),
    (boundaries.last_sentence, 0.4),
    (boundaries.last_word, 0.5),
)
_HEADING_FILL = 0.25

# The number of documents per thread that are tokenized ahead of the consumer.
_AHEAD = 4


@dataclass(frozen=True, slots=True)
class ChunkingConfig:
    r"""The rules for cutting documents.

    `recursive` cuts at the best boundary that fits into `max_tokens`. The next chunk repeats at most `overlap` tokens
    of the last one, from the beginning of a sentence or word, but never across a heading. `paragraph` is
    `text.split("\n\n")`; only pieces of more than `max_tokens` are cut further.
    """

    strategy: Literal["recursive", "paragraph"] = "recursive"
    max_tokens: int = 400
    overlap: int = 0
    context: Context = "none"
    """What stands in front of a chunk when it is embedded; no part of the chunk."""


def chunk_document(document: Document, tokenizer: Tokenizer, config: ChunkingConfig) -> list[Chunk]:
    """The chunks of a document, in order. Each is `text[start:end]`, not empty and at most `max_tokens` long.

    Every character is in a chunk, except white space at the cuts.
    """
    return list(_Cutter(document, tokenizer, config).chunks())


def chunk_documents(
    documents: Iterable[Document], tokenizer: Tokenizer, config: ChunkingConfig, *, threads: int = 1
) -> Iterator[tuple[Document, list[Chunk]]]:
    """Yield each document with its chunks, in order.

    Other threads tokenize a few documents ahead. Tokenizing releases the interpreter's lock and is most of the work. The
    caller's thread cuts.
    """
    if threads <= 1:
        for document in documents:
            yield document, chunk_document(document, tokenizer, config)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="tokenizing") as pool:
        ahead: deque[tuple[Document, Future[_Cutter]]] = deque()
        for document in documents:
            ahead.append((document, pool.submit(_Cutter, document, tokenizer, config)))
            if len(ahead) > threads * _AHEAD:
                first, future = ahead.popleft()
                yield first, list(future.result().chunks())
        while ahead:
            first, future = ahead.popleft()
            yield first, list(future.result().chunks())


class _Cutter:
    """Cuts one text. Positions are in characters."""

    def __init__(self, document: Document, tokenizer: Tokenizer, config: ChunkingConfig) -> None:
        self.text = text = document.text
        self.tokenizer = tokenizer
        self.config = config
        self.tokenized = TokenizedText(text, tokenizer)
        # Where a document has an outline, its text is not Markdown.
        is_markdown = document.outline is None
        self.fences = boundaries.find_fences(text) if is_markdown else []
        self.headings = (
            boundaries.find_headings(text, self.fences)
            if document.outline is None
            else [boundaries.Heading(*heading) for heading in document.outline]
        )
        self.heading_starts = [heading.start for heading in self.headings]
        self.path: list[boundaries.Heading] = []
        self.titles: list[str] = []
        self.next_heading = 0
        self.tables = TableHeaders(text)

    def chunks(self) -> Iterator[Chunk]:
        """The chunks of the text, in order. Call it once."""
        if self.config.strategy == "paragraph":
            return self._paragraphs()
        return self._pieces(0, len(self.text))

    def _paragraphs(self) -> Iterator[Chunk]:
        start = 0
        for paragraph in self.text.split("\n\n"):
            end = start + len(paragraph)
            if paragraph and not paragraph.isspace():
                tokens = self._tokens_up_to_limit(start, end)
                if tokens is None:
                    yield from self._pieces(start, end)
                else:
                    yield Chunk(paragraph, start, end, tokens, self._metadata(start))
            start = end + 2

    def _tokens_up_to_limit(self, start: int, end: int) -> int | None:
        """The number of tokens of text[start:end]; None if it is more than `max_tokens`."""
        first = self.tokenized.tokens_before(start)
        if self.tokenized.tokens_before(end, first) - first > 2 * self.config.max_tokens:
            return None  # clearly too many: an exact count takes long for pages without a break
        tokens = self.tokenized.count(start, end)
        return tokens if tokens <= self.config.max_tokens else None

    def _pieces(self, start: int, end: int) -> Iterator[Chunk]:
        """The chunks of text[start:end]."""
        start = fresh = self._skip_white(start, end)
        while start < end:
            cut, piece, tokens = self._next(start, fresh, end)
            if cut <= fresh and start < fresh:
                start = fresh  # the overlap leaves no room for new text
                continue
            stop = start + len(piece)
            yield Chunk(piece, start, stop, tokens, self._metadata(start))
            fresh = self._skip_white(cut, end)
            start = self._overlapping(start, fresh, stop) if self.config.overlap and fresh < end else fresh

    def _next(self, start: int, fresh: int, end: int) -> tuple[int, str, int]:
        """The next chunk from `start`: the position of the cut, the text without white space at its end, its tokens.

        Text before `fresh` is already in the previous chunk.
        """
        room = self.config.max_tokens
        while room > 0:
            limit = self.tokenized.position_after(start, room, end)
            if limit <= fresh:
                break
            cut = end if limit >= end else self._best_cut(fresh, limit)
            piece = self.text[start:cut].rstrip()
            tokens = self.tokenized.count(start, start + len(piece))
            if tokens <= self.config.max_tokens:
                return cut, piece, tokens
            # The ends of a chunk may tokenize a little differently than inside the document.
            room -= max(1, tokens - self.config.max_tokens)
        return self._smallest(start, end)

    def _smallest(self, start: int, end: int) -> tuple[int, str, int]:
        """As many characters as fit, found by counting. Used if even one word has more than `max_tokens` tokens."""
        low, high = start + 1, min(end, start + self.config.max_tokens)
        while low < high:
            middle = (low + high + 1) // 2
            if self.tokenizer.count(self.text[start:middle]) <= self.config.max_tokens:
                low = middle
            else:
                high = middle - 1
        # One character may have up to four tokens, so a limit below four cannot always be kept.
        piece = self.text[start:low]
        return low, piece, self.tokenizer.count(piece)

    def _best_cut(self, start: int, limit: int) -> int:
        room = limit - start
        cut = self._heading_cut(start + int(room * _HEADING_FILL), limit)
        if cut is None:
            for find, fill in _PREFERENCE:
                cut = find(self.text, start + int(room * fill), limit)
                if cut is not None and cut > start:
                    break
        if cut is None or cut <= start:
            cut = boundaries.last_grapheme(self.text, start, limit)
        if cut is None or cut <= start:
            cut = max(limit, start + 1)
        row = row_beginning(self.text, cut)
        if row is not None and row > start:
            cut = row
        fence = boundaries.enclosing(self.fences, cut)
        # Cut before a code block instead of inside it, so that it stays whole if it fits into one chunk.
        return fence[0] if fence and fence[0] > start and self.text[start : fence[0]].strip() else cut

    def _heading_cut(self, low: int, limit: int) -> int | None:
        index = bisect_right(self.heading_starts, limit) - 1
        return self.heading_starts[index] if index >= 0 and self.heading_starts[index] > low else None

    def _overlapping(self, start: int, following: int, stop: int) -> int:
        """The beginning of the next chunk, so that it repeats the end of this one. It is greater than `start`."""
        low = max(self.tokenized.position_before(stop, self.config.overlap), start + 1)
        if low >= stop or self._is_heading(following):
            return following
        for pattern in (boundaries.SENTENCE, boundaries.WHITE):
            found = pattern.search(self.text, max(start, low - 1), stop)
            if found and low <= found.end() < stop:
                return found.end()
        return following

    def _is_heading(self, position: int) -> bool:
        index = bisect_right(self.heading_starts, position) - 1
        return index >= 0 and self.heading_starts[index] == position

    def _metadata(self, start: int) -> dict[str, object]:
        """The headings above a chunk that begins at `start`, outermost first, and the header of the table it is in."""
        passed = bisect_right(self.heading_starts, start, self.next_heading)
        if passed > self.next_heading:
            for heading in self.headings[self.next_heading : passed]:
                while self.path and self.path[-1].level >= heading.level:
                    self.path.pop()
                self.path.append(heading)
            self.next_heading = passed
            self.titles = [heading.title for heading in self.path]
        notes: dict[str, object] = {"headings": self.titles} if self.path else {}
        if self.text[start] == "|" and (header := self.tables.above(start)):
            notes["table_header"] = header
        return notes

    def _skip_white(self, position: int, end: int) -> int:
        while position < end and self.text[position].isspace():
            position += 1
        return position
