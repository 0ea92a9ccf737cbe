"""From a folder of documents to rows with vectors, in other people's ways; run by `documents_folder` with their Python.

    python run.py llama_index|langchain '{"folder": …, "host": …, "database": …}'

Each library reads with the readers that it offers for files and passes over what it cannot read. It splits into 400
tokens, embeds with the model that is ours by default (wordllama), and stores in Postgres with an HNSW index.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")

CHUNK_TOKENS = 400
DIMENSIONS = 256
BATCH = 500


class Model:
    """wordllama with the weights of its wheel. The library pads all texts of a call to the longest, so it gets few."""

    def __init__(self) -> None:
        import wordllama

        folder = Path(wordllama.__file__).parent
        self._model = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text."""
        return [vector.tolist() for vector in self._model.embed(texts, norm=True, batch_size=64)]

    def embed_query(self, text: str) -> list[float]:
        """The vector of a question."""
        return self.embed_documents([text])[0]

    def count(self, text: str) -> int:
        """The tokens of a text."""
        return len(self._model.tokenizer.encode(text, add_special_tokens=False).ids)


def llama_index(folder: Path, host: str, database: str) -> None:
    """SimpleDirectoryReader with the readers of `llama-index-readers-file`, IngestionPipeline, and PGVectorStore."""
    from llama_index.core import SimpleDirectoryReader
    from llama_index.core.embeddings import BaseEmbedding
    from llama_index.core.ingestion import IngestionPipeline
    from llama_index.core.node_parser import SentenceSplitter
    from llama_index.vector_stores.postgres import PGVectorStore

    model = Model()

    class WordLlamaEmbedding(BaseEmbedding):
        def _get_text_embedding(self, text: str) -> list[float]:
            return model.embed_query(text)

        def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
            return model.embed_documents(texts)

        def _get_query_embedding(self, query: str) -> list[float]:
            return model.embed_query(query)

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return model.embed_query(query)

    store = PGVectorStore(
        connection_string=f"postgresql+psycopg2://postgres@/{database}?host={host}",
        async_connection_string=f"postgresql+asyncpg://postgres@/{database}?host={host}",
        table_name="chunks",
        schema_name="public",
        embed_dim=DIMENSIONS,
        hnsw_kwargs={
            "hnsw_m": 16,
            "hnsw_ef_construction": 64,
            "hnsw_ef_search": 40,
            "hnsw_dist_method": "vector_cosine_ops",
        },
    )
    splitter = SentenceSplitter(
        chunk_size=CHUNK_TOKENS, chunk_overlap=0, tokenizer=lambda text: range(model.count(text))
    )
    pipeline = IngestionPipeline(
        transformations=[splitter, WordLlamaEmbedding(embed_batch_size=BATCH)], vector_store=store, disable_cache=True
    )
    documents = SimpleDirectoryReader(str(folder), recursive=True, raise_on_error=False).load_data()
    for document in documents:
        # Without this the whole run ends: kinds without a reader are read as text, and Postgres refuses NUL.
        document.set_content(document.text.replace("\0", ""))
    pipeline.run(documents=documents)


def _loader(path: Path) -> Any:
    """The loader of langchain-community for a file that needs no engine of its own; None if there is none."""
    from langchain_community import document_loaders as loaders

    by_suffix = {
        ".pdf": loaders.PyPDFLoader,
        ".docx": loaders.Docx2txtLoader,
        ".ipynb": loaders.NotebookLoader,
        ".html": loaders.BSHTMLLoader,
        ".md": loaders.TextLoader,
        ".txt": loaders.TextLoader,
    }
    make = by_suffix.get(path.suffix)
    return make(str(path)) if make is not None else None


def langchain(folder: Path, host: str, database: str) -> None:
    """The loaders of langchain-community, the recursive splitter, and PGVectorStore."""
    from langchain_core.embeddings import Embeddings
    from langchain_postgres import PGEngine, PGVectorStore
    from langchain_postgres.v2.indexes import HNSWIndex
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    model = Model()

    class WordLlamaEmbeddings(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return model.embed_documents(texts)

        def embed_query(self, text: str) -> list[float]:
            return model.embed_query(text)

    documents: list[Any] = []
    for path in sorted(folder.iterdir()):
        loader = _loader(path)
        try:
            documents += loader.load() if loader is not None else []
        except Exception as error:  # noqa: BLE001 - whatever a loader raises is a file lost
            print(f"{path.name}: {type(error).__name__}", file=sys.stderr)
    splitter = RecursiveCharacterTextSplitter(chunk_size=CHUNK_TOKENS, chunk_overlap=0, length_function=model.count)
    engine = PGEngine.from_connection_string(f"postgresql+psycopg://postgres@/{database}?host={host}")
    engine.init_vectorstore_table("chunks", DIMENSIONS)
    store = PGVectorStore.create_sync(engine, WordLlamaEmbeddings(), "chunks")
    chunks = splitter.split_documents(documents)
    for begin in range(0, len(chunks), BATCH):
        store.add_documents(chunks[begin : begin + BATCH])
    store.apply_vector_index(HNSWIndex(name="chunks_hnsw"))


def main() -> None:
    """Run a way."""
    way, task = sys.argv[1], json.loads(sys.argv[2])
    {"llama_index": llama_index, "langchain": langchain}[way](Path(task["folder"]), task["host"], task["database"])


if __name__ == "__main__":
    main()
