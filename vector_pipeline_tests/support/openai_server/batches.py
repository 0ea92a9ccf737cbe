"""Files and batches, as the Batch API has them."""

from __future__ import annotations

import base64
import random
import time
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vector_pipeline.text.chunking.tokens import Tokenizer
from vector_pipeline_tests.support.openai_server.config import ServerConfig
from vector_pipeline_tests.support.openai_server.embedding import vector_of
from vector_pipeline_tests.support.openai_server.refusals import error, refusal
from vector_pipeline_tests.support.openai_server.state import Seen

MAX_LINES = 50_000
MAX_BYTES = 200_000_000


@dataclass
class _Batch:
    id: str
    input_file_id: str
    tokens: int
    ends_at: float
    lines: list[dict[str, Any]]
    status: str = "in_progress"
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: list[dict[str, Any]] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    created_at: int = field(default_factory=lambda: int(time.time()))


class Batches:
    """Files and batches of one server."""

    def __init__(self, config: ServerConfig, seen: Seen, tokenizer: Tokenizer) -> None:
        self._config = config
        self._seen = seen
        self._tokenizer = tokenizer
        self._files: dict[str, bytes] = {}
        self._batches: dict[str, _Batch] = {}

    def routes(self) -> list[Route]:
        """The endpoints."""
        return [
            Route("/v1/files", self._upload, methods=["POST"]),
            Route("/v1/files/{id}", self._file, methods=["GET", "DELETE"]),
            Route("/v1/files/{id}/content", self._content),
            Route("/v1/batches", self._create, methods=["POST"]),
            Route("/v1/batches", self._list, methods=["GET"]),
            Route("/v1/batches/{id}", self._retrieve),
            Route("/v1/batches/{id}/cancel", self._cancel, methods=["POST"]),
        ]

    async def _upload(self, request: Request) -> Response:
        content = _uploaded(request.headers["content-type"], await request.body())
        if len(content) > MAX_BYTES:
            return _json(*error(413, f"File too large. Max {MAX_BYTES} bytes."))
        file_id = self._keep(content)
        return _json(200, self._file_object(file_id))

    def _keep(self, content: bytes) -> str:
        file_id = f"file-{len(self._files) + 1}"
        self._files[file_id] = content
        return file_id

    def _file_object(self, file_id: str) -> dict[str, Any]:
        size = len(self._files[file_id])
        return {
            "id": file_id,
            "object": "file",
            "bytes": size,
            "created_at": int(time.time()),
            "filename": "requests.jsonl",
            "purpose": "batch",
            "status": "processed",
        }

    async def _file(self, request: Request) -> Response:
        file_id = request.path_params["id"]
        if file_id not in self._files:
            return _json(*error(404, f"No such File object: {file_id}"))
        if request.method == "DELETE":
            del self._files[file_id]
            return _json(200, {"id": file_id, "object": "file", "deleted": True})
        return _json(200, self._file_object(file_id))

    async def _content(self, request: Request) -> Response:
        file_id = request.path_params["id"]
        if file_id not in self._files:
            return _json(*error(404, f"No such File object: {file_id}"))
        return Response(self._files[file_id], media_type="application/octet-stream")

    async def _create(self, request: Request) -> Response:
        body = orjson.loads(await request.body())
        if body["input_file_id"] not in self._files:
            return _json(*error(404, f"No such File object: {body['input_file_id']}"))
        lines = [orjson.loads(line) for line in self._files[body["input_file_id"]].splitlines()]
        tokens = sum(self._tokenizer.count(text) for line in lines for text in line["body"]["input"])
        batch = _Batch(
            id=f"batch_{len(self._batches) + 1}",
            input_file_id=body["input_file_id"],
            tokens=tokens,
            ends_at=time.monotonic() + self._config.batch_seconds,
            lines=lines,
            metadata=body.get("metadata") or {},
        )
        self._batches[batch.id] = batch
        inputs = sum(len(line["body"]["input"]) for line in lines)
        queued = sum(b.tokens for b in self._batches.values() if b.status == "in_progress")
        limit = self._config.batch_queue_tokens
        if len(lines) > MAX_LINES or inputs > MAX_LINES:
            self._fail(batch, "too_many_tasks", f"The batch has more than {MAX_LINES} embedding inputs.")
        elif limit is not None and queued > limit:
            self._fail(
                batch,
                "token_limit_exceeded",
                f"Enqueued token limit reached for {self._config.model} in organization org-test. Limit: {limit:,} "
                "enqueued tokens. Please try again once some in_progress batches have been completed.",
            )
        shown = _object(batch)
        if self._config.batch_validates and batch.status == "failed":
            shown |= {"status": "validating", "errors": None}
        return _json(200, shown)

    def _fail(self, batch: _Batch, code: str, message: str) -> None:
        batch.status = "failed"
        batch.errors = [{"code": code, "message": message, "param": None, "line": None}]

    async def _list(self, _: Request) -> Response:
        data = [_object(self._advance(batch)) for batch in self._batches.values()]
        return _json(200, {"object": "list", "data": data[::-1], "has_more": False})

    async def _retrieve(self, request: Request) -> Response:
        batch = self._batches.get(request.path_params["id"])
        if batch is None:
            return _json(*error(404, f"No batch found with id '{request.path_params['id']}'."))
        return _json(200, _object(self._advance(batch)))

    async def _cancel(self, request: Request) -> Response:
        batch = self._batches[request.path_params["id"]]
        self._finish(batch, "cancelled")
        return _json(200, _object(batch))

    def _advance(self, batch: _Batch) -> _Batch:
        if batch.status == "in_progress" and time.monotonic() >= batch.ends_at:
            if self._config.batch_ends == "failed":
                self._fail(batch, "internal_error", "The batch failed.")
            else:
                self._finish(batch, self._config.batch_ends)
        return batch

    def _finish(self, batch: _Batch, status: str) -> None:
        """Answer the lines in any order; of an expired or cancelled batch only the first half was done."""
        done = batch.lines if status == "completed" else batch.lines[: len(batch.lines) // 2]
        rest = batch.lines[len(done) :]
        output: list[bytes] = []
        errors: list[bytes] = []
        for line in done:
            texts = line["body"]["input"]
            counts = [self._tokenizer.count(text) for text in texts]
            word = self._config.batch_fails_word
            refused = refusal(self._config, line["body"], texts, counts)
            if word is not None and any(word in text for text in texts):
                refused = error(500, "The server had an error while processing your request.", "server_error")
            status_code, body = refused or (200, self._answer(line["body"], texts, sum(counts)))
            (errors if refused else output).append(_line(line, {"status_code": status_code, "body": body}, None))
        code = f"batch_{status}"
        message = "This request could not be executed before the completion window expired."
        errors += [_line(line, None, {"code": code, "message": message}) for line in rest]
        random.Random(1).shuffle(output)
        batch.output_file_id = self._keep(b"".join(output)) if output else None
        batch.error_file_id = self._keep(b"".join(errors)) if errors else None
        batch.status = status

    def _answer(self, body: dict[str, Any], texts: list[str], tokens: int) -> dict[str, Any]:
        self._seen.tokens += tokens
        self._seen.billed.update(texts)
        dimensions = body.get("dimensions") or self._config.dimensions
        packed = body.get("encoding_format") == "base64"
        vectors = [vector_of(text, dimensions) for text in texts]
        for text, vector in zip(texts, vectors, strict=True):
            if self._config.useless_word is not None and self._config.useless_word in text:
                vector[:] = 0
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(vector.tobytes()).decode() if packed else vector.tolist(),
            }
            for index, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "data": data, "model": self._config.model, "usage": usage}


def _uploaded(content_type: str, body: bytes) -> bytes:
    """The file in a multipart form; its parser would be one more dependency, for one form of our own making."""
    boundary = content_type.partition("boundary=")[2].strip('"').encode()
    for part in body.split(b"--" + boundary):
        head, _, content = part.partition(b"\r\n\r\n")
        if b"filename=" in head:
            return content.removesuffix(b"\r\n")
    raise ValueError("the form holds no file")


def _line(line: dict[str, Any], response: dict[str, Any] | None, failure: dict[str, Any] | None) -> bytes:
    answer = {"id": "batch_req_1", "custom_id": line["custom_id"], "response": response, "error": failure}
    return orjson.dumps(answer) + b"\n"


def _object(batch: _Batch) -> dict[str, Any]:
    total = len(batch.lines)
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": "/v1/embeddings",
        "errors": {"object": "list", "data": batch.errors} if batch.errors else None,
        "input_file_id": batch.input_file_id,
        "completion_window": "24h",
        "status": batch.status,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "created_at": batch.created_at,
        "request_counts": {"total": total, "completed": total if batch.status == "completed" else 0, "failed": 0},
        "metadata": batch.metadata,
    }


def _json(status: int, value: object) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")
