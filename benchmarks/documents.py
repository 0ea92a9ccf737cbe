"""Reading documents: against files with ground truth, by speed, and beside other people's loaders.

    python -m benchmarks.documents --truth FOLDER      files with their text beside them (`a.docx` and `a.docx.md`)
    python -m benchmarks.documents --speed FILE.pdf    pages a second, and the memory of a PDF of 1,000 pages
    python -m benchmarks.documents --peers FOLDER      500 mixed documents, ours and the loaders installed in FOLDER

The other libraries go into a virtual environment in FOLDER, kept and used again. docs/benchmarks/documents.md has the
figures, and says where the files with ground truth come from.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import re
import statistics
import subprocess
import tempfile
import time
import venv
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path

import psutil

from vector_pipeline.errors import FileRejected
from vector_pipeline.formats.kinds import kind_of
from vector_pipeline.formats.pool import ReaderLimits, ReaderPool
from vector_pipeline.text.documents import Document
from vector_pipeline.text.readers.base import ReaderOptions
from vector_pipeline_tests.formats.made import page_of, pdf, sentences
from vector_pipeline_tests.formats.made_office import docx, hwpx, odp, odt, package, pptx, xlsx

PACKAGES = (
    "llama-index-core llama-index-readers-file pypdf python-docx docx2txt python-pptx openpyxl pandas EbookLib "
    "html2text striprtf nbconvert langchain-community beautifulsoup4"
).split()
_MIME_TYPES = {
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "doc": "application/msword",
    "ppt": "application/vnd.ms-powerpoint",
    "xls": "application/vnd.ms-excel",
    "odt": "application/vnd.oasis.opendocument.text",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "epub": "application/epub+zip",
    "pdf": "application/pdf",
}


# Ground truth ---------------------------------------------------------------------------------------------------------


def by_ours(path: Path) -> str:
    """What the reader of its kind gives."""
    return "\n\n".join(document.text for document in _ours(path))


def _ours(path: Path) -> list[Document]:
    kind = kind_of(path.name)
    assert kind is not None
    with ReaderPool(ReaderLimits()) as pool:
        return pool.read(path.open("rb"), kind, ReaderOptions())


def by_kreuzberg(path: Path) -> str:
    import kreuzberg

    config = kreuzberg.ExtractionConfig(output_format="markdown", use_cache=False)
    return str(kreuzberg.extract_bytes_sync(path.read_bytes(), _MIME_TYPES[path.suffix[1:]], config).content)


def by_dochan(path: Path) -> str:
    import dochan

    return str(dochan.Dochan(str(path)).to_markdown())


def by_pdf_inspector(path: Path) -> str:
    import pdf_inspector

    return pdf_inspector.process_pdf_bytes(path.read_bytes()).markdown or ""


def by_pdfium(path: Path) -> str:
    import pypdfium2

    return "\n\n".join(page.get_textpage().get_text_range() for page in pypdfium2.PdfDocument(path))


ENGINES: dict[str, Callable[[Path], str]] = {
    "ours": by_ours,
    "kreuzberg": by_kreuzberg,
    "dochan": by_dochan,
    "pdf-inspector": by_pdf_inspector,
    "PDFium": by_pdfium,
}


def _words(text: str) -> list[str]:
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", re.sub(r"<[^>]+>", " ", text))
    return re.findall(r"\w+", text.lower())


def _headings(text: str) -> list[str]:
    return [" ".join(_words(line)) for line in text.splitlines() if re.match(r"#{1,6} ", line)]


def _cells(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("|")]
    rows = [line for line in lines if not re.fullmatch(r"[|\s:-]+", line)]
    return [found for row in rows for cell in row.strip("|").split("|") if (found := " ".join(_words(cell)))]


def f1(found: Sequence[str], truth: Sequence[str]) -> float | None:
    """2PR/(P+R) of two bags; None where there is nothing to be found."""
    if not truth:
        return None
    same = (Counter(found) & Counter(truth)).total()
    return 2 * same / (len(found) + len(truth))


def show_truth(folder: Path) -> None:
    scores: dict[str, dict[str, list[tuple[float | None, ...]]]] = defaultdict(lambda: defaultdict(list))
    for truth_path in sorted(folder.rglob("*.md")):
        path = truth_path.with_suffix("")
        kind = kind_of(path.name) if path.exists() else None
        if kind is None or kind.is_text:
            continue
        truth = truth_path.read_text()
        for name, engine in ENGINES.items():
            if (name in ("pdf-inspector", "PDFium")) != (path.suffix == ".pdf") and name not in ("ours", "kreuzberg"):
                continue
            try:
                found = engine(path)
            except Exception:  # noqa: BLE001 - an engine that fails has found nothing
                found = ""
            score = [f1(part(found), part(truth)) for part in (_words, _headings, _cells)]
            scores[path.suffix][name].append(tuple(score))
    print("| kind | files | engine | words | headings | cells |\n| --- | --- | --- | --- | --- | --- |")
    for suffix, engines in scores.items():
        for name, found_scores in engines.items():
            means = [_mean([score[part] for score in found_scores]) for part in range(3)]
            print(f"| {suffix} | {len(found_scores)} | {name} | {' | '.join(means)} |")


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.mean(known):.3f}" if known else "–"


# Speed and memory -----------------------------------------------------------------------------------------------------


def show_speed(path: Path) -> None:
    kind = kind_of(path.name)
    assert kind is not None
    data = path.read_bytes()
    with ReaderPool(ReaderLimits(seconds=600, processes=2)) as pool:
        warm = [pool.submit(io.BytesIO(data), kind, ReaderOptions()) for _ in range(2)]
        pages = sum(int(future.result()[0].metadata["page_count"]) for future in warm)
        began = time.monotonic()
        used = _children_seconds()
        for future in [pool.submit(io.BytesIO(data), kind, ReaderOptions()) for _ in range(2)]:
            future.result()
        seconds, taken = time.monotonic() - began, _children_seconds() - used
    print(f"{pages:,} pages on two processes in {seconds:.1f} s: {pages / seconds:.0f} pages/s")
    print(f"{taken:.1f} s of processor time: {2 * pages / taken:.0f} pages/s where both processors are free")
    book = pdf(
        [page_of([f"# Chapter {n}", *(sentences(10 * n + part, 120) for part in range(4))]) for n in range(1_000)]
    )
    with ReaderPool(ReaderLimits(seconds=600)) as pool, _watched() as most:
        (document,) = pool.read(io.BytesIO(book), kind, ReaderOptions())
    print(f"1,000 pages, {len(document.text):,} characters: {most[0] / 1e6:,.0f} MB in the reading process")


def _children_seconds() -> float:
    times = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return sum(found.user + found.system for found in times)


@contextmanager
def _watched() -> Iterator[list[int]]:
    """The most memory that a child takes meanwhile, in bytes."""
    import threading

    most, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            for child in psutil.Process().children(recursive=True):
                try:
                    most[0] = max(most[0], child.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()


# A folder of 500 ------------------------------------------------------------------------------------------------------


def make_folder(folder: Path, count: int = 500) -> dict[str, list[str]]:
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


def read_folder(folder: Path) -> tuple[float, int, dict[str, str], dict[str, str]]:
    """Seconds, memory of all processes in bytes, texts, and reasons of the rejected files."""
    texts: dict[str, str] = {}
    reasons: dict[str, str] = {}
    began = time.monotonic()
    with ReaderPool(ReaderLimits(processes=psutil.cpu_count() or 1)) as pool, _watched() as most:
        futures: dict[str, Future[list[Document]]] = {}
        for path in sorted(folder.iterdir()):
            kind = kind_of(path.name)
            assert kind is not None
            futures[path.name] = pool.submit(io.BytesIO(path.read_bytes()), kind, ReaderOptions())
        for name, future in futures.items():
            try:
                texts[name] = "\n".join(document.text for document in future.result())
            except FileRejected as rejection:
                reasons[name] = str(rejection)
    own = psutil.Process().memory_info().rss
    return time.monotonic() - began, own + most[0] * (psutil.cpu_count() or 1), texts, reasons


def show_folder(peers: Path) -> None:
    python = peers / "venv" / "bin" / "python"
    if not (peers / "done").exists():
        venv.create(peers / "venv", with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
        (peers / "done").touch()
    random.seed(1)
    with tempfile.TemporaryDirectory() as place:
        folder, output = Path(place, "files"), Path(place, "out.json")
        folder.mkdir()
        expected = make_folder(folder)
        print("| way | s | MB | files with text | sound files without | text found |")
        print("| --- | --- | --- | --- | --- | --- |")
        seconds, memory, texts, reasons = read_folder(folder)
        _row("ours", seconds, memory, texts, expected)
        script = Path(__file__).parent / "documents_peers" / "run.py"
        for way in ("llama_index", "langchain"):
            command = [str(python), str(script), way, str(folder), str(output)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            found = json.loads(output.read_text())
            _row(way, found["seconds"], found["memory"], found["texts"], expected)
        print(f"{len(reasons)} rejected by ours: {Counter(re.sub('[(].*', '', why)[:60] for why in reasons.values())}")


def _row(way: str, seconds: float, memory: int, texts: dict[str, str], expected: dict[str, list[str]]) -> None:
    sound = {name: lines for name, lines in expected.items() if lines}
    lost = sum(not texts.get(name, "").strip() for name in sound)
    squeezed = {name: "".join(_words(text)) for name, text in texts.items()}
    lines = [(name, "".join(_words(line))) for name, of_file in sound.items() for line in of_file]
    share = sum(line in squeezed.get(name, "") for name, line in lines) / len(lines)
    with_text = sum(bool(text.strip()) for text in texts.values())
    print(f"| {way} | {seconds:.1f} | {memory / 1e6:,.0f} | {with_text} | {lost} | {share:.1%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--speed", type=Path)
    parser.add_argument("--peers", type=Path)
    given = parser.parse_args()
    if given.truth:
        show_truth(given.truth)
    if given.speed:
        show_speed(given.speed)
    if given.peers:
        show_folder(given.peers)


if __name__ == "__main__":
    main()
