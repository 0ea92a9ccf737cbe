"""A LlamaIndex retriever over a loaded corpus: by words and meaning, with filters.

pip install vector-pipeline llama-index-core
python examples/llama_index_retriever.py "how many days of leave are there?"
"""

import sys
from typing import Any

from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from vector_pipeline import Corpus


class CorpusRetriever(BaseRetriever):
    """Finds chunks in an open corpus. `options` are those of `Corpus.search`: k, mode, source, root, where, context."""

    def __init__(self, corpus: Corpus, **options: Any) -> None:
        super().__init__()
        self._corpus = corpus
        self._options = options

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [_node(result) for result in self._corpus.search(query_bundle.query_str, **self._options)]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [_node(result) for result in await self._corpus.asearch(query_bundle.query_str, **self._options)]


def _node(result: Any) -> NodeWithScore:
    """A result as LlamaIndex has it. The same chunk has the same id in every search."""
    node = TextNode(
        id_=f"{result.root}/{result.document_id}:{result.chunk_index}",
        text=result.context or result.page_content,
        start_char_idx=result.start_char,
        end_char_idx=result.end_char,
        metadata={**result.metadata, "root": result.root, "source": result.source, "document_id": result.document_id},
    )
    return NodeWithScore(node=node, score=result.score)


if __name__ == "__main__":
    with Corpus.open() as corpus:
        for found in CorpusRetriever(corpus, k=3).retrieve(sys.argv[1]):
            sys.stdout.write(f"{found.node.metadata['source']}: {found.node.get_content()}\n")
