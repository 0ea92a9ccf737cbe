"""A provider that is not shaped like OpenAI's, in one file: other fields, another answer, other errors, a purpose.

It is what CONTRIBUTING.md says a new provider takes. The server beside it answers as such an API does, over HTTP.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import orjson
import pytest
from pydantic import SecretStr

from vector_pipeline.embedding.client import Answer, EmbeddingClient
from vector_pipeline.embedding.pacing.limits import RateHeaders
from vector_pipeline.embedding.pacing.pacer import LocalPacer
from vector_pipeline.embedding.providers.base import (
    Access,
    BrokenAnswer,
    Decoded,
    Kind,
    KnownModel,
    Problem,
    Provider,
    Purpose,
    Question,
)
from vector_pipeline.embedding.providers.common import billed, parsed, stacked, wait_named
from vector_pipeline.embedding.providers.registry import PROVIDERS, known_model, provider_named
from vector_pipeline.embedding.requests import RequestLimits
from vector_pipeline.embedding.values import ClientConfig
from vector_pipeline.errors import ConfigurationError, ProviderRefused, QuotaExhausted
from vector_pipeline.pipeline.model import client_config
from vector_pipeline.pipeline.pipeline import open_pipeline
from vector_pipeline.settings import Settings
from vector_pipeline.stages.embeddings.plan import embed_plan
from vector_pipeline.stages.streams import PlannedText
from vector_pipeline.store.space import active_space
from vector_pipeline.store.spaces import open_space
from vector_pipeline.store.vectors import missing
from vector_pipeline_tests.support.asking import inputs, many

DIMENSIONS = 12


class Lexis:
    """An embedding API of another shape."""

    name = "lexis"
    key_variable = "LEXIS_API_KEY"
    base_url = "https://api.lexis.example/v2"
    path = "/embed"
    limits = RequestLimits(max_inputs=16, max_weight=20_000, max_tokens_per_input=512)

    @property
    def models(self) -> Mapping[str, KnownModel]:
        return {"lexis-4": KnownModel(DIMENSIONS, False, 0.12)}

    def headers(self, access: Access) -> Mapping[str, str]:
        return {"X-Api-Key": access.key or ""}

    def body(self, question: Question) -> bytes:
        kinds = {Purpose.QUERY: "search_query", Purpose.DOCUMENT: "search_document"}
        body = {"name": question.model, "texts": list(question.texts), "input_type": kinds[question.purpose]}
        if "truncate" not in question.without:
            body["truncate"] = "NONE"
        return orjson.dumps(body)

    def decode(self, content: bytes, question: Question) -> Decoded:
        body = parsed(content)
        try:
            rows, units = body["vectors"], body["meta"]["units"]
        except (KeyError, TypeError) as error:
            raise BrokenAnswer("an answer without vectors") from error
        if len(rows) != len(question.texts):
            raise BrokenAnswer(f"{len(rows)} vectors for {len(question.texts)} texts")
        vectors, useless = stacked(rows, question.dimensions)
        return Decoded(vectors, billed(units), question.model, useless)

    def classify(self, status: int, headers: Mapping[str, str], body: object, clean: Callable[[str], str]) -> Problem:
        detail = str(body.get("detail")) if isinstance(body, Mapping) else str(body)
        shown = f"{status}: {clean(detail)[:300]}"
        if status == 498:
            return Problem(Kind.QUOTA, shown)
        if status == 430:
            return Problem(Kind.RATE_LIMITED, shown, wait_named(headers, detail))
        if "unknown field" in detail:
            return Problem(Kind.WITHOUT, shown, option=detail.split()[-1])
        if "too long" in detail:
            return Problem(Kind.SPLIT, shown, culprit=int(detail.split()[1]), of_text=True)
        return Problem(Kind.RETRY if status >= 500 else Kind.REFUSED, shown)

    def rate(self, headers: Mapping[str, str], message: str) -> RateHeaders:
        left = headers.get("x-trial-calls-left")
        return RateHeaders() if left is None else RateHeaders(limit_requests=600, remaining_requests=int(left))

    def transport(self) -> httpx2.AsyncBaseTransport | None:
        return None


@dataclass
class Server:
    """What the API was asked, and how it behaves."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    refuses: tuple[int, str] | None = None
    """A status and a detail with which every request is answered."""
    limited: int = 0
    """Requests that are answered 430 first."""


def vector_of(text: str) -> list[float]:
    return [float(ord(character)) for character in f"{text:{DIMENSIONS}}"[:DIMENSIONS]]


