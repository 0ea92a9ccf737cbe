"""The MCP server as a client has it: a process on two pipes, asked with the protocol's own client."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import unicodedata
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from mcp import Client, StdioServerParameters, stdio_client
from mcp.types import CallToolResult, TextContent

from vector_pipeline_tests.support.pipelines import Ingest
from vector_pipeline_tests.support.proxy import proxy_to

T = TypeVar("T")

DOCUMENT = "\n\n".join(
    f"Paragraph {n} of the long report. " + "It says a little more. " * 11 + "End." for n in range(30)
)
PAGES = {
    "휴가/연차.md": "# 연차 휴가\n\n연차휴가는 일 년에 열다섯 일입니다. 회원은 누구나 쓸 수 있습니다.",
    "leave/days.md": "# Leave\n\nEmployees take fifteen days of leave a year. Unused days lapse in March.",
    "ops/errors.txt": "ERR-4012 means that the queue is full. ERR-4013 means that nobody listens.",
    "long/report.txt": DOCUMENT,
    "ops/records.jsonl": '{"id": "a#1", "text": "The valve is open."}\n{"id": "b", "text": "The valve is shut."}\n',
}
PASSWORD = "a-password-that-nobody-may-see"


@pytest.fixture
def pages(tmp_path: Path, run: Ingest) -> Path:
    folder = tmp_path / "pages"
    for name, text in PAGES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    run(folder)
    return folder


def server(tmp_path: Path, database_url: str, **environment: str) -> StdioServerParameters:
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "vector_pipeline.cli", "mcp"],
        env={"DATABASE_URL": database_url, "VECTOR_PIPELINE_HOME": str(tmp_path / "home"), **environment},
        cwd=tmp_path,
    )


def with_client(parameters: StdioServerParameters, log: Path, ask: Callable[[Client], Awaitable[T]]) -> T:
    """What a client finds out. A line on the server's stdout that is not the protocol's would fail here."""

    async def main() -> T:
        with log.open("w") as errors:
            async with Client(stdio_client(parameters, errlog=errors), read_timeout_seconds=60) as client:
                return await ask(client)

    return asyncio.run(main())


def said(result: CallToolResult) -> str:
    """The one text of a failed call, which is a line."""
    (content,) = result.content
    assert isinstance(content, TextContent)
    assert result.is_error, content.text
    assert "\n" not in content.text
    assert "Traceback" not in content.text
    return content.text


async def call(client: Client, tool: str, **arguments: Any) -> CallToolResult:
    result = await client.call_tool(tool, arguments)
    assert isinstance(result, CallToolResult)
    return result


async def found(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await call(client, tool, **arguments)
    assert not result.is_error, result.content
    assert isinstance(result.structured_content, dict)
    return result.structured_content


def test_the_tools_say_what_they_return(tmp_path: Path, fresh_database_url: str) -> None:
    async def ask(client: Client) -> dict[str, Any]:
        return {tool.name: tool for tool in (await client.list_tools()).tools}

    tools = with_client(server(tmp_path, fresh_database_url), tmp_path / "log", ask)
    assert set(tools) == {"search", "get_document", "neighbours", "status"}
    for tool in tools.values():
        assert "Returns `" in tool.description
        assert tool.annotations.read_only_hint
        assert all("description" in value for value in tool.input_schema["properties"].values())
    assert set(tools["search"].input_schema["properties"]) == {
        *("query", "k", "mode", "source", "root", "where", "context")
    }
    assert (tmp_path / "log").read_text() == ""


def test_it_finds_and_reads_in_both_languages(tmp_path: Path, pages: Path, fresh_database_url: str) -> None:
    async def ask(client: Client) -> None:
        english = await found(client, "search", query="how many days of leave do employees have", k=2)
        assert english["results"][0]["source"] == "leave/days.md"
        assert english["results"][0]["root"] == str(pages)
        korean = (await found(client, "search", query="휴가는 며칠인가요?", k=1, context=1))["results"][0]
        assert korean["source"] == "휴가/연차.md"
        assert "열다섯 일" in korean["context"]
        (by_words,) = (await found(client, "search", query="ERR-4012", mode="words", source="ops/*"))["results"]
        assert by_words["distance"] is None
        filtered = await found(client, "search", query="days", where={"headings": ["Leave"]}, root=str(pages))
        assert [result["source"] for result in filtered["results"]] == ["leave/days.md"]
        read = (await found(client, "get_document", document_id=korean["document_id"]))["page"]
        assert read["text"] == PAGES["휴가/연차.md"]
        status = await found(client, "status")
        assert (status["roots"], status["files"]["loaded"], status["rejected"]) == ([str(pages)], 5, [])

    with_client(server(tmp_path, fresh_database_url), tmp_path / "log", ask)
    assert (tmp_path / "log").read_text() == ""


def test_a_document_is_read_page_by_page_and_around_a_chunk(
    tmp_path: Path, pages: Path, fresh_database_url: str
) -> None:
    async def ask(client: Client) -> None:
        name = {"document_id": "long/report.txt"}
        text, start, count = "", 0, 0
        while start is not None:
            page = (await found(client, "get_document", **name, start=start, characters=1_700))["page"]
            assert (page["start"], len(page["text"])) == (start, min(1_700, len(DOCUMENT.rstrip()) - start))
            text, start, count = text + page["text"], page["next_start"], count + 1
        assert text == DOCUMENT.rstrip()
        assert count == -(-len(text) // 1_700)
        assert page["chunks"] > 2
        around = (await found(client, "neighbours", **name, chunk_index=1))["chunks"]
        assert [chunk["chunk_index"] for chunk in around] == [0, 1, 2]
        assert all(text[c["start_char"] : c["end_char"]] == c["page_content"] for c in around)
        assert (await found(client, "neighbours", **name, chunk_index=0, before=20, after=0))["chunks"] == around[:1]
        # A record's own name may hold the sign that separates it from its file; macOS writes Korean names in parts.
        record = (await found(client, "get_document", document_id="ops/records.jsonl#a#1"))["page"]
        assert record["text"] == "The valve is open."
        in_parts = unicodedata.normalize("NFD", "휴가/연차.md")
        assert in_parts != "휴가/연차.md"
        read = (await found(client, "get_document", document_id=in_parts))["page"]
        assert read["document_id"] == "휴가/연차.md"

    with_client(server(tmp_path, fresh_database_url), tmp_path / "log", ask)


def test_two_roots_with_a_document_of_one_name_are_told_apart(
    tmp_path: Path, pages: Path, run: Ingest, fresh_database_url: str
) -> None:
    other = tmp_path / "other"
    (other / "ops").mkdir(parents=True)
    (other / "ops/errors.txt").write_text("ERR-4012 is something else here.")
    run(other)

    async def ask(client: Client) -> None:
        line = said(await call(client, "get_document", document_id="ops/errors.txt"))
        assert f"'{pages}'" in line
        assert f"'{other}'" in line
        read = (await found(client, "get_document", document_id="ops/errors.txt", root=str(other)))["page"]
        assert read["text"] == "ERR-4012 is something else here."

    with_client(server(tmp_path, fresh_database_url), tmp_path / "log", ask)


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("search", {}, "query: field required"),
    ("search", {"query": " "}, "the query is empty; ask something"),
    ("search", {"query": "bees", "k": 0}, "k is 0: input should be greater than or equal to 1"),
    ("search", {"query": "bees", "k": "many"}, "k is 'many': input should be a valid integer"),
    ("search", {"query": "bees", "mode": "guess"}, "mode is 'guess': input should be 'auto', 'hybrid', 'words' or"),
    ("search", {"query": "bees", "sources": "hr/*"}, "search has no argument 'sources'; it has context, k, mode, "),
    ("search", {"query": "bees", "where": "x"}, "where is 'x': input should be a valid dictionary"),
    ("search", {"query": "bees", "root": "/nowhere"}, "nothing was ingested from '/nowhere'; there is '/"),
    ("get_document", {"document_id": "no/such.txt"}, "no document 'no/such.txt' is loaded; use the document_id of"),
    ("get_document", {"document_id": "a\0b"}, r"no document 'a\x00b' is loaded"),
    ("get_document", {"document_id": "ops/errors.txt", "start": 10**9}, "start is 1,000,000,000, but 'ops/errors.txt'"),
    ("neighbours", {"document_id": "ops/errors.txt", "chunk_index": 99}, "there is no chunk 99 in 'ops/errors.txt', "),
    ("neighbours", {"document_id": "ops/errors.txt", "chunk_index": -1}, "chunk_index is -1: input should be greater"),
    ("status", {"verbose": True}, "status has no argument 'verbose'; it has none"),
    ("drop", {}, "Unknown tool: drop"),
]


def test_what_is_wrong_is_one_line_and_the_next_call_is_answered(
    tmp_path: Path, pages: Path, fresh_database_url: str
) -> None:
    async def ask(client: Client) -> None:
        for tool, arguments, line in WRONG:
            assert said(await call(client, tool, **arguments)).startswith(line), (tool, arguments)
        assert (await found(client, "search", query="ERR-4012"))["results"]

    with_client(server(tmp_path, fresh_database_url), tmp_path / "log", ask)
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_postgres_that_is_away_is_a_line_of_each_call_until_it_is_back(
    tmp_path: Path, pages: Path, fresh_database_url: str
) -> None:
    async def ask(client: Client) -> None:
        with proxy.away():
            lines = [said(await call(client, "search", query="ERR-4012")) for _ in range(2)]
        assert (await found(client, "search", query="ERR-4012"))["results"]
        with proxy.away():
            lines.append(said(await call(client, "search", query="ERR-4012")))
            lines.append(said(await call(client, "get_document", document_id="ops/errors.txt")))
            lines.append(said(await call(client, "status")))
        assert all("Postgres" in line for line in lines), lines
        assert (await found(client, "search", query="ERR-4012"))["results"]

    with proxy_to(fresh_database_url) as proxy:
        with_client(server(tmp_path, proxy.url), tmp_path / "log", ask)
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_it_starts_without_postgres_and_says_so_without_the_password(tmp_path: Path) -> None:
    url = f"postgresql://reader:{PASSWORD}@127.0.0.1:1/texts"

    async def ask(client: Client) -> None:
        for _ in range(2):
            line = said(await call(client, "search", query="bees"))
            assert "127.0.0.1" in line
            assert PASSWORD not in line
        said(await call(client, "status"))

    with_client(server(tmp_path, url), tmp_path / "log", ask)
    assert PASSWORD not in (tmp_path / "log").read_text()


def test_an_empty_database_is_named(tmp_path: Path, fresh_database_url: str) -> None:
    async def ask(client: Client) -> None:
        assert said(await call(client, "search", query="bees")).startswith("nothing was ever embedded")
        assert (await found(client, "status"))["rows"] == 0

    with_client(server(tmp_path, fresh_database_url), tmp_path / "log", ask)


def start(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "VECTOR_PIPELINE_HOME": str(tmp_path / "home"), **environment},
        input="",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_wrong_setting_ends_it_at_once(tmp_path: Path) -> None:
    done = start(tmp_path, "-m", "vector_pipeline.cli", "mcp", VECTOR_PIPELINE_TIER="9")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("vector-pipeline: VECTOR_PIPELINE_TIER is '9'")


def test_it_ends_when_the_client_is_gone(tmp_path: Path) -> None:
    done = start(tmp_path, "-m", "vector_pipeline.cli", "mcp")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


WITHOUT_THE_EXTRA = """
import sys
sys.modules["mcp"] = None
sys.argv = ["vector-pipeline", "mcp"]
from vector_pipeline.cli import main
main()
"""


def test_a_missing_extra_is_one_line_with_its_command(tmp_path: Path) -> None:
    done = start(tmp_path, "-c", WITHOUT_THE_EXTRA)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "vector-pipeline: the MCP server needs another package, in version 2 or later: "
        "`pip install 'vector-pipeline[mcp]'`\n"
    )
