"""Azure Blob Storage through adlfs: the same files as `find` lists, side by side in accounts whose order is known."""

from __future__ import annotations

from typing import Any

import fsspec
import pytest
from azure.core.exceptions import ResourceNotFoundError

from vector_pipeline.errors import SourceError
from vector_pipeline.sources import azure
from vector_pipeline.sources.opening import open_source
from vector_pipeline_tests.support.azure_server import AzureServer
from vector_pipeline_tests.support.made_stores import made_keys
from vector_pipeline_tests.support.opened_store import Found, files, opened

NAMES = ["a.txt", "in/a b&<c>.txt", "in/deep/er.md", "in/한글.txt", "in/（주）.txt", "in/😀.txt", "in-1.txt", "in.txt"]
DIRECTORIES = {
    "in": {"hdi_isfolder": "true"},
    "in/deep": {"Hdi_isfolder": "true"},
    "in/other": {"is_directory": "true"},
    "in/no.txt": {"is_directory": "false", "hdi_isfolder": "true"},
}


@pytest.mark.parametrize("is_hierarchical", [False, True])
@pytest.mark.parametrize(
    "url", ["az://texts", "abfs://texts/in", "abfss://texts/in/", "abfss://texts@account.dfs.core.windows.net/in"]
)
def test_files_are_those_that_find_lists(monkeypatch: pytest.MonkeyPatch, url: str, is_hierarchical: bool) -> None:
    """Otherwise all of them would be loaded once more after an upgrade."""
    server = AzureServer(NAMES, page=3, directories=DIRECTORIES, is_hierarchical=is_hierarchical)
    with opened(server, monkeypatch, url) as source:
        listed = files(source)
        assert listed == files(Found(source.root, source.filesystem, source.prefix))
        assert len(listed) == (9 if url == "az://texts" else 6)
        assert [item.path for item in listed] == sorted(item.path for item in listed)
        for item in listed:
            assert item.size
            assert item.modified > 1.79e9
            assert source.look_at(item.path) == item
            assert source.fingerprint(item.path) == item.fingerprint
            with source.open(item.path) as file:
                assert file.read().decode().endswith(item.path)


def test_names_that_are_not_allowed_in_xml_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(AzureServer(["a\x01b.txt", "c\ufffe%41.txt"]), monkeypatch, "az://texts") as source:
        assert [item.path for item in files(source)] == ["a\x01b.txt", "c\ufffe%41.txt"]


def test_a_name_with_a_slash_at_its_end_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """adlfs lists it as a file without the slash, which cannot be opened."""
    with opened(AzureServer(["in/", "in/a.txt"]), monkeypatch, "az://texts") as source:
        assert [item.path for item in files(source)] == ["in/a.txt"]


@pytest.mark.slow
def test_a_large_container_is_listed_by_requests_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = sorted([*made_keys(8_000), "mail/（주）.txt", "mail/😀.txt"])
    server = AzureServer(keys, 0.02, page=100, directories={"mail": {"hdi_isfolder": "true"}})
    with opened(server, monkeypatch, "az://texts") as source:
        assert [item.path for item in files(source)] == keys
    assert server.most_under_way >= 4
    assert server.requests[5_000] <= 200  # of 81 pages, and some that begin parts: how many is a matter of timing


@pytest.mark.slow
@pytest.mark.parametrize("account", [{"is_hierarchical": True}, {"is_open": False}])
def test_a_container_whose_order_is_not_known_is_listed_by_one_chain(
    monkeypatch: pytest.MonkeyPatch, account: dict[str, Any]
) -> None:
    keys = sorted(made_keys(6_000) + [f"wiki/pages-{n:03}.txt" for n in range(100)])
    server = AzureServer(keys, page=100, **account)
    with opened(server, monkeypatch, "az://texts") as source:
        assert [item.path for item in files(source)] == keys
    assert server.requests == {5_000: 61}


@pytest.mark.slow
def test_a_service_that_cannot_begin_anywhere_is_listed_by_one_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version of the service before 2026-02-06 does not know startFrom, and begins with the first file."""
    keys = made_keys(6_000)
    server = AzureServer(keys, page=100, begins_anywhere=False)
    with opened(server, monkeypatch, "az://texts") as source:
        assert [item.path for item in files(source)] == keys
    assert server.requests[5_000] == 60


@pytest.mark.slow
def test_an_sdk_that_cannot_begin_anywhere_lists_by_one_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azure, "sdk", "12.27.1")
    keys = made_keys(6_000)
    server = AzureServer(keys, page=100)
    with opened(server, monkeypatch, "az://texts") as source:
        assert [item.path for item in files(source)] == keys
    assert server.requests == {5_000: 60}


def test_what_cannot_be_listed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(AzureServer(NAMES), monkeypatch, "az://texts"):
        for url, reason in {
            "az://nowhere": "does not exist$",
            "az://secret": "cannot be listed: This request is not authorized",
            "az://texts/nothing": "does not exist$",
            "az://texts/a.txt": "is a file; give the folder that holds it$",
        }.items():
            with pytest.raises(SourceError, match=f"source '{url}' {reason}"):
                files(open_source(url))  # type: ignore[arg-type]


def test_a_container_that_vanishes_during_a_listing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """If it counted as empty, all its files would be taken for deleted."""
    with opened(AzureServer(NAMES), monkeypatch, "az://texts") as source:
        gone = azure.Container(source.filesystem, "nowhere", "")
        assert gone.page().entries == []
        with pytest.raises(ResourceNotFoundError):
            gone.page(after="a.txt")


def test_an_empty_container_has_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(AzureServer([]), monkeypatch, "az://texts") as source:
        assert files(source) == []


def test_a_file_system_of_another_kind_is_listed_by_find() -> None:
    assert azure.Container.of(fsspec.filesystem("memory"), "texts") is None
