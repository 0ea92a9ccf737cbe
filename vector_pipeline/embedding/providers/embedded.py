"""The embedded model: wordllama behind an endpoint like OpenAI's, inside this process.

It has the API's limits and returns the API's errors. So a run without a key takes the same path as a run with one.
Vectors have unit length and 256 dimensions, float32.
"""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from vector_pipeline.embedding.providers.base import KnownModel, Vectors
from vector_pipeline.embedding.providers.openai import OpenAI
from vector_pipeline.errors import ConfigurationError

if TYPE_CHECKING:
    # Imported only when a model is loaded, because the tables of this module are needed earlier.
    import httpx2

EMBEDDED_MODEL = "wordllama-256"
EMBEDDED_DIMENSIONS = 256

MODELS: Mapping[str, KnownModel] = MappingProxyType({EMBEDDED_MODEL: KnownModel(EMBEDDED_DIMENSIONS, False, 0.0)})

# The limits of POST /v1/embeddings (https://platform.openai.com/docs/api-reference/embeddings/create).
MAX_INPUTS = 2_048
MAX_TOKENS_PER_INPUT = 8_192
MAX_TOKENS_PER_REQUEST = 300_000

# Texts are embedded in groups of this many characters: their token vectors have about 4 MB and fit a core's cache.
GROUP_CHARACTERS = 16 * 1024


class Embedded(OpenAI):
    """The provider of the embedded model. A process loads the model at its first use."""

    name = "embedded"
    base_url = "http://embedded/v1"

    @property
    def models(self) -> Mapping[str, KnownModel]:
        """See Provider."""
        return MODELS

    def transport(self) -> httpx2.AsyncBaseTransport | None:
        """See Provider. Raises ConfigurationError if the model is not installed."""
        return embedded_model().transport()


@cache
def embedded_model() -> EmbeddedModel:
    """The model, which never changes once it is loaded. Raises ConfigurationError like EmbeddedModel."""
    return EmbeddedModel()


class EmbeddedModel:
    """The model and its endpoint. Loading takes about a fifth of a second and 40 MB."""

    def __init__(self) -> None:
        from vector_pipeline.text.chunking.tokens import tokenizer_for

        spec = importlib.util.find_spec("wordllama")
        if spec is None or spec.origin is None:
            raise ConfigurationError(
                "neither OPENAI_API_KEY nor OPENAI_BASE_URL is set and the embedded model is not installed: set one "
                "of them, or install it with `pip install wordllama`"
            )
        root = logging.getLogger()
        handlers, level = list(root.handlers), root.level
        from wordllama import WordLlama

        # Importing it sets up logging for the whole process, which is not a library's business.
        root.handlers[:] = handlers
        root.setLevel(level)
        # `cache_dir` points to the weights in the wheel, so nothing is downloaded.
        self._model = WordLlama.load(cache_dir=Path(spec.origin).parent, disable_download=True)
        self._model.tokenizer.no_padding()
        self._tokenizer = tokenizer_for(EMBEDDED_MODEL)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of unit length, shape (len(texts), 256), float32. Each has the direction of the mean of its tokens.

        This function sums over the concatenated tokens of all texts. The library's own function pads all texts to the
        longest one, which takes gigabytes for one long text among short ones.
        """
        vectors = np.zeros((len(texts), EMBEDDED_DIMENSIONS), dtype=np.float32)
        for begin, end in _groups([len(text) for text in texts]):
            found = [e.ids for e in self._model.tokenizer.encode_batch(texts[begin:end], add_special_tokens=False)]
            counts = np.array([len(ids) for ids in found])
            full = np.flatnonzero(counts)
            if full.size:
                tokens = np.concatenate([np.asarray(ids, dtype=np.int64) for ids in found])
                table = self._model.embedding[np.minimum(tokens, len(self._model.embedding) - 1)]
                starts = (np.cumsum(counts) - counts)[full]
                vectors[begin + full] = np.add.reduceat(table, starts, axis=0)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        # A text without any known token has no direction. It gets one, because no search finds a zero vector.
        vectors[lengths[:, 0] == 0, 0] = 1.0
        lengths[lengths == 0] = 1.0
        return np.asarray(vectors / lengths, dtype=np.float32)

    def transport(self) -> httpx2.AsyncBaseTransport:
        """A transport for an HTTP client that ends in this process."""
        import httpx2

        answer = self.answer

        class Endpoint(httpx2.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
                status, content = await asyncio.to_thread(answer, orjson.loads(await request.aread()))
                return httpx2.Response(status, stream=httpx2.ByteStream(content))

        return Endpoint()

    def answer(self, body: dict[str, Any]) -> tuple[int, bytes]:
        """The status and the body of the answer to a request, like those of the API."""
        texts: list[str] = [body["input"]] if isinstance(body["input"], str) else body["input"]
        counts = [self._tokenizer.count(text) for text in texts]
        if problem := _refusal(texts, counts):
            error = {"message": problem, "type": "invalid_request_error", "param": None, "code": None}
            return 400, orjson.dumps({"error": error})
        vectors = self.embed(texts)
        packed = body.get("encoding_format") == "base64"
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(vector.tobytes()).decode() if packed else vector.tolist(),
            }
            for index, vector in enumerate(vectors)
        ]
        total = sum(counts)
        usage = {"prompt_tokens": total, "total_tokens": total}
        return 200, orjson.dumps({"object": "list", "data": data, "model": EMBEDDED_MODEL, "usage": usage})


def _groups(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield ranges of texts whose total length is bounded; each has at least one text."""
    begin = total = 0
    for index, length in enumerate(lengths):
        if index > begin and total + length > GROUP_CHARACTERS:
            yield begin, index
            begin, total = index, 0
        total += length
    if begin < len(lengths):
        yield begin, len(lengths)


def _refusal(texts: list[str], counts: list[int]) -> str | None:
    if not texts or "" in texts:
        return "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference."
    if len(texts) > MAX_INPUTS:
        return (
            f"Invalid 'input': array too long. Expected an array with maximum length {MAX_INPUTS}, "
            f"but got an array with length {len(texts)} instead."
        )
    for index, count in enumerate(counts):
        if count > MAX_TOKENS_PER_INPUT:
            return f"Invalid 'input[{index}]': maximum input length is {MAX_TOKENS_PER_INPUT} tokens."
    if sum(counts) > MAX_TOKENS_PER_REQUEST:
        return f"Invalid 'input': maximum request size is {MAX_TOKENS_PER_REQUEST} tokens per request."
    return None