@pytest.fixture
def server() -> Iterator[Server]:
    seen = Server()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_POST(self) -> None:
            body = orjson.loads(self.rfile.read(int(self.headers["content-length"])))
            seen.bodies.append(body)
            seen.keys.add(self.headers["x-api-key"])
            status, answer = self.answer(body)
            content = orjson.dumps(answer)
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.send_header("x-trial-calls-left", "599")
            if status == 430:
                self.send_header("retry-after", "0")
            self.end_headers()
            self.wfile.write(content)

        def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
            if seen.refuses:
                return seen.refuses[0], {"detail": seen.refuses[1]}
            if self.path != "/v2/embed":
                return 404, {"detail": "no such place"}
            if seen.limited:
                seen.limited -= 1
                return 430, {"detail": "slow down"}
            if "truncate" in body:
                return 400, {"detail": "unknown field truncate"}
            for n, text in enumerate(body["texts"]):
                if len(text) > 2_000:
                    return 400, {"detail": f"text {n} is too long"}
            vectors = [vector_of(text) for text in body["texts"]]
            return 200, {"vectors": vectors, "meta": {"units": 7 * len(vectors)}}

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    seen.url = f"http://127.0.0.1:{http.server_port}/v2"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield seen
    http.shutdown()
    http.server_close()


def config(server: Server) -> ClientConfig:
    return ClientConfig(
        "lexis-4", DIMENSIONS, server.url, SecretStr("secret-of-lexis"), retry_seconds=5.0, provider=Lexis()
    )


def embed(server: Server, *texts: str, purpose: Purpose = Purpose.DOCUMENT) -> Answer:
    async def main() -> Answer:
        async with EmbeddingClient(config(server), LocalPacer(), purpose=purpose) as client:
            return await client.embed(inputs(*texts))

    return asyncio.run(main())


def test_it_is_asked_in_its_own_words_and_for_a_purpose(server: Server) -> None:
    server.limited = 1
    answer = embed(server, "one", "two", purpose=Purpose.QUERY)
    np.testing.assert_allclose(answer.vectors, [vector_of("one"), vector_of("two")])
    assert (answer.tokens, server.keys) == (14, {"secret-of-lexis"})
    assert {body["input_type"] for body in server.bodies} == {"search_query"}
    assert [("truncate" in body) for body in server.bodies] == [True, True, False], "left away once it was refused"


def test_its_own_limits_are_held_and_its_errors_understood(server: Server) -> None:
    answer = embed(server, *(f"text {n}" for n in range(40)), "x" * 3_000)
    assert (len(answer.inputs), len(answer.rejected)) == (40, 1)
    assert max(len(body["texts"]) for body in server.bodies) == 16
    for refuses, raised in (((498, "no units left"), QuotaExhausted), ((403, "secret-of-lexis?"), ProviderRefused)):
        server.refuses = refuses
        with pytest.raises(raised) as caught:
            embed(server, "one")
        assert "secret-of-lexis" not in str(caught.value)


@pytest.mark.slow
def test_its_vectors_are_stored_by_the_stage(server: Server, tmp_path: Path, fresh_database_url: str) -> None:
    settings = Settings.of(
        home=tmp_path,
        database_url=fresh_database_url,
        provider="lexis",
        model="lexis-4",
        dimensions=DIMENSIONS,
        api_key="secret-of-lexis",
        base_url=server.url,
    )
    asked = many(20)
    with open_pipeline(settings) as pipeline:
        with pipeline.database.connect() as connection:
            space = open_space(connection, "lexis-4", DIMENSIONS)
        plan = [PlannedText(1, space.name, i.content_hash, i.text, i.tokens) for i in asked]
        assert embed_plan(pipeline, plan, client_config(settings, Lexis())).stored == 20
        with pipeline.database.connect() as connection:
            assert active_space(connection) is not None
            assert missing(connection, space, [i.content_hash for i in asked]) == set()
    assert {body["input_type"] for body in server.bodies} == {"search_document"}


def test_registration_is_one_line() -> None:
    providers: dict[str, Callable[[], Provider]] = {**PROVIDERS, "lexis": Lexis}
    assert provider_named("lexis", providers).key_variable == "LEXIS_API_KEY"
    assert known_model("lexis-4", providers) == KnownModel(DIMENSIONS, False, 0.12)
    with pytest.raises(ConfigurationError, match=r"PROVIDER is 'lexis': must be one of embedded, openai"):
        provider_named("lexis")


def test_its_key_is_read_from_its_own_variable() -> None:
    names = {"VECTOR_PIPELINE_PROVIDER": "lexis", "VECTOR_PIPELINE_MODEL": "lexis-4", "LEXIS_API_KEY": "secret-of-lexis"}
    settings = Settings.from_environment(names)
    assert client_config(settings, Lexis()).access.key == "secret-of-lexis"
    # A key of OpenAI's that is there for something else stays where it is.
    settings = Settings.from_environment({**names, "LEXIS_API_KEY": "", "OPENAI_API_KEY": "sk-of-openai"})
    assert client_config(settings, Lexis()).access.key is None


@pytest.mark.parametrize("name", PROVIDERS)
def test_the_variable_of_a_key_is_named_after_its_provider(name: str) -> None:
    provider = PROVIDERS[name]()
    assert provider.name == name
    assert name == "embedded" or provider.key_variable == f"{name.upper()}_API_KEY"
