"""The names that a pipeline has in Dagster: stable without a prefix, and apart from those of any other pipeline."""

from __future__ import annotations

from itertools import chain

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vector_pipeline.defs.names import Names

PREFIXES = st.text("ab_", min_size=1, max_size=4)


def all_names(names: Names) -> list[str]:
    """The names of everything that is in one namespace with those of other pipelines, or at least beside them."""
    return [*names.jobs, *names.sensors, *names.schedules, *names.resources, *names.pools, names.arrivals.name or ""]


def test_names_without_a_prefix_are_those_that_scripts_use() -> None:
    names = Names()
    assert names.jobs == ["scan", "ingest", "index", "batches"]
    assert [key.to_user_string() for key in names.assets] == [
        "source_files",
        "documents",
        "chunks",
        "token_batches",
        "embeddings",
        "document_rows",
        "vector_index",
    ]
    assert names.arrivals.name == "arrivals"
    assert (names.group, names.key_prefix) == ("vector_pipeline", None)


def test_a_prefix_stands_in_front_of_every_name() -> None:
    names = Names("law")
    assert all(name.startswith("law_") for name in all_names(names))
    assert {key.path[0] for key in names.assets} == {"law"}
    assert {check.asset_key.path[0] for check in names.checks} == {"law"}
    assert names.group == "law"


@settings(max_examples=25)
@given(st.sets(PREFIXES, min_size=2, max_size=4))
def test_pipelines_of_different_names_share_none(prefixes: set[str]) -> None:
    pipelines = [Names(), *map(Names, sorted(prefixes))]
    for kind in ("jobs", "sensors", "schedules", "resources", "pools", "assets", "checks"):
        found = list(chain.from_iterable(getattr(names, kind) for names in pipelines))
        assert len(set(found)) == len(found), kind
    assert len({names.arrivals.name for names in pipelines}) == len(pipelines)


@pytest.mark.parametrize(
    ("asset_prefix", "key"),
    [(None, ["law", "chunks"]), ((), ["chunks"]), (("search", "law"), ["search", "law", "chunks"])],
)
def test_asset_keys_may_have_a_prefix_of_their_own(asset_prefix: tuple[str, ...] | None, key: list[str]) -> None:
    names = Names("law", asset_prefix)
    assert names.asset("chunks") == dg.AssetKey(key)
    assert names.key_prefix == (key[:-1] or None)
    assert names.of("ingest") == "law_ingest"
    assert dg.AssetCheckKey(names.asset("vector_index"), "recall") in names.checks
