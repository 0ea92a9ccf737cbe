"""No part of a password in what is shown of a URL, whatever signs it holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vector_pipeline.redaction import hide, holds_credentials, shown


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.example.com/v1", "https://api.example.com/v1"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
        ("http://[::1]:8080/v1", "http://[::1]:8080/v1"),
        ("https://me:secret@api.example.com/v1", "https://***@api.example.com/v1"),
        ("https://token@api.example.com/v1", "https://***@api.example.com/v1"),
        ("s3://AKIA:abc/def+ghi@bucket/texts", "s3://***@bucket/texts"),
        ("s3://bucket/at@home", "s3://bucket/at@home"),
        ("https://host/x?api-version=2024-10-21&sig=abc#frag", "https://host/x?api-version=2024-10-21&sig=***"),
        ("/a/folder", "/a/folder"),
        ("abfss://texts@account.dfs.core.windows.net/in", "abfss://texts@account.dfs.core.windows.net/in"),
        ("abfs://texts@account.blob.core.windows.net/?sig=abc", "abfs://texts@account.blob.core.windows.net/?sig=***"),
        ("abfss://me:secret@account.dfs.core.windows.net/in", "abfss://***@account.dfs.core.windows.net/in"),
        ("abfss://secret@another.example/in", "abfss://***@another.example/in"),
        ("https://secret@account.dfs.core.windows.net/in", "https://***@account.dfs.core.windows.net/in"),
        ("abfss://texts@account.dfs.core.windows.net:s@host/in", "abfss://***@host/in"),
    ],
)
def test_what_is_shown_of_a_url(url: str, expected: str) -> None:
    assert shown(url) == expected


@pytest.mark.parametrize(
    ("url", "held"),
    [
        ("s3://bucket/texts", False),
        ("s3://key:secret@bucket/texts", True),
        ("s3://AKIA:abc/def@bucket/texts", True),
        ("filecache::s3://key:secret@bucket/texts", True),
        ("https://host/list?sv=2024&sig=abc", True),
        ("https://host/list?X-Amz-Signature=abc", True),
        ("https://host/list?page=2", False),
        ("gs://bucket/tokens", False),
        ("/folder/a@b", False),
        ("abfss://texts@account.dfs.core.windows.net/in", False),
        ("abfs://$web@account.blob.core.chinacloudapi.cn", False),
        ("abfss://texts@account.dfs.core.windows.net/?sig=abc", True),
        ("abfss://texts:secret@account.dfs.core.windows.net/in", True),
        ("abfss://secret@another.example/in", True),
    ],
)
def test_whether_a_url_holds_credentials(url: str, held: bool) -> None:
    assert holds_credentials(url) is held


@given(st.text(st.sampled_from("ZQ@:/?#%&=. +"), min_size=4).filter(lambda s: "Z" in s))
def test_no_part_of_a_password_is_shown(password: str) -> None:
    assert "Z" not in shown(f"https://app:{password}@proxy.example:3128/x")
    if not any(sign in password for sign in " '\"<>"):
        assert "Z" not in hide(f"cannot reach https://app:{password}@proxy.example:3128/x, is it up?")


def test_a_secret_is_hidden_in_each_of_its_spellings() -> None:
    text = "for p@ss/w%rd and p%40ss%2Fw%25rd the server said no"
    assert hide(text, ["p@ss/w%rd"]) == "for *** and *** the server said no"


def test_the_address_of_a_database_stays_readable() -> None:
    line = (
        "Postgres at postgresql://app@10.0.0.1:5432/texts refuses; it looks like postgresql://user:password@host:5432/x"
    )
    assert hide(line) == line


@pytest.mark.parametrize(
    "parameter",
    [
        *(
            "AWSSecretAccessKey=s",
            "apikey=s",
            "api-key=s",
            "accesstoken=s",
            "access%5Fkey=s",
            "auth=s",
            "jwt=s",
            "code=s",
        ),
        *("X-Goog-Credential=s", "sv=1&sig=s", "Signature=s", "SharedAccessSignature=s", "private_key=s"),
    ],
)
@pytest.mark.parametrize("sign", ["?", "?ref=main&", ";", "#"])
def test_a_source_with_a_key_in_its_parameters_is_known(parameter: str, sign: str) -> None:
    assert holds_credentials(f"https://host/path{sign}{parameter}")


@pytest.mark.parametrize(
    "url",
    ["s3://bucket/monkey?key", "https://host/a;b/c?ref=main&page=2", "s3://bucket/token/a#1", "https://host/?encode=1"],
)
def test_a_source_without_one_is_not_refused(url: str) -> None:
    assert not holds_credentials(url)
