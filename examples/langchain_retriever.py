"""A LangChain retriever over a loaded corpus: by words and meaning, with filters.

pip install vector-pipeline langchain-core
python examples/langchain_retriever.py "how many days of leave are there?"
"""

import dataclasses
import sys
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import Field

from vector_pipeline import Corpus


class CorpusRetriever(BaseRetriever):
    """Finds chunks in an open corpus. `options` are those of `Corpus.search`: k, mode, source, root, where, context."""

    corpus: Corpus
    options: dict[str, Any] = Field(default_factory=dict)

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return [_document(result) for result in self.corpus.search(query, **self.options)]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        return [_document(result) for result in await self.corpus.asearch(query, **self.options)]


def _document(result: Any) -> Document:
    """A result as LangChain has it. The place of the text joins the metadata that its file gave."""
    fields = dataclasses.asdict(result)
    content, metadata = fields.pop("page_content"), fields.pop("metadata")
    return Document(page_content=fields.pop("context") or content, metadata={**metadata, **fields})


if __name__ == "__main__":
    with Corpus.open() as corpus:
        for document in CorpusRetriever(corpus=corpus, options={"k": 3}).invoke(sys.argv[1]):
            sys.stdout.write(f"{document.metadata['source']}: {document.page_content}\n")
