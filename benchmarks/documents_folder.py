"""A folder of 500 mixed documents from files to searchable rows, beside LlamaIndex and LangChain.

    python -m benchmarks.documents_folder FOLDER [--files 500] [--ways ours,llama_index,langchain]

Each way gets an empty database on one embedded server, embeds with the same model (wordllama) and runs in processes of
its own. The other libraries are installed into a virtual environment in FOLDER, which is kept and used again. What is
counted stands in the rows: the files that have any, and the known lines of the complete files. Memory is the sum over
the way's processes, without Postgres. docs/benchmarks/documents.md has the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import venv
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import psutil
import psycopg

from benchmarks.documents import words
from vector_pipeline.store.embedded.server import EmbeddedServer
from vector_pipeline_tests.formats.made import page_of, pdf, sentences
from vector_pipeline_tests.formats.made_office import docx, hwpx, odp, odt, package, pptx, xlsx

OURS = "ours"
TITLES = {OURS: "`vector-pipeline ingest`", "llama_index": "LlamaIndex", "langchain": "LangChain"}
ROWS = {
    OURS: "SELECT source, page_content FROM document_chunks ORDER BY source, document_id, chunk_index",
    "llama_index": "SELECT metadata_->>'file_name', text FROM data_chunks ORDER BY id",
    "langchain": "SELECT langchain_metadata->>'source', content FROM chunks ORDER BY ctid",
}
PACKAGES = (
    "llama-index-core llama-index-readers-file llama-index-vector-stores-postgres pypdf python-docx docx2txt "
    "python-pptx openpyxl pandas EbookLib html2text striprtf nbconvert langchain-community langchain-postgres "
    "langchain-text-splitters beautifulsoup4 wordllama psycopg[binary] pgvector"
).split()


def make_folder(folder: Path, count: int) -> dict[str, list[str]]:
    """Documents of ten kinds with the lines that are to be found in each; one in ten is damaged and has none."""
    makers: dict[str, Callable[[list[str]], bytes]] = {
        ".pdf": lambda lines: pdf([page_of(["# Report", *lines[part::3]], header="A report") for part in range(3)]),
        ".docx": lambda lines: docx(["# Report", *lines, [["Item", "Price"], ["Island", "12"]]]),
        ".pptx": lambda lines: pptx([("Slide", line) for line in lines]),
        ".xlsx": lambda lines: xlsx({"Fares": [["Item", "Note"], *(["x", line] for line in lines)]}),
        ".odt": lambda lines: odt("".join(f"<text:p>{line}</text:p>" for line in lines)),
        ".odp": odp,
        ".hwpx": lambda lines: hwpx(["# 보고", *lines]),
        ".eml": _mail,
        ".epub": _book,
        ".ipynb": _notebook,
    }
    expected = {}
    for number in range(count):
        suffix = list(makers)[number % len(makers)]
        lines = [line for part in range(6) for line in sentences(1_000 * number + part).split("\n")]
        data = makers[suffix](lines)
        name = f"{number:03d}{suffix}"
        if number % 20 == 19 or number % 20 == 10:
            data, lines = data[: len(data) // 3], []
        (folder / name).write_bytes(data)
        expected[name] = lines
    return expected


def _notebook(lines: list[str]) -> bytes:
    return json.dumps({"cells": [{"cell_type": "markdown", "source": line} for line in lines]}).encode()


def _mail(lines: list[str]) -> bytes:
    mail = EmailMessage()
    mail["Subject"], mail["From"] = "Report", "keeper@example.org"
    mail.set_content("\n".join(lines[::2]))
    mail.add_attachment(docx(lines[1::2]), maintype="application", subtype="octet-stream", filename="a.docx")
    return mail.as_bytes()


def _book(lines: list[str]) -> bytes:
    return package(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": (
                '<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile '
                'full-path="book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
            ),
            "book.opf": (
                '<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata/><manifest>'
                '<item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest>'
                '<spine><itemref idref="a"/></spine></package>'
            ),
            "a.xhtml": f"<html><body><h1>Report</h1>{''.join(f'<p>{line}</p>' for line in lines)}</body></html>",
        }
    )


@dataclass(frozen=True, slots=True)
class Run:
    """What a way took, and the text of its rows by file."""

    seconds: float
    cpu: float
    memory: int
    rows: int
    texts: dict[str, str]


def run_way(way: str, peers: Path, folder: Path, state: Path, url: str) -> Run:
    """Run a way once on an empty database."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    if way == OURS:
        command = [str(Path(sys.executable).with_name("vector-pipeline")), "ingest", str(folder), "--json"]
        environment = kept | {"VECTOR_PIPELINE_HOME": str(state), "DATABASE_URL": url}
    else:
        parts = urlsplit(url)
        task = {
            "folder": str(folder),
            "host": parse_qs(parts.query)["host"][0],
            "database": parts.path.removeprefix("/"),
        }
        script = Path(__file__).parent / "documents_peers" / "run.py"
        command = [str(peers / "venv" / "bin" / "python"), str(script), way, json.dumps(task)]
        quiet = {"PYTHONWARNINGS": "ignore", "ANONYMIZED_TELEMETRY": "false"}
        environment = kept | quiet | {"PGPASSWORD": unquote(parts.password or "")}
    began = time.monotonic()
    before = os.times()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, env=environment, cwd=state, stdout=output, stderr=output)
        with _watched(process.pid) as most:
            code = process.wait()
        seconds, after = time.monotonic() - began, os.times()
        if code > (way == OURS):  # ours ends with 1, because it names what it rejected
            output.seek(0)
            raise SystemExit(f"{way} ended with {code}:\n{output.read().decode(errors='replace')[-3_000:]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    texts: dict[str, list[str]] = defaultdict(list)
    with psycopg.connect(url) as connection:
        rows = connection.execute(ROWS[way].encode()).fetchall()
    for source, text in rows:
        texts[Path(source).name].append(text)
    return Run(seconds, cpu, most[0], len(rows), {name: "\n".join(parts) for name, parts in texts.items()})


@contextmanager
def _watched(pid: int) -> Iterator[list[int]]:
    """The most memory that a process and its children take together meanwhile, in bytes."""
    most, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            total = 0
            try:
                for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
                    total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
            most[0] = max(most[0], total)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()


@contextmanager
def _database(server: EmbeddedServer, name: str) -> Iterator[str]:
    """The address of an empty database with pgvector."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
        connection.execute(f"CREATE DATABASE {name}".encode())
        url = server.url.replace("@/postgres?", f"@/{name}?")
        with psycopg.connect(url, autocommit=True) as fresh:
            fresh.execute("CREATE EXTENSION IF NOT EXISTS vector")
        yield url
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def show(peers: Path, files: int, ways: list[str]) -> None:
    """Run the ways one after another and print their table."""
    if not (peers / "installed").exists():
        venv.create(peers / "venv", with_pip=True)
        subprocess.run([peers / "venv" / "bin" / "python", "-m", "pip", "install", "-q", *PACKAGES], check=True)
        (peers / "installed").touch()
    random.seed(1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "files")
        folder.mkdir()
        expected = make_folder(folder, files)
        server = EmbeddedServer.start(Path(place, "server"))
        print("| way | s | processor s | MB | rows | files with text | complete files lost | text found |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for way in ways:
            state = Path(place, way)
            state.mkdir()
            with _database(server, f"documents_{way}") as url:
                _show_row(way, run_way(way, peers, folder, state, url), expected)
        server.close()


def _show_row(way: str, run: Run, expected: dict[str, list[str]]) -> None:
    complete = {name: lines for name, lines in expected.items() if lines}
    lost = [name for name in complete if not run.texts.get(name, "").strip()]
    squeezed = {name: "".join(words(text)) for name, text in run.texts.items()}
    lines = [(name, "".join(words(line))) for name, of_file in complete.items() for line in of_file]
    share = sum(line in squeezed.get(name, "") for name, line in lines) / len(lines)
    with_text = sum(bool(text.strip()) for text in run.texts.values())
    figures = f"{run.seconds:.1f} | {run.cpu:.1f} | {run.memory / 1e6:,.0f} | {run.rows:,} | {with_text} | {len(lost)}"
    print(f"| {TITLES[way]} | {figures} | {share:.1%} |", flush=True)
    if lost:
        print(f"  lost: {dict(Counter(Path(name).suffix for name in lost))}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers", type=Path)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--ways", default=",".join(TITLES))
    given = parser.parse_args()
    show(given.peers, given.files, given.ways.split(","))


if __name__ == "__main__":
    main()
