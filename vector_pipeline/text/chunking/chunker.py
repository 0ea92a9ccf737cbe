"""Documents to chunks: at the best boundary that fits, with exact token counts and offsets.

A document is tokenized once: where chunks may end, and how many tokens each has, follows from that (`tokenized`).
Same text and settings, same chunks, always: content hashes depend on it.
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
from vector_pipeline.text.documents import Chunk, Document

CHUNKER_VERSION = 4
"""Part of what says whether a file was loaded with the present rules: raise it with every change of a cut."""

# A boundary is taken where the chunk before it is at least so full, the better ones sooner: rather a shorter chunk
# that ends with its section than a full one that ends in the middle of a sentence.
_PREFERENCE: tuple[tuple[Finder, float], ...] = (
    (boundaries.last_blank_line, 0.4),
    (boundaries.last_item, 0.5),
    (boundaries.last_line, 0.5),
    (boundaries.last_sentence, 0.4),
    (boundaries.last_word, 0.5),
)
_HEADING_FILL = 0.25

# Documents that run ahead of the one whose chunks are taken, per thread.
_AHEAD = 4


@dataclass(frozen=True, slots=True)
class ChunkingConfig:
    r"""How documents are cut.

    `recursive` cuts at the best boundary that fits into `max_tokens`; `overlap` tokens of a chunk, at most, are
    repeated at the beginning of the next, from a sentence's or a word's beginning on, but not across a heading.
    `paragraph` is `text.split("\n\n")` with the pieces left as they are; only longer ones are cut further.
    """

    strategy: Literal["recursive", "paragraph"] = "recursive"
    max_tokens: int = 400
    overlap: int = 0


def chunk_document(document: Document, tokenizer: Tokenizer, config: ChunkingConfig) -> list[Chunk]:
    """The chunks of a document, in order: never empty, never over `max_tokens`, `text[start:end]` each.

    All text is in some chunk but white space at the cuts.
    """
    return list(_Cutter(document, tokenizer, config).chunks())


def chunk_documents(
    documents: Iterable[Document], tokenizer: Tokenizer, config: ChunkingConfig, *, threads: int = 1
) -> Iterator[tuple[Document, list[Chunk]]]:
    """Each document with its chunks, in order, a few documents ahead on other threads.

    They tokenize, which leaves the interpreter's lock and is most of the work; the caller's thread cuts.
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
    """Cuts one text; positions are in characters."""

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
        """The chunks of the text, in order; to be called once."""
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
        """The tokens of text[start:end]; None where they are more than a chunk may have."""
        first = self.tokenized.tokens_before(start)
        if self.tokenized.tokens_before(end, first) - first > 2 * self.config.max_tokens:
            return None  # so many that they need not be counted exactly, which takes long for pages without a break
        tokens = self.tokenized.count(start, end)
        return tokens if tokens <= self.config.max_tokens else None

    def _pieces(self, start: int, end: int) -> Iterator[Chunk]:
        """The chunks of text[start:end]."""
        start = fresh = self._skip_white(start, end)
        while start < end:
            cut, piece, tokens = self._next(start, fresh, end)
            if cut <= fresh and start < fresh:
                start = fresh  # what is repeated leaves no room for more
                continue
            stop = start + len(piece)
            yield Chunk(piece, start, stop, tokens, self._metadata(start))
            fresh = self._skip_white(cut, end)
            start = self._overlapping(start, fresh, stop) if self.config.overlap and fresh < end else fresh

    def _next(self, start: int, fresh: int, end: int) -> tuple[int, str, int]:
        """Where to cut a chunk that begins at `start`, its text without white space at its end, its tokens.

        What lies before `fresh` was in the chunk before.
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
            # At its ends a chunk may tokenize a little differently than in the document.
            room -= max(1, tokens - self.config.max_tokens)
        return self._smallest(start, end)

    def _smallest(self, start: int, end: int) -> tuple[int, str, int]:
        """As many characters as fit, by counting them: where even one word has more tokens than a chunk may."""
        low, high = start + 1, min(end, start + self.config.max_tokens)
        while low < high:
            middle = (low + high + 1) // 2
            if self.tokenizer.count(self.text[start:middle]) <= self.config.max_tokens:
                low = middle
            else:
                high = middle - 1
        # One character may have up to four tokens; a limit below that cannot be held.
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
        # A code block is kept whole where it fits into a chunk of its own.
        return fence[0] if fence and fence[0] > start and self.text[start : fence[0]].strip() else cut

    def _heading_cut(self, low: int, limit: int) -> int | None:
        index = bisect_right(self.heading_starts, limit) - 1
        return self.heading_starts[index] if index >= 0 and self.heading_starts[index] > low else None

    def _overlapping(self, start: int, following: int, stop: int) -> int:
        """Where the next chunk begins, so that it repeats the end of this one; behind this one's beginning."""
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
        if header := self.tables.above(start):
            notes["table_header"] = header
        return notes

    def _skip_white(self, position: int, end: int) -> int:
        while position < end and self.text[position].isspace():
            position += 1
        return position
