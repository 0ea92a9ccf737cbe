"""The dagster.yaml of a home: kept up to date while nobody edits it, and left alone from then on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import dagster as dg
import pytest
import yaml

from vector_pipeline.local import own_config
from vector_pipeline.local.instance import dagster_home
from vector_pipeline.local.own_config import bring_up_to_date
from vector_pipeline.settings import Settings


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return dagster_home(Settings.of(home=tmp_path)) / "dagster.yaml"


def test_a_new_home_is_up_to_date_and_dagster_takes_it(config: Path) -> None:
    assert bring_up_to_date(config) is None
    with dg.DagsterInstance.from_config(str(config.parent)) as instance:
        assert instance.run_monitoring_enabled


def test_what_an_earlier_version_wrote_is_brought_up_to_date(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = config.read_text()
    # As a version before this one would have written it.
    body = now.rpartition(f"\n{own_config.STAMP}")[0]
    config.write_text(own_config._stamped(body.replace("granularity: run", "granularity: op")))
    assert bring_up_to_date(config) == f"{config} is brought up to date"
    assert config.read_text() == now
    assert [path.name for path in config.parent.iterdir()] == ["dagster.yaml"]


def test_what_was_written_before_there_was_a_stamp_is_known(config: Path) -> None:
    """The first of them, from the package's own history: without it there is nothing to hold the digests against."""
    before = ["git", "show", "5a9cd02:vector_pipeline/defs/dagster.yaml"]
    done = subprocess.run(before, cwd=Path(own_config.__file__).parent, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not in a clone with its history")
    config.write_text(done.stdout)
    assert bring_up_to_date(config) == f"{config} is brought up to date"


def test_one_that_was_edited_is_left_alone_and_what_differs_is_said(config: Path) -> None:
    edited = config.read_text().replace("max_concurrent_runs: 3", "max_concurrent_runs: 9").replace("nux:", "# nux:")
    edited = edited.replace("  enabled: false\ntelemetry", "telemetry") + "\nmine: {own: 1}\n"
    config.write_text(edited)
    assert yaml.safe_load(edited)["mine"] == {"own": 1}
    said = bring_up_to_date(config)
    assert said is not None
    assert said.endswith("concurrency.runs.max_concurrent_runs: 3 (there: 9), nux (there: none)")
    assert config.read_text() == edited


@pytest.mark.parametrize("text", ["telemetry: {enabled: false}\n", "", "- a list\n"])
def test_one_of_the_users_own_is_no_business_of_ours(config: Path, text: str) -> None:
    config.write_text(text)
    assert bring_up_to_date(config) is None
    assert config.read_text() == text


def test_one_that_is_no_yaml_any_more_is_left_to_dagster(config: Path) -> None:
    broken = config.read_text() + "storage: [\n"
    config.write_text(broken)
    assert bring_up_to_date(config) is None
    assert config.read_text() == broken
