"""Error bodies as the API and servers compatible with it spell them."""

from __future__ import annotations

from typing import Any

from vector_pipeline_tests.support.openai_server.config import ServerConfig

# https://platform.openai.com/docs/api-reference/embeddings/create
FIELDS = frozenset({"model", "input", "encoding_format", "dimensions", "user"})

Refused = tuple[int, dict[str, Any]]


def error(status: int, message: str, kind: str = "invalid_request_error", code: str | None = None) -> Refused:
    """An error of OpenAI's own form."""
    return status, {"error": {"message": message, "type": kind, "param": None, "code": code}}


def refusal(config: ServerConfig, body: dict[str, Any], texts: list[str], counts: list[int]) -> Refused | None:
    """Why the API would not take a request; None where it does."""
    if body.get("model") not in (config.model, *config.other_models):
        message = f"The model `{body.get('model')}` does not exist or you do not have access to it."
        return error(404, message, code="model_not_found")
    if config.refuses_other_fields and (others := sorted(body.keys() - FIELDS)):
        return error(400, f"Unrecognized request argument supplied: {others[0]}")
    if not texts or "" in texts:
        return error(
            400,
            "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference.",
        )
    if config.base64 == "refused" and body.get("encoding_format") == "base64":
        return error(422, "encoding_format: value is not a valid enumeration member; permitted: 'float'")
    if "dimensions" in body and not config.takes_dimensions:
        return _no_dimensions(config)
    if len(texts) > config.max_inputs:
        return _too_many(config, len(texts))
    for index, count in enumerate(counts):
        if count > config.max_tokens_per_input:
            return _too_long(config, index, count)
    gate = sum(counts) if config.request_gate == "tokens" else sum(len(text.encode()) for text in texts) // 4
    if gate > config.max_tokens_per_request:
        most = config.max_tokens_per_request
        if config.request_gate == "tokens":
            return error(400, f"Invalid 'input': maximum request size is {most} tokens per request.")
        kind = "max_tokens_per_request"
        return error(400, f"Requested {gate} tokens, max {most} tokens per request", kind, kind)
    if config.bad_word is not None and any(config.bad_word in text for text in texts):
        return error(
            400,
            "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference.",
        )
    return None


def _no_dimensions(config: ServerConfig) -> Refused:
    if config.style == "vllm":
        message = (
            f'Model "{config.model}" does not support matryoshka representation, changing output dimensions will '
            "lead to poor results."
        )
        return 400, {"object": "error", "message": message, "type": "BadRequestError", "param": None, "code": 400}
    return error(400, "This model does not support specifying dimensions.")


def _too_many(config: ServerConfig, count: int) -> Refused:
    if config.style == "tei":
        message = f"batch size {count} > maximum allowed batch size {config.max_inputs}"
        return 413, {"message": message, "type": "validation", "code": 413}
    return error(
        400,
        f"Invalid 'input': array too long. Expected an array with maximum length {config.max_inputs}, but got an "
        f"array with length {count} instead.",
        code="array_above_max_length",
    )


def _too_long(config: ServerConfig, index: int, count: int) -> Refused:
    most = config.max_tokens_per_input
    if config.style == "tei":
        message = f"Input validation error: `inputs` must have less than {most} tokens. Given: {count}"
        return 413, {"error": message, "error_type": "Validation"}
    if config.style == "vllm":
        message = (
            f"This model's maximum context length is {most} tokens. However, you requested {count} tokens in the "
            "input for embedding generation. Please reduce the length of the input."
        )
        return 400, {"object": "error", "message": message, "type": "BadRequestError", "param": None, "code": 400}
    if config.style == "ollama":
        return error(400, "input length exceeds maximum context length", "api_error")
    return error(400, f"Invalid 'input[{index}]': maximum input length is {most} tokens.")


def no_quota() -> Refused:
    """No money left."""
    message = "You exceeded your current quota, please check your plan and billing details."
    return error(429, message, "insufficient_quota", "insufficient_quota")
