"""The MCP server: searches and documents as tools for an assistant, over stdin and stdout.

It needs the extra `mcp`. All work is done by a Corpus; here are the tools' words, their limits, and errors of one line.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, InputRequiredResult, ToolAnnotations
from pydantic import BaseModel, Field, ValidationError

from vector_pipeline.cli.failures import line_of
from vector_pipeline.queries.corpus import Corpus
from vector_pipeline.redaction import hide
from vector_pipeline.settings import Settings
from vector_pipeline.sources.base import printable
from vector_pipeline.store.search.documents import DocumentText
from vector_pipeline.store.search.hybrid import Mode
from vector_pipeline.store.search.results import PlacedChunk, SearchResult

INSTRUCTIONS = (
    "Searches the documents that vector-pipeline has loaded, in any language. Start with `search`. A result's "
    "document_id, chunk_index and root lead to the text around it (`neighbours`) and to the whole document "
    "(`get_document`)."
)

# Limits of one answer: an assistant reads all of it.
MAX_RESULTS = 50
MAX_AROUND = 20
PAGE_CHARACTERS = 20_000
MAX_PAGE_CHARACTERS = 100_000
MAX_LISTED = 20

Root = Annotated[
    str | None,
    Field(description="Only the source with this folder or URL, as `root` of a result. Default: all sources."),
]
DocumentId = Annotated[str, Field(description="The document, as `document_id` of a result.")]
Around = Field(ge=0, le=MAX_AROUND)


class SearchAnswer(BaseModel):
    """What `search` returns."""

    results: list[SearchResult]


class DocumentAnswer(BaseModel):
    """What `get_document` returns."""

    page: DocumentText


class NeighboursAnswer(BaseModel):
    """What `neighbours` returns."""

    chunks: list[PlacedChunk]


class Tools:
    """The tools. The corpus is opened by the first call, and again by the next one after a failure."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opening = threading.Lock()
        self._corpus: Corpus | None = None

    def search(
        self,
        query: Annotated[str, Field(description='A question, a word, an identifier, or "a phrase" in quotes.')],
        k: Annotated[int, Field(ge=1, le=MAX_RESULTS, description="Number of results.")] = 5,
        mode: Annotated[
            Mode,
            Field(
                description="Rank by `words`, by `meaning`, or by both (`hybrid`). `auto` is both, but words for an "
                "identifier, one word or a phrase in quotes."
            ),
        ] = "auto",
        source: Annotated[
            str | None, Field(description="Only files whose path matches this glob, such as `guides/*`.")
        ] = None,
        root: Root = None,
        where: Annotated[
            dict[str, Any] | None, Field(description="Only chunks whose metadata contains this object.")
        ] = None,
        context: Annotated[
            int, Around, Field(description="Add the text of this many chunks before and after each result.")
        ] = 0,
    ) -> SearchAnswer:
        """Find the passages that answer a question best, by their words and by their meaning.

        Returns `results`, best first. Each has `page_content` (the passage), `source` (path of the file), `root`,
        `document_id`, `chunk_index`, `start_char` and `end_char` (its place), `metadata` (such as headings and pages),
        `score` (higher is better), and `context` (the passage with the text around it) if it was requested.
        """
        found = self._opened().search(query, k, mode=mode, source=source, root=root, where=where, context=context)
        return SearchAnswer(results=found)

    def get_document(
        self,
        document_id: DocumentId,
        root: Root = None,
        start: Annotated[
            int, Field(ge=0, description="Where to begin, in characters: 0, or `next_start` of the page before.")
        ] = 0,
        characters: Annotated[
            int, Field(ge=1, le=MAX_PAGE_CHARACTERS, description="Maximum length of the page.")
        ] = PAGE_CHARACTERS,
    ) -> DocumentAnswer:
        """Read the text of a document, page by page.

        Returns `page` with its `text`, and `next_start`: where the next page begins, or null if this is the last one.
        `characters` is the length of the whole document, `chunks` its number of chunks.
        """
        found = self._opened().document(document_id, root=root, start=start, characters=characters)
        return DocumentAnswer(page=found)

    def neighbours(
        self,
        document_id: DocumentId,
        chunk_index: Annotated[int, Field(ge=0, description="The chunk, as `chunk_index` of a result.")],
        root: Root = None,
        before: Annotated[int, Around, Field(description="Number of chunks before it.")] = 1,
        after: Annotated[int, Around, Field(description="Number of chunks after it.")] = 1,
    ) -> NeighboursAnswer:
        """Read the chunks around one chunk of a document.

        Returns `chunks` in the order of the text, the chunk itself among them, each with `page_content`, `chunk_index`,
        its place and its metadata.
        """
        found = self._opened().neighbours(document_id, chunk_index, root=root, before=before, after=after)
        return NeighboursAnswer(chunks=found)

    def status(self) -> dict[str, Any]:
        """Say what is loaded.

        Returns `roots` (the folders and URLs that were loaded), the numbers of `files` by status and of `rows` (chunks),
        the embedding `model`, when each root was last scanned, and the first files that are `rejected` or `pending`,
        with the reason.
        """
        found = self._opened().status()
        return {
            **{name: found[name] for name in ("roots", "gone", "files", "rows", "model")},
            "scanned": {scan["root"]: scan["ended_at"] for scan in found["scans"]},
            **{name: found[name][:MAX_LISTED] for name in ("rejected", "pending")},
        }

    def close(self) -> None:
        """Close the corpus."""
        with self._opening:
            if self._corpus is not None:
                self._corpus.close()

    def _opened(self) -> Corpus:
        with self._opening:
            if self._corpus is None:
                self._corpus = Corpus.open(self._settings)
            return self._corpus


class _Server(MCPServer[Any]):
    """A server whose errors are one line each, without secrets."""

    def __init__(self, *tools: Callable[..., object]) -> None:
        super().__init__(
            "vector-pipeline",
            instructions=INSTRUCTIONS,
            version=version("vector-pipeline"),
            log_level="WARNING",
        )
        self._parameters = {tool.__name__: set(inspect.signature(tool).parameters) for tool in tools}
        for tool in tools:
            reads = ToolAnnotations(read_only_hint=True, open_world_hint=False)
            self.add_tool(tool, description=inspect.getdoc(tool), annotations=reads, structured_output=True)

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        # A filter with a misspelt name would otherwise be ignored, and everything found.
        known = self._parameters.get(name, set(arguments))
        if unknown := sorted(set(arguments) - known):
            raise ToolError(f"{name} has no argument '{unknown[0]}'; it has {', '.join(sorted(known)) or 'none'}")
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            raise ToolError(printable(hide(_line(error)))) from None


def _line(error: ToolError) -> str:
    """One line for an error of a tool or of its arguments."""
    cause = error.__cause__
    if cause is None:
        return str(error)
    if isinstance(cause, ValidationError):
        problem = cause.errors()[0]
        message, place = problem["msg"], ".".join(map(str, problem["loc"]))
        found = "" if problem["type"] == "missing" else f" is {problem['input']!r:.80}"
        return f"{place}{found}: {message[0].lower()}{message[1:]}"
    return line_of(cause)


def serve(settings: Settings) -> None:
    """Serve MCP over stdin and stdout until the client closes them."""
    tools = Tools(settings)
    try:
        _Server(tools.search, tools.get_document, tools.neighbours, tools.status).run("stdio")
    finally:
        tools.close()
