"""The embedded models behind an endpoint like OpenAI's, inside this process.

It has the API's limits and returns the API's errors. So a run without a key takes the same path as a run with one.
Vectors have unit length, float32.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import orjson

from vector_pipeline.embedding.providers import multilingual_e5, wordllama, wordllama_korean
from vector_pipeline.embedding.providers.base import KnownModel, Purpose, Question
from vector_pipeline.embedding.providers.multilingual_e5 import MultilingualE5Model
from vector_pipeline.embedding.providers.openai import OpenAI
from vector_pipeline.embedding.providers.wordllama import WordLlamaModel
from vector_pipeline.embedding.providers.wordllama_korean import WordLlamaKoreanModel
from vector_pipeline.embedding.requests import RequestLimits
from vector_pipeline.settings import EMBEDDED_MODELS

if TYPE_CHECKING:
    # Imported only when a model is loaded, because the tables of this module are needed earlier.
    import httpx2

EMBEDDED_MODEL, MULTILINGUAL_MODEL, KOREAN_MODEL = EMBEDDED_MODELS
EMBEDDED_DIMENSIONS = wordllama.DIMENSIONS

# A request to multilingual-e5-small-q4 takes a few seconds: answers are stored, and a run is stopped, that often.
MODELS: Mapping[str, KnownModel] = MappingProxyType(
    {
        EMBEDDED_MODEL: KnownModel(EMBEDDED_DIMENSIONS, False, 0.0),
        KOREAN_MODEL: KnownModel(wordllama_korean.DIMENSIONS, False, 0.0),
        MULTILINGUAL_MODEL: KnownModel(
            multilingual_e5.DIMENSIONS,
            takes_dimensions=False,
            usd_per_million_tokens=0.0,
            limits=RequestLimits(max_weight=2_048),
            tokens_per_minute=multilingual_e5.TOKENS_PER_MINUTE,
        ),
    }
)

# The limits of POST /v1/embeddings (https://platform.openai.com/docs/api-reference/embeddings/create).
MAX_INPUTS = 2_048
MAX_TOKENS_PER_INPUT = 8_192
MAX_TOKENS_PER_REQUEST = 300_000

# What a model in this process may take for a request on a machine that is busy with other things. Nothing can be lost on
# the way to it, and to ask again would only add to its work.
BUSY_SECONDS = 3_600.0

# A field of the request's body, as other providers have it.
PURPOSE = "input_type"


Model = WordLlamaModel | WordLlamaKoreanModel | MultilingualE5Model

_CLASSES: Mapping[str, type[Model]] = MappingProxyType(
    {EMBEDDED_MODEL: WordLlamaModel, KOREAN_MODEL: WordLlamaKoreanModel, MULTILINGUAL_MODEL: MultilingualE5Model}
)


class Embedded(OpenAI):
    """The provider of the embedded models. A process loads a model at its first use."""

    name = "embedded"
    base_url = "http://embedded/v1"

    @property
    def models(self) -> Mapping[str, KnownModel]:
        """See Provider."""
        return MODELS

    def fields(self, question: Question) -> dict[str, Any]:
        """The body as values, with the purpose."""
        return {**super().fields(question), PURPOSE: question.purpose.value}

    def transport(self) -> httpx2.AsyncBaseTransport:
        """See Provider. It ends in this process."""
        import httpx2

        answer = self.answer

        class Endpoint(httpx2.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
                status, content = await asyncio.to_thread(answer, orjson.loads(await request.aread()))
                return httpx2.Response(status, stream=httpx2.ByteStream(content))

        return Endpoint()

    def answer(self, body: dict[str, Any]) -> tuple[int, bytes]:
        """The status and the body of the answer to a request, like those of the API.

        Raises ConfigurationError if the model is not installed.
        """
        from vector_pipeline.text.chunking.tokens import tokenizer_for

        # Any other name means the default model.
        name = body["model"] if body["model"] in MODELS else EMBEDDED_MODEL
        model, tokenizer = embedded_model(name), tokenizer_for(name)
        texts: list[str] = [body["input"]] if isinstance(body["input"], str) else body["input"]
        counts = [tokenizer.count(text) for text in texts]
        if problem := _refusal(texts, counts):
            error = {"message": problem, "type": "invalid_request_error", "param": None, "code": None}
            return 400, orjson.dumps({"error": error})
        vectors = model.embed(texts, Purpose(body[PURPOSE]))
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
        return 200, orjson.dumps({"object": "list", "data": data, "model": name, "usage": usage})


@cache
def embedded_model(name: str) -> Model:
    """A model, which never changes once it is loaded. Raises ConfigurationError if it is not installed."""
    return _CLASSES[name]()


def require_installed(name: str) -> None:
    """Raise ConfigurationError if a model is not installed, without loading it."""
    _CLASSES[name].require_installed()


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
