from __future__ import annotations

from pathlib import Path

import pytest

from vector_pipeline.errors import ConfigurationError
from vector_pipeline.settings import Settings, variable


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VECTOR_PIPELINE_CHUNK_TOKENS", "0"),
        ("VECTOR_PIPELINE_CHUNK_TOKENS", "many"),
        ("VECTOR_PIPELINE_TIER", "9"),
        ("VECTOR_PIPELINE_SCHEMA", "pg_catalog"),
        ("VECTOR_PIPELINE_NAME", "a-b"),
        ("VECTOR_PIPELINE_MAX_DELETED_SHARE", "1.5"),
        ("VECTOR_PIPELINE_BACKFILL_CRON", "nightly"),
        ("VECTOR_PIPELINE_DIMENSIONS", "4001"),
        ("OPENAI_BASE_URL", "localhost:8000"),
        ("VECTOR_PIPELINE_EVENTS_URL", "arn:aws:sqs:eu-west-1:123456789012:texts"),
        ("VECTOR_PIPELINE_EVENTS_URL", "https://sqs.eu-west-1.amazonaws.com"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_variable_and_value(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environment({name: value})
    assert name in str(caught.value)
    assert value in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_misspelt_variable_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigurationError, match="did you mean VECTOR_PIPELINE_CHUNK_TOKENS"):
        Settings.from_environment({"VECTOR_PIPELINE_CHUNK_TOKEN": "100"})


def test_a_model_without_a_key_or_base_url_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        Settings.from_environment({"VECTOR_PIPELINE_MODEL": "text-embedding-3-large"})


def test_overlap_must_be_smaller_than_a_chunk() -> None:
    with pytest.raises(ConfigurationError, match="CHUNK_OVERLAP"):
        Settings.from_environment({"VECTOR_PIPELINE_CHUNK_OVERLAP": "400"})


def test_secrets_are_shown_nowhere() -> None:
    secret = "sk-very-secret"
    settings = Settings.from_environment({"OPENAI_API_KEY": secret, "DATABASE_URL": f"postgresql://u:{secret}@h/d"})
    assert secret not in repr(settings)
    assert secret not in settings.model_dump_json()
    with pytest.raises(ConfigurationError, match="leave credentials to the environment") as of_queue:
        Settings.from_environment({"VECTOR_PIPELINE_EVENTS_URL": f"https://me:{secret}@sqs.example/123456789012/q"})
    assert secret not in str(of_queue.value)
    with pytest.raises(ConfigurationError, match="OPENAI_BASE_URL") as caught:
        Settings.from_environment({"OPENAI_BASE_URL": f"htp://me:{secret}@host/v1"})
    assert secret not in str(caught.value)


def test_a_prefix_is_taken_as_it_is_and_an_empty_one_means_none() -> None:
    named = {"VECTOR_PIPELINE_QUERY_PREFIX": "query: ", "VECTOR_PIPELINE_DOCUMENT_PREFIX": ""}
    found = Settings.from_environment(named)
    assert (found.query_prefix, found.document_prefix) == ("query: ", "")
    assert (Settings.from_environment({}).query_prefix, Settings.of(query_prefix=" \n").query_prefix) == (None, " \n")
    for wrong in ("a\ud800", "a\0", "a" * 1_001):
        with pytest.raises(ConfigurationError, match="VECTOR_PIPELINE_QUERY_PREFIX"):
            Settings.from_environment({"VECTOR_PIPELINE_QUERY_PREFIX": wrong})


def test_every_variable_is_documented() -> None:
    text = (Path(__file__).parents[1] / "docs" / "configuration.md").read_text()
    assert not [name for name in Settings.model_fields if f"`{variable(name)}`" not in text]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("/srv/texts", ("/srv/texts",)),
        (" /srv/a, b \n\n s3://texts/law\n/srv/a, b", ("/srv/a, b", "s3://texts/law")),
        (["/srv/a", Path("/srv/b")], ("/srv/a", "/srv/b")),
        (None, ()),
    ],
)
def test_a_pipeline_may_have_several_sources(source: object, expected: tuple[str, ...]) -> None:
    assert Settings.of(source=source).sources == expected
