"""The server's endpoints as an ASGI application."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from vector_pipeline.text.chunking.tokens import Tokenizer
from vector_pipeline_tests.support.openai_server.batches import Batches
from vector_pipeline_tests.support.openai_server.config import Fault, Poison, ServerConfig
from vector_pipeline_tests.support.openai_server.embedding import vector_of
from vector_pipeline_tests.support.openai_server.limiter import Limiter, Refusal
from vector_pipeline_tests.support.openai_server.refusals import FIELDS, error, no_quota, refusal
from vector_pipeline_tests.support.openai_server.state import Seen

_SOON = {"retry-after": "0.05"}

# The status and the headers of a gateway's page.
_PAGES: dict[Poison, tuple[int, dict[str, str]]] = {
    "503 and wait": (503, _SOON),
    "429": (429, {}),
    "429 and wait": (429, _SOON),
    "401": (401, {}),
    "403": (403, {}),
    "404": (404, {}),
    "302": (302, {"location": "https://blocked.invalid/"}),
    "413": (413, {}),
}


class Application:
    """State and endpoints of one server."""

    def __init__(self, config: ServerConfig, tokenizer: Tokenizer) -> None:
        self.config = config
        self.seen = Seen()
        self._tokenizer = tokenizer
        self._limiter = Limiter(config)
        self._random = random.Random(config.seed)
        self._places = asyncio.Semaphore(config.parallel) if config.parallel else None
        batches = Batches(config, self.seen, tokenizer)
        self.asgi = Starlette(
            routes=[
                Route("/v1/embeddings", self._embeddings, methods=["POST"]),
                Route("/stats", self._stats),
                Route("/start", self._start, methods=["POST"]),
                *batches.routes(),
            ]
        )

    async def _start(self, _: Request) -> Response:
        self.seen.start()
        self._limiter.start()
        return _json(200, None)

    async def _stats(self, _: Request) -> Response:
        return _json(200, self.seen.summary())

    async def _embeddings(self, request: Request) -> Response:
        self.seen.begin()
        status = 500
        try:
            response = await self._answer(request)
            status = response.status_code
            return response
        finally:
            self.seen.end(status)

    async def _answer(self, request: Request) -> Response:
        config, seen = self.config, self.seen
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        seen.requests_by_key[key] += 1
        if config.refuses is not None:
            return _json(*config.refuses)
        if config.key is not None and key != config.key:
            return _json(*error(401, "Incorrect API key provided: sk-no.", code="invalid_api_key"))
        if config.quota_after is not None and seen.requests > config.quota_after:
            return _json(*no_quota())
        body = orjson.loads(await request.body())
        texts: list[str] = [body["input"]] if isinstance(body["input"], str) else body["input"]
        counts = [self._tokenizer.count(text) for text in texts]
        seen.inputs_per_request.append(len(texts))
        if refused := refusal(config, body, texts, counts):
            return _json(*refused)
        seen.parameters.update(f"{name}={body[name]} {text}" for name in sorted(body.keys() - FIELDS) for text in texts)
        poisoned = [n for n, text in enumerate(texts) if config.poison_word is not None and config.poison_word in text]
        if poisoned and (failure := await self._poisoned()) is not None:
            return failure
        fault = self._draw()
        if fault in ("500", "hang", "429", "503"):
            return await self._fail_before_work(fault)
        tokens = sum(counts)
        weight = tokens if config.counts == "tokens" else sum(len(text.encode()) for text in texts) // 4
        limited = self._limiter.admit(weight)
        headers = self._limiter.headers() if config.sends_headers else {}
        if limited is not None:
            seen.limited(key, tokens)
            return self._rate_limited(limited, headers)
        seen.tokens += tokens
        seen.weight += weight
        seen.billed.update(texts)
        await self._work(config.latency + config.latency_per_token * tokens)
        if fault is not None:
            seen.lost.update(texts)
        milliseconds = 1000 * (config.latency + config.latency_per_token * tokens)
        headers = {**headers, "openai-processing-ms": f"{milliseconds:.0f}"}
        return self._vectors(body, texts, tokens, fault, headers, poisoned)

    async def _poisoned(self) -> Response | None:
        """How a request with a poisoned text fails; None where its answer holds a broken vector instead."""
        if self.config.poison == "500":
            message = "failed to encode response: json: unsupported value: NaN"
            return _json(*error(500, message, "api_error"))
        if self.config.poison == "500 and id":
            message = f"The server had an error. Please include the request ID req_{self._random.randbytes(12).hex()}"
            return _json(*error(500, message, "server_error"))
        if self.config.poison in _PAGES:
            status, headers = _PAGES[self.config.poison]
            says = "413 Request Entity Too Large" if status == 413 else f"Sorry, {status}"
            return HTMLResponse(f"<html><h1>{says}</h1></html>", status, headers)
        if self.config.poison == "filter":
            message = "The response was filtered due to the prompt triggering the content management policy."
            return _json(*error(400, message, code="content_filter"))
        if self.config.poison == "reset":
            return StreamingResponse(_broken(b"no answer"), headers={"content-length": "9"})
        if self.config.poison == "hang":
            await asyncio.sleep(self.config.hang_seconds)
            return HTMLResponse("", 504)
        return None

    async def _work(self, seconds: float) -> None:
        if self._places is None:
            await asyncio.sleep(seconds)
            return
        async with self._places:
            await asyncio.sleep(seconds)

    def _draw(self) -> Fault | None:
        point = self._random.random()
        for fault, share in self.config.faults.items():
            point -= share
            if point < 0:
                self.seen.faults[fault] += 1
                return fault
        return None

    async def _fail_before_work(self, fault: Fault) -> Response:
        if fault == "500":
            return HTMLResponse("<html><h1>502 Bad Gateway</h1></html>", 502)
        if fault == "503":
            return HTMLResponse("<html><h1>503 Service Unavailable</h1></html>", 503, _SOON)
        if fault == "hang":
            await asyncio.sleep(self.config.hang_seconds)
            return HTMLResponse("", 504)
        refusal = Refusal("Rate limit reached. Please try again in 200ms.", "requests", 0.2)
        return self._rate_limited(refusal, {})

    def _rate_limited(self, refused: Refusal, headers: dict[str, str]) -> Response:
        if refused.wait is not None and self.config.names_wait == "headers":
            milliseconds = refused.wait * 1000
            headers = {**headers, "retry-after-ms": f"{milliseconds:.0f}", "retry-after": f"{refused.wait:.0f}"}
        if self.config.style == "tei":
            return _json(429, {"error": "Model is overloaded", "error_type": "Overloaded"})
        return _json(*error(429, refused.message, refused.kind, "rate_limit_exceeded"), headers)

    def _vectors(
        self,
        body: dict[str, Any],
        texts: list[str],
        tokens: int,
        fault: Fault | None,
        headers: dict[str, str],
        poisoned: list[int],
    ) -> Response:
        dimensions = body.get("dimensions") or self.config.dimensions
        packed = body.get("encoding_format") == "base64" and self.config.base64 == "yes"
        vectors = [vector_of(text, dimensions) for text in texts]
        for text, vector in zip(texts, vectors, strict=True):
            if self.config.useless_word is not None and self.config.useless_word in text:
                vector[:] = 0
        if fault == "nan":
            vectors[-1][0] = float("nan")
            packed = True
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(vector.tobytes()).decode() if packed else vector.tolist(),
            }
            for index, vector in enumerate(vectors)
        ]
        if fault == "missing":
            data.pop()
        elif fault == "extra":
            data.append({**data[-1], "index": len(data)})
        elif fault == "twice":
            data[-1] = {**data[-1], "index": 0} if len(data) > 1 else {**data[-1], "index": 1}
        _poison(data, poisoned, self.config.poison, vectors)
        if self.config.shuffled:
            self._random.shuffle(data)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        content = orjson.dumps({"object": "list", "data": data, "model": body["model"], "usage": usage})
        if poisoned and self.config.poison == "NaN":
            content = content.replace(b'"not a number"', b"NaN")
        if fault == "truncated" or (poisoned and self.config.poison == "cut"):
            content = content[: len(content) // 2]
        if fault == "drip":
            return StreamingResponse(_drops(content), headers=headers, media_type="application/json")
        if fault == "reset":
            return StreamingResponse(_broken(content), headers={**headers, "content-length": str(len(content))})
        return Response(content, media_type="application/json", headers=headers)


def _poison(data: list[dict[str, Any]], poisoned: list[int], how: Poison, vectors: list[Any]) -> None:
    """Break the vectors of some texts."""
    for n in poisoned:
        data[n]["embedding"] = {
            "null": None,
            "empty": "" if isinstance(data[n]["embedding"], str) else [],
            "short": base64.b64encode(vectors[n][::2].tobytes()).decode(),
            "huge": base64.b64encode((vectors[n] * np.float32(1e30)).tobytes()).decode(),
            "tiny": base64.b64encode((vectors[n] * np.float32(1e-12)).tobytes()).decode(),
            "NaN": ["not a number"] * len(vectors[n]),
        }.get(how, data[n]["embedding"])
    if how in ("drop", "renumbered"):
        data[:] = [item for n, item in enumerate(data) if n not in poisoned]
    if how == "renumbered":
        for n, item in enumerate(data):
            item["index"] = n


async def _drops(content: bytes) -> AsyncIterator[bytes]:
    for start in range(len(content)):
        yield content[start : start + 1]
        await asyncio.sleep(0.1)


async def _broken(content: bytes) -> AsyncIterator[bytes]:
    yield content[: len(content) // 2]
    raise ConnectionResetError("a fault, as asked for")


def _json(status: int, value: object, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), status, headers, media_type="application/json")
