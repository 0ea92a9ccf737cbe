"""Documents to chunks: at the best boundary that fits, with exact token counts and offsets.

A document is tokenized once. Where chunks may end follows from the running count of its tokens; the exact count of
a chunk is that of its first and last few words, counted by themselves, and the running count between (see
`tokens.first_anchor` for why those add up). Same text and settings, same chunks, always: content hashes depend on it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vector_pipeline.text import boundaries
from vector_pipeline.text.boundaries import Finder
from vector_pipeline.text.documents import Chunk, Document
from vector_pipeline.text.tokens import Tokenizer, first_anchor, last_anchor

CHUNKER_VERSION = 1
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
    repeated at the beginning of the next, from a sentence's or a word's beginning on.
    `paragraph` is `text.split("\n\n")` with the pieces left as they are; only longer ones are cut further.
    """

    strategy: Literal["recursive", "paragraph"] = "recursive"
    max_tokens: int = 400
    overlap: int = 0


def chunk_document(document: Document, tokenizer: Tokenizer, config: ChunkingConfig) -> list[Chunk]:
    """The chunks of a document, in order: never empty, never over `max_tokens`, `text[start:end]` each.

    All text is in some chunk but white space at the cuts.
    """
    if config.strategy == "paragraph":
        return list(_paragraphs(document.text, tokenizer, config))
    return list(_Cutter(document.text, tokenizer, config).chunks(0, len(document.text)))


def chunk_documents(
    documents: Iterable[Document], tokenizer: Tokenizer, config: ChunkingConfig, *, threads: int = 1
) -> Iterator[tuple[Document, list[Chunk]]]:
    """Each document with its chunks, in order, a few documents ahead on other threads.

    Tokenizing leaves the interpreter's lock, cutting does not.
    """
    if threads <= 1:
        for document in documents:
            yield document, chunk_document(document, tokenizer, config)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="chunking") as pool:
        ahead: deque[tuple[Document, Future[list[Chunk]]]] = deque()
        for document in documents:
            ahead.append((document, pool.submit(chunk_document, document, tokenizer, config)))
            if len(ahead) > threads * _AHEAD:
                first, future = ahead.popleft()
                yield first, future.result()
        for first, future in ahead:
            yield first, future.result()


def _paragraphs(text: str, tokenizer: Tokenizer, config: ChunkingConfig) -> Iterator[Chunk]:
    start = 0
    for piece in text.split("\n\n"):
        end = start + len(piece)
        if not piece.isspace() and piece:
            tokens = tokenizer.count(piece)
            if tokens <= config.max_tokens:
                yield Chunk(piece, start, end, tokens)
            else:
                whole = ChunkingConfig(max_tokens=config.max_tokens)
                for chunk in _Cutter(piece, tokenizer, whole).chunks(0, len(piece)):
                    yield Chunk(chunk.text, chunk.start + start, chunk.end + start, chunk.tokens, chunk.metadata)
        start = end + 2


class _Cutter:
    """Cuts one text; positions are in characters."""

    def __init__(self, text: str, tokenizer: Tokenizer, config: ChunkingConfig) -> None:
        self.text = text
        self.tokenizer = tokenizer
        self.config = config
        self.starts = tokenizer.starts(text)
        self.fences = boundaries.find_fences(text)
        self.headings = boundaries.find_headings(text, self.fences)
        self.heading_starts = [heading.start for heading in self.headings]
        self.path: list[boundaries.Heading] = []
        self.next_heading = 0

    def chunks(self, start: int, end: int) -> Iterator[Chunk]:
        """The chunks of text[start:end]."""
        start = self._skip_white(start, end)
        while start < end:
            cut, stop, tokens = self._next(start, end)
            if stop > start:
                yield Chunk(self.text[start:stop], start, stop, tokens, self._metadata(start))
            following = self._skip_white(cut, end)
            if self.config.overlap and following < end:
                following = self._overlapping(start, following, stop)
            start = following

    def _next(self, start: int, end: int) -> tuple[int, int, int]:
        """Where to cut a chunk that begins at `start`, where its text ends before white space, its tokens."""
        room = self.config.max_tokens
        while True:
            limit = self._position_after(start, room, end)
            cut = end if limit >= end else self._best_cut(start, limit)
            stop = self._strip_white(start, cut)
            tokens = self._count(start, stop)
            if tokens <= self.config.max_tokens:
                return cut, stop, tokens
            # At its ends a chunk may tokenize a little differently than in the document.
            room -= max(1, tokens - self.config.max_tokens)
            if room < 1:
                return self._smallest(start, end)

    def _smallest(self, start: int, end: int) -> tuple[int, int, int]:
        """As many characters as fit, by counting them: where even one word has more tokens than a chunk may."""
        low, high = start + 1, min(end, start + self.config.max_tokens)
        while low < high:
            middle = (low + high + 1) // 2
            if self.tokenizer.count(self.text[start:middle]) <= self.config.max_tokens:
                low = middle
            else:
                high = middle - 1
        # One character may have up to four tokens; a limit below that cannot be held.
        return low, low, self.tokenizer.count(self.text[start:low])

    def _position_after(self, start: int, tokens: int, end: int) -> int:
        """The furthest position such that about so many tokens lie between it and `start`."""
        first = int(np.searchsorted(self.starts, start))
        if first + tokens >= len(self.starts):
            return end
        return min(end, int(self.starts[first + tokens]))

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
        fence = boundaries.enclosing(self.fences, cut)
        # A code block is kept whole where it fits into a chunk of its own.
        return fence[0] if fence and fence[0] > start and self.text[start : fence[0]].strip() else cut

    def _heading_cut(self, low: int, limit: int) -> int | None:
        index = bisect_right(self.heading_starts, limit) - 1
        return self.heading_starts[index] if index >= 0 and self.heading_starts[index] > low else None

    def _count(self, start: int, stop: int) -> int:
        """The exact number of tokens of text[start:stop]."""
        text = self.text
        first = first_anchor(text, start, stop)
        last = last_anchor(text, first, stop) if first is not None else None
        if first is None or last is None or last <= first:
            return self.tokenizer.count(text[start:stop])
        between = np.searchsorted(self.starts, last) - np.searchsorted(self.starts, first)
        return self.tokenizer.count(text[start:first]) + int(between) + self.tokenizer.count(text[last:stop])

    def _overlapping(self, start: int, following: int, stop: int) -> int:
        """Where the next chunk begins, so that it repeats the end of this one; behind this one's beginning."""
        index = int(np.searchsorted(self.starts, stop)) - self.config.overlap
        low = max(int(self.starts[max(0, index)]), start + 1)
        if low >= stop:
            return following
        for pattern in (boundaries.SENTENCE, boundaries.WHITE):
            found = pattern.search(self.text, max(start, low - 1), stop)
            if found and low <= found.end() < stop:
                return found.end()
        return following

    def _metadata(self, start: int) -> dict[str, object]:
        """The headings above a chunk that begins at `start`, outermost first."""
        while self.next_heading < len(self.headings) and self.heading_starts[self.next_heading] <= start:
            heading = self.headings[self.next_heading]
            self.path = [above for above in self.path if above.level < heading.level] + [heading]
            self.next_heading += 1
        return {"headings": [heading.title for heading in self.path]} if self.path else {}

    def _skip_white(self, position: int, end: int) -> int:
        while position < end and self.text[position].isspace():
            position += 1
        return position

    def _strip_white(self, start: int, end: int) -> int:
        while end > start and self.text[end - 1].isspace():
            end -= 1
        return end
