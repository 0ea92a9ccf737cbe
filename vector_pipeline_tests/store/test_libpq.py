"""What is shown of a database's URL is what libpq understood of it, less each secret."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import pq

from vector_pipeline.errors import ConfigurationError
from vector_pipeline.store import libpq


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://app:Xy7?mB2#qq@127.0.0.1:5432/texts", "postgresql://app@127.0.0.1:5432/texts"),
        ("postgresql://app:Xy7/mB2qq@127.0.0.1:5432/texts", "postgresql://***@127.0.0.1:5432/texts"),
        ("postgresql://app:Xy7@mB2qq@127.0.0.1:5432/texts", "postgresql://***@127.0.0.1:5432/texts"),
        ("postgresql://me%40work:p%40ss@[::1]:5432/my%20db", "postgresql://me%40work@[::1]:5432/my%20db"),
        ("postgresql://h/db?password=pa@ss&sslmode=require", "postgresql://h/db?sslmode=require"),
        ("postgresql://u:p@h/db?sslpassword=s&passfile=f&application_name=a@b", "postgresql://u@h/db"),
        ("host=h password='s e c' user=u dbname=d port=5", "postgresql://u@h:5/d"),
        ("postgresql://u:p@h1:1,h2:2/x", "postgresql://u@h1:1,h2:2/x"),
        ("postgresql://u:p@/x?host=/run/pg", "postgresql://u@/x?host=%2Frun%2Fpg"),
        ("mysql://u:verysecret@h/x", "postgresql://***"),
    ],
)
def test_what_is_shown_of_a_database(url: str, expected: str) -> None:
    assert libpq.shown(url) == expected


@given(st.text(st.sampled_from("ZQ@:/?#%&=. +"), min_size=4).filter(lambda s: "Z" in s))
def test_no_part_of_a_password_is_shown(password: str) -> None:
    url = f"postgresql://app:{password}@127.0.0.1:5432/texts"
    assert "Z" not in libpq.shown(url)
    said = ""
    try:
        libpq.parameters(url)
    except ConfigurationError as error:
        said = str(error)
    assert "Z" not in said


@pytest.mark.parametrize("password", ["p%E9ss", "p\udce9ss"])
def test_a_password_that_is_not_utf8_is_one_line(password: str) -> None:
    url = f"postgresql://app:{password}@127.0.0.1:5432/texts"
    with pytest.raises(ConfigurationError, match="é as %C3%A9") as refusal:
        libpq.parameters(url)
    assert refusal.value.__cause__ is None
    assert "ss" not in libpq.shown(url) + "".join(libpq.secrets(url))
    assert libpq.parameters(url.replace(password, "p%C3%A9ss"))["password"] == "péss"


def test_a_parameter_of_another_library_is_named() -> None:
    with pytest.raises(ConfigurationError, match="the parameter 'pgbouncer', which is another library's"):
        libpq.parameters("postgresql://a:b@h/x?pgbouncer=true")


def test_every_variable_of_libpq_has_something_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar}
    for name in names | {"PGTZ", "PGDATESTYLE", "PGGEQO", "PGSERVICEFILE"}:
        monkeypatch.setenv(name, "nonsense")
    neutral = libpq.neutral_parameters()
    assert "nonsense" not in neutral.values()
    covered = {o.envvar.decode() for o in pq.Conninfo.get_defaults() if o.envvar and o.keyword.decode() in neutral}
    with libpq.without_variables():
        assert {name for name, value in os.environ.items() if value == "nonsense"} <= covered
    assert os.environ["PGSERVICE"] == "nonsense"
