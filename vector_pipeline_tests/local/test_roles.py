"""Prefixes of texts and questions: what a server gets, what is recorded, and when it is paid for again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vector_pipeline import Corpus
from vector_pipeline.errors import ConfigurationError, PipelineError, SpaceMismatch
from vector_pipeline.local.ingest import IngestReport, ingest
from vector_pipeline.local.instance import open_instance_in_process
from vector_pipeline.pipeline.model import targets
from vector_pipeline.pipeline.pipeline import open_pipeline
from vector_pipeline.queries import change_model
from vector_pipeline.queries.estimate import Estimate, estimate
from vector_pipeline.queries.status import read_status
from vector_pipeline.settings import Settings
from vector_pipeline.store.space import list_spaces
from vector_pipeline_tests.support.openai_server import RunningServer, ServerConfig, serve

E5 = "intfloat/multilingual-e5-small"
MIGRATION = 24
OWN = "somebodys/own-model"
BEES, LEAVE = "Bees make honey on the roof.", "연차는 일 년에 열다섯 일입니다."
QUESTION = "who makes honey?"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "handbook"
    found.mkdir()
    (found / "bees.txt").write_text(BEES)
    (found / "연차.txt").write_text(LEAVE)
    return found


class Shop:
    """A server of one model, and a database that is filled from it. A key without a known price has a price here."""

    def __init__(self, tmp_path: Path, url: str, server: RunningServer, folder: Path, model: str) -> None:
        self.server = server
        self._folder = folder
        self._values = {
            "home": tmp_path / "home",
            "database_url": url,
            "openai_base_url": server.url,
            "openai_api_key": "sk-test",
            "model": model,
            "usd_per_million_tokens": 0.5,
        }

    def settings(self, **values: Any) -> Settings:
        return Settings.of(**{**self._values, **values})

    def ingest(self, **values: Any) -> IngestReport:
        settings = self.settings(**values)
        with open_pipeline(settings) as pipeline, open_instance_in_process(settings) as instance:
            return ingest(pipeline, [str(self._folder)], instance=instance)

    def estimate(self, **values: Any) -> Estimate:
        with open_pipeline(self.settings(**values)) as pipeline:
            return estimate(pipeline, str(self._folder))

    def search(self, question: str = QUESTION, **values: Any) -> list[str]:
        with Corpus.open(self.settings(**values)) as corpus:
            return [result.page_content for result in corpus.search(question, k=2, mode="meaning")]

    def start(self, **values: Any) -> str:
        with open_pipeline(self.settings(**values)) as pipeline:
            return str(change_model.start(pipeline)["name"])

    def switch(self, name: str, **values: Any) -> None:
        with open_pipeline(self.settings(**values)) as pipeline:
            change_model.switch(pipeline, name)

    def roles(self) -> list[tuple[str, str, str]]:
        with open_pipeline(self.settings()) as pipeline, pipeline.database.connect() as connection:
            return [(space.state, space.document_prefix, space.query_prefix) for space in list_spaces(connection)]

    def billed(self) -> Counter[str]:
        """What the server embedded since the last call."""
        found = Counter(self.server.seen.billed)
        self.server.seen.billed.clear()
        return found

    def age(self) -> None:
        """Make the database what it was before spaces had roles."""
        with open_pipeline(self.settings()) as pipeline, pipeline.database.connect() as connection:
            for column in ("document_prefix", "document_parameter", "query_prefix", "query_parameter"):
                connection.execute(f"ALTER TABLE spaces DROP COLUMN {column}".encode())
            connection.execute("DELETE FROM vector_pipeline_migrations WHERE number = %s", (MIGRATION,))


@pytest.fixture
def model() -> str:
    return E5


@pytest.fixture
def shop(tmp_path: Path, fresh_database_url: str, folder: Path, model: str) -> Iterator[Shop]:
    with serve(ServerConfig(model=model, dimensions=48, takes_dimensions=False)) as server:
        yield Shop(tmp_path, fresh_database_url, server, folder, model)


def test_a_known_model_gets_its_prefixes_and_results_never_show_them(shop: Shop) -> None:
    foretold = shop.estimate()
    report = shop.ingest()
    assert shop.billed() == Counter([f"passage: {BEES}", f"passage: {LEAVE}"])
    assert report.tokens == foretold.tokens == shop.server.seen.tokens
    assert report.usd == pytest.approx(foretold.usd)
    assert sorted(shop.search()) == sorted([BEES, LEAVE])
    assert shop.billed() == Counter([f"query: {QUESTION}"])
    assert shop.estimate().roles is None
    assert shop.ingest().embedded == 0
    with open_pipeline(shop.settings()) as pipeline:
        (space,) = read_status(pipeline)["spaces"]
    assert (space["document_prefix"], space["query_prefix"]) == ("passage: ", "query: ")


def test_settings_override_the_table_and_nothing_means_nothing(shop: Shop) -> None:
    shop.ingest(document_prefix="", query_prefix="")
    shop.search(document_prefix="", query_prefix="")
    assert shop.billed() == Counter([BEES, LEAVE, QUESTION])
    assert shop.roles() == [("active", "", "")]


@pytest.mark.parametrize("model", [OWN])
def test_another_model_gets_the_prefixes_of_the_settings(shop: Shop) -> None:
    both = {"query_prefix": "Q: ", "document_prefix": "Text:\n"}
    foretold = shop.estimate(**both)
    assert shop.ingest(**both).tokens == foretold.tokens == shop.server.seen.tokens
    assert shop.billed() == Counter([f"Text:\n{BEES}", f"Text:\n{LEAVE}"])
    # They are recorded with the vectors, so a process without the settings goes on with them.
    assert sorted(shop.search()) == sorted([BEES, LEAVE])
    assert shop.billed() == Counter([f"Q: {QUESTION}"])
    assert shop.ingest().embedded == 0


def test_what_was_filled_without_prefixes_is_not_paid_for_again_until_that_is_asked_for(shop: Shop) -> None:
    shop.ingest(document_prefix="", query_prefix="")
    shop.age()
    shop.billed()
    assert shop.ingest().embedded == 0
    shop.search()
    assert shop.billed() == Counter([QUESTION])
    costs = shop.estimate()
    assert costs.tokens == 0
    assert costs.roles is not None
    assert (costs.roles.texts, costs.roles.document, costs.roles.query) == (2, "passage: ", "query: ")
    assert (costs.roles.document_now, costs.roles.query_now) == ("", "")
    assert costs.roles.how.startswith("run `vector-pipeline space start`")

    name = shop.start()
    assert shop.estimate().roles is None
    foretold = shop.estimate()
    report = shop.ingest()
    assert report.tokens == foretold.tokens == costs.roles.tokens
    assert report.usd == pytest.approx(costs.roles.usd)
    assert shop.billed() == Counter([f"passage: {BEES}", f"passage: {LEAVE}"])
    # Until the switch questions are sent as the active space wants them.
    shop.search()
    assert shop.billed() == Counter([QUESTION])
    shop.switch(name)
    shop.search()
    assert shop.billed() == Counter([f"query: {QUESTION}"])
    assert shop.roles() == [("retired", "", ""), ("active", "passage: ", "query: ")]
    assert shop.ingest().embedded == 0


def test_another_document_prefix_is_another_space(shop: Shop) -> None:
    shop.ingest()
    shop.billed()
    other = {"document_prefix": "text: "}
    with (
        open_pipeline(shop.settings(**other)) as pipeline,
        pipeline.database.connect() as connection,
        pytest.raises(SpaceMismatch, match=r"PREFIX is 'text: '.*made with 'passage: '.*unset it.*space start"),
    ):
        targets(connection, pipeline.settings)
    costs = shop.estimate(**other)
    name = shop.start(**other)
    report = shop.ingest(**other)
    assert report.tokens == costs.tokens
    assert shop.billed() == Counter([f"text: {BEES}", f"text: {LEAVE}"])
    shop.switch(name, **other)
    assert [role[:2] for role in shop.roles()] == [("retired", "passage: "), ("active", "text: ")]
    assert shop.ingest().embedded == 0


def test_another_query_prefix_costs_nothing(shop: Shop, folder: Path) -> None:
    shop.ingest()
    shop.billed()
    with Corpus.open(shop.settings()) as corpus:
        for _ in range(2):
            corpus.search(QUESTION, mode="meaning")
    with Corpus.open(shop.settings(query_prefix="ask: ")) as corpus:
        for _ in range(2):
            corpus.search(QUESTION, mode="meaning")
    assert shop.billed() == Counter([f"query: {QUESTION}", f"ask: {QUESTION}"])
    (folder / "tea.txt").write_text("Green tea wants water of seventy degrees.")
    assert shop.ingest(query_prefix="ask: ").embedded == 1
    # The load has recorded it, for processes without the setting.
    assert shop.roles() == [("active", "passage: ", "ask: ")]


@pytest.mark.parametrize("model", ["BAAI/bge-small-en-v1.5"])
def test_a_query_prefix_that_an_old_database_lacks_is_turned_on_by_its_setting(shop: Shop) -> None:
    shop.ingest(query_prefix="")
    shop.age()
    costs = shop.estimate()
    assert costs.roles is not None
    assert (costs.roles.texts, costs.roles.tokens) == (0, 0)
    with pytest.raises(ConfigurationError, match=r"VECTOR_PIPELINE_QUERY_PREFIX to 'Represent"):
        shop.start()
    shop.billed()
    shop.search(query_prefix=costs.roles.query)
    assert shop.billed() == Counter([f"Represent this sentence for searching relevant passages: {QUESTION}"])


def test_vectors_for_programs_have_the_prefixes_too(shop: Shop) -> None:
    shop.ingest()
    shop.billed()
    with Corpus.open(shop.settings()) as corpus:
        corpus.embed(["one", "two"])
        corpus.embed(QUESTION, purpose="query")
    assert shop.billed() == Counter(["passage: one", "passage: two", f"query: {QUESTION}"])


@pytest.mark.parametrize("model", ["voyage-3.5-lite"])
def test_an_api_with_a_parameter_gets_it_with_each_text(shop: Shop) -> None:
    shop.ingest()
    shop.search()
    assert shop.billed() == Counter([BEES, LEAVE, QUESTION])
    assert shop.server.seen.parameters == Counter(
        [f"input_type=document {BEES}", f"input_type=document {LEAVE}", f"input_type=query {QUESTION}"]
    )


def test_a_server_that_does_not_know_the_parameter_is_named_with_what_helps(
    tmp_path: Path, fresh_database_url: str, folder: Path
) -> None:
    model = "voyage-3.5-lite"
    with serve(ServerConfig(model=model, dimensions=48, refuses_other_fields=True)) as server:
        shop = Shop(tmp_path, fresh_database_url, server, folder, model)
        (failure,) = shop.ingest().failures
        assert "input_type=document" in failure
        assert "VECTOR_PIPELINE_DOCUMENT_PREFIX" in failure
        assert shop.ingest(query_prefix="", document_prefix="").loaded == 2


def test_a_text_that_is_refused_is_quoted_without_the_prefix(
    tmp_path: Path, fresh_database_url: str, folder: Path
) -> None:
    with serve(ServerConfig(model=E5, dimensions=48, poison_word="honey")) as server:
        report = Shop(tmp_path, fresh_database_url, server, folder, E5).ingest()
    assert list(report.rejected) == ["bees.txt"]
    assert "beginning 'Bees make honey" in report.rejected["bees.txt"]


def test_a_chunk_leaves_room_for_the_prefix(shop: Shop) -> None:
    with pytest.raises(PipelineError, match=r"CHUNK_TOKENS is 8,192.* has 4 tokens.*to 8,188 or less"):
        shop.estimate(chunk_tokens=8_192)
    (failure,) = shop.ingest(chunk_tokens=8_192).failures
    assert "8,188 or less" in failure
    assert shop.ingest(chunk_tokens=8_188).loaded == 2
