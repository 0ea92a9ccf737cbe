"""Roles of texts: how a model learns that a text is a question, or a document that may answer one.

Some models were trained with a prefix for each role, and find much less without it. Some APIs take a parameter instead
and write the prefix themselves. The table lists models by their published names, each family with its source. A name may
have an owner before it (`intfloat/`) and a tag after it (`:f16`), as servers write them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import regex

from vector_pipeline.embedding.providers.base import Purpose


@dataclass(frozen=True, slots=True)
class Role:
    """What is sent with a text of one role: a prefix of the text, a parameter of the request, or nothing."""

    prefix: str = ""
    parameter: str = ""
    """A field of the request's body and its value, as `name=value`."""

    def __bool__(self) -> bool:
        """Whether anything is sent."""
        return bool(self.prefix or self.parameter)

    def __str__(self) -> str:
        """The role for people, in quotes if it is a prefix."""
        return self.parameter or (repr(self.prefix) if self.prefix else "none")

    @property
    def fields(self) -> Mapping[str, str]:
        """The parameter as a field of a body."""
        name, separator, value = self.parameter.partition("=")
        return {name: value} if separator else {}


@dataclass(frozen=True, slots=True)
class Roles:
    """The roles of documents and of questions. Vectors of other documents' roles belong to another space."""

    document: Role = Role()
    query: Role = Role()

    def of(self, purpose: Purpose) -> Role:
        """The role of texts with a purpose."""
        return self.query if purpose is Purpose.QUERY else self.document


NO_ROLES = Roles()


def name_before_vectors(model: str, document: Role) -> str:
    """The name of a space in plans, claims and kept answers before its first vector shows its dimensions."""
    return f"{model} {digest(document)}" if document else model


def digest(role: Role) -> str:
    """Six hexadecimal digits that tell roles apart in names."""
    return hashlib.sha256(repr((role.prefix, role.parameter)).encode()).hexdigest()[:6]


def known_roles(model: str) -> Roles:
    """The roles of a model by its name; none for a model that is not in the table."""
    name = model.strip().lower()
    return next((roles for pattern, roles in _KNOWN if pattern.fullmatch(name)), NO_ROLES)


def _prefixes(query: str, document: str = "") -> Roles:
    return Roles(Role(document), Role(query))


def _parameters(query: str, document: str) -> Roles:
    return Roles(Role(parameter=document), Role(parameter=query))


_SEARCH_SENTENCE = "Represent this sentence for searching relevant passages: "
_WEB_SEARCH = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"

_TABLE: tuple[tuple[str, Roles], ...] = (
    # https://huggingface.co/intfloat/e5-base-v2, https://huggingface.co/intfloat/multilingual-e5-small and
    # https://huggingface.co/nlpai-lab/KoE5.
    (r"(?:intfloat-)?(?:multilingual-)?e5-(?:small|base|large)(?:-v2)?|koe5", _prefixes("query: ", "passage: ")),
    # https://huggingface.co/intfloat/multilingual-e5-large-instruct and
    # https://huggingface.co/intfloat/e5-mistral-7b-instruct.
    (r"(?:intfloat-)?(?:multilingual-e5-large|e5-mistral-7b)-instruct", _prefixes(f"{_WEB_SEARCH} ")),
    # https://huggingface.co/BAAI/bge-base-en-v1.5. BGE-M3 has no instruction.
    (r"bge-(?:small|base|large)-en(?:-v1\.5)?", _prefixes(_SEARCH_SENTENCE)),
    # https://huggingface.co/BAAI/bge-base-zh-v1.5
    (r"bge-(?:small|base|large)-zh(?:-v1\.5)?", _prefixes("为这个句子生成表示以用于检索相关文章：")),
    # https://huggingface.co/mixedbread-ai/mxbai-embed-large-v1
    (r"mxbai-embed-large(?:-v1)?", _prefixes(_SEARCH_SENTENCE)),
    # https://huggingface.co/nomic-ai/nomic-embed-text-v1.5 and https://huggingface.co/nomic-ai/nomic-embed-text-v2-moe
    (r"nomic-embed-text(?:-v1|-v1\.5|-v2-moe)?", _prefixes("search_query: ", "search_document: ")),
    # https://ai.google.dev/gemma/docs/embeddinggemma/model_card and
    # https://ollama.com/library/embeddinggemma-2 (its prompts for retrieval).
    (r"embeddinggemma(?:-2)?(?:-\d+m)?", _prefixes("task: search result | query: ", "title: none | text: ")),
    # https://huggingface.co/Qwen/Qwen3-Embedding-0.6B. No space follows `Query:`.
    (r"qwen3-embedding(?:-(?:0\.6|4|8)b)?", _prefixes(_WEB_SEARCH)),
    # https://huggingface.co/Snowflake/snowflake-arctic-embed-m-v1.5
    (r"snowflake-arctic-embed(?:-(?:xs|s|m|m-long|l|m-v1\.5))?", _prefixes(_SEARCH_SENTENCE)),
    # https://huggingface.co/Snowflake/snowflake-arctic-embed-l-v2.0
    (r"snowflake-arctic-embed(?:2|-[ml]-v2\.0)", _prefixes("query: ")),
    # https://docs.cohere.com/reference/embed
    (
        r"embed-(?:(?:english|multilingual)(?:-light)?-v3(?:\.0)?|v4(?:\.0)?)",
        _parameters("input_type=search_query", "input_type=search_document"),
    ),
    # https://docs.voyageai.com/docs/embeddings
    (r"voyage-[\w.-]+", _parameters("input_type=query", "input_type=document")),
    # https://huggingface.co/jinaai/jina-embeddings-v3 and https://jina.ai/embeddings
    (r"jina-embeddings-v[34]", _parameters("task=retrieval.query", "task=retrieval.passage")),
)

# The owner, the prefix that LM Studio gives to embedding models, and at the end the format and the tag.
_KNOWN = tuple(
    (regex.compile(rf"(?:.*/)?(?:text-embedding-)?(?:{name})(?:-gguf)?(?:[:@].+)?"), roles) for name, roles in _TABLE
)
