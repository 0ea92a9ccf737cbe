"""The home: this user's alone, made here, and without a part of a password in it."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from vector_pipeline.errors import ConfigurationError
from vector_pipeline.pipeline.home import MADE_HERE, USED_DATABASE, prepare_home, remember_database
from vector_pipeline.pipeline.pipeline import stage_base
from vector_pipeline.settings import Settings


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_home_is_made_for_this_user_alone_and_its_parents_stay_as_they_are(tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    parent.mkdir(mode=0o750)
    home = prepare_home(Settings.of(home=parent / "deep" / "home"))
    assert _mode(home) == 0o700
    assert _mode(parent) == 0o750
    remember_database(home, "postgresql://app@h/x")
    assert _mode(home / USED_DATABASE) == 0o600


def test_a_home_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    home.chmod(0o755)
    prepare_home(Settings.of(home=home))
    assert _mode(home) == 0o750


def test_a_home_that_came_with_a_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = tmp_path / "shipped"
    data = shipped / ".vector_pipeline" / "postgres" / "data"
    data.mkdir(mode=0o700, parents=True)
    (data / "PG_VERSION").write_text("18\n")
    os.utime(data / "PG_VERSION", (1, 1))  # as an archive keeps the time of what it was packed from
    (shipped / ".vector_pipeline" / MADE_HERE).write_text("12345\n")
    monkeypatch.chdir(shipped)
    with pytest.raises(ConfigurationError, match=r"was not made on this machine by this user.*VECTOR_PIPELINE_HOME="):
        prepare_home(Settings.of())
    # The advice helps: what is named is meant.
    prepare_home(Settings.of(home=shipped / ".vector_pipeline"))
    prepare_home(Settings.of())


def test_a_home_whose_data_others_could_read_was_not_made_by_postgres(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `git clone` makes folders."""
    data = tmp_path / ".vector_pipeline" / "postgres" / "data"
    data.mkdir(parents=True)
    data.chmod(0o755)
    (data / "PG_VERSION").write_text("18\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="was not made on this machine"):
        prepare_home(Settings.of())


def test_a_home_of_an_earlier_version_goes_on_working(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / ".vector_pipeline" / "postgres" / "data"
    data.mkdir(mode=0o700, parents=True)
    (data / "PG_VERSION").write_text("18\n")
    monkeypatch.chdir(tmp_path)
    prepare_home(Settings.of())
    assert (tmp_path / ".vector_pipeline" / MADE_HERE).exists()


def test_a_home_that_was_copied_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    monkeypatch.chdir(first)
    home = prepare_home(Settings.of())
    (home / "postgres").mkdir()
    shutil.copytree(first, second)
    monkeypatch.chdir(second)
    with pytest.raises(ConfigurationError, match="was not made on this machine"):
        prepare_home(Settings.of())


@pytest.mark.parametrize(
    ("kept", "shown"),
    [
        ("postgresql://app:Xy7?mB2", "postgresql://***"),
        ("postgresql://app:Xy7/mB2qq@127.0.0.1:5432/texts", "postgresql://***"),
        ("postgresql://app@127.0.0.1:5432/texts", "postgresql://***@127.0.0.1:5432/texts"),
        ("postgresql://app:1234", "postgresql://***"),
    ],
)
def test_what_an_earlier_version_kept_of_a_password_is_removed(tmp_path: Path, kept: str, shown: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / USED_DATABASE).write_text(kept + "\n")
    with pytest.raises(ConfigurationError) as refused:
        prepare_home(Settings.of(home=home))
    assert f"was last used with {shown}: set it" in str(refused.value)
    assert (home / USED_DATABASE).read_text().splitlines()[0] == shown


@pytest.mark.parametrize("setting", ["home", "dagster_home"])
def test_a_path_that_dagster_cannot_use_is_refused(tmp_path: Path, setting: str) -> None:
    settings = Settings.of(**{"home": tmp_path / "home", setting: tmp_path / "what?" / "home"})
    with pytest.raises(ConfigurationError, match=r"_HOME is '.*what\?/home': Dagster cannot keep its files"):
        prepare_home(settings)
    assert not (tmp_path / "what?").exists()


@pytest.mark.parametrize("url", ["s3://AKIA:abc/def@bucket/stages", "abfs://c/stages?sig=abc/def"])
def test_a_storage_url_with_credentials_is_refused_without_showing_them(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"VECTOR_PIPELINE_STORAGE is '.*' and holds credentials") as refused:
        stage_base(Settings.of(home=tmp_path, storage=url))
    assert "abc" not in str(refused.value)
    assert "def" not in str(refused.value)
