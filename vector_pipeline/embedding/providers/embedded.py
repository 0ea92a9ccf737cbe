"""The embedded model: wordllama behind an endpoint like OpenAI's, reached through the official SDK in this process.

It keeps the API's own limits and answers with its errors, so that what runs without a key walks the same path as
what runs with one. Vectors are of unit length, 256 dimensions, float32.
"""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vector_pipeline.embedding.models import EMBEDDED_DIMENSIONS, EMBEDDED_MODEL
from vector_pipeline.embedding.responses import Vectors
from vector_pipeline.errors import ConfigurationError
from vector_pipeline.text.chunking.tokens import Tokenizer, tokenizer_for

# The limits of POST /v1/embeddings (https://platform.openai.com/docs/api-reference/embeddings/create).
MAX_INPUTS = 2_048
MAX_TOKENS_PER_INPUT = 8_192
MAX_TOKENS_PER_REQUEST = 300_000

# Texts are embedded in groups of so many characters: some 4 MB of token vectors at a time, which fit a core's cache.
GROUP_CHARACTERS = 16 * 1024


__all__ = ["EMBEDDED_DIMENSIONS", "EMBEDDED_MODEL", "EmbeddedModel", "embedded_transport"]


class EmbeddedModel:
    """The model and its endpoint. Loading takes about a fifth of a second and 40 MB."""

    def __init__(self) -> None:
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
        # The weights are in the wheel, and `cache_dir` says so: nothing is looked for on the network.
        self._model = WordLlama.load(cache_dir=Path(spec.origin).parent, disable_download=True)
        self._model.tokenizer.no_padding()
        self._tokenizer: Tokenizer = tokenizer_for(EMBEDDED_MODEL)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of unit length, shape (len(texts), 256), float32; the mean of the vectors of a text's tokens.

        Averaged here over the tokens laid end to end: the library's own way pads all texts to the longest, which
        for one long text among short ones takes gigabytes.
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
        # A text without one known token has no direction; it gets one, since a zero vector is never found.
        vectors[lengths[:, 0] == 0, 0] = 1.0
        lengths[lengths == 0] = 1.0
        return np.asarray(vectors / lengths, dtype=np.float32)

    def transport(self) -> httpx2.AsyncBaseTransport:
        """A transport for the SDK that ends in this process."""
        app = Starlette(routes=[Route("/v1/embeddings", self._endpoint, methods=["POST"])])
        return httpx2.ASGITransport(app)

    async def _endpoint(self, request: Request) -> Response:
        body: dict[str, Any] = orjson.loads(await request.body())
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        return await asyncio.to_thread(self._answer, texts, body.get("encoding_format") == "base64")

    def _answer(self, texts: list[str], packed: bool) -> Response:
        counts = [self._tokenizer.count(text) for text in texts]
        if problem := _refusal(texts, counts):
            return _json(
                {"error": {"message": problem, "type": "invalid_request_error", "param": None, "code": None}}, 400
            )
        vectors = self.embed(texts)
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
        return _json({"object": "list", "data": data, "model": EMBEDDED_MODEL, "usage": usage})


def _groups(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ranges of texts of bounded length together, each at least one text."""
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


def _json(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status_code=status, media_type="application/json")


def embedded_transport() -> httpx2.AsyncBaseTransport:
    """A transport for the SDK that ends in this process, with the model loaded."""
    return EmbeddedModel().transport()
