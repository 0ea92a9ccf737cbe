"""The embedding API as a resource: one configuration, however it was given."""

from __future__ import annotations

import time
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from vector_pipeline import OpenAIResource, build_definitions
from vector_pipeline.settings import Settings
from vector_pipeline_tests.support.openai_server import ServerConfig, serve
from vector_pipeline_tests.support.openai_server.embedding import vector_of


def test_settings_given_in_code_hold_for_other_peoples_assets(tmp_path: Path, fresh_database_url: str) -> None:
    """The environment names neither a server nor a key; the model has other dimensions, to be sure."""
    with serve(ServerConfig(key="sk-of-code", latency=0.05, tokens_per_minute=100_000_000)) as server:
        settings = Settings.of(
            home=tmp_path,
            database_url=fresh_database_url,
            openai_base_url=server.url,
            openai_api_key="sk-of-code",
            dimensions=256,
            max_inputs_per_request=2,
        )

        @dg.asset
        def titles(openai: OpenAIResource) -> None:
            np.testing.assert_allclose(openai.embed(["a title"] * 2 + ["b"])[2], vector_of("b", 256), atol=1e-6)
            openai.embed([f"title {n}" for n in range(6)])

        definitions = dg.Definitions.merge(build_definitions(settings), dg.Definitions([titles]))
        with dg.DagsterInstance.ephemeral() as instance:
            job = definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection={dg.AssetKey("titles")})
            assert job.execute_in_process(instance=instance).success
        assert server.seen.inputs_per_request == [2, 2, 2, 2]


@pytest.mark.parametrize("limit", [{"requests_per_minute": 60}, {"tokens_per_minute": 60}, {"max_in_flight": 1}])
def test_a_limit_given_in_code_is_held(limit: dict[str, int]) -> None:
    """The server allows more, and says so."""
    generous = ServerConfig(tokens_per_minute=100_000_000, requests_per_minute=100_000, latency=0.3)
    with serve(generous) as server:
        resource = OpenAIResource.of(
            Settings.of(openai_base_url=server.url, openai_api_key="sk-test", max_inputs_per_request=1, **limit)
        )
        began = time.monotonic()
        resource.embed(["one", "two", "three", "four"])
        if "max_in_flight" in limit:
            assert server.seen.most_in_flight == 1
        else:
            assert time.monotonic() - began > 2.0, "a request, or a token, each second"
