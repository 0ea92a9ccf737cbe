"""Reading documents: against files with ground truth, and by speed.

    python -m benchmarks.documents --truth FOLDER         files with their text beside them (`a.docx` and `a.docx.md`)
    python -m benchmarks.documents --asserted FOLDER      files with strings of their text beside them (`a.docx.strings`)
    python -m benchmarks.documents --speed FILE.pdf …     pages a second, and the memory of a PDF of 1,000 pages

`benchmarks.documents_truth` lays out the files with ground truth. docs/benchmarks/documents.md has the figures.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import statistics
import time
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from vector_pipeline.formats.kinds import kind_of
from vector_pipeline.formats.pool import ReaderLimits, ReaderPool
from vector_pipeline.text.documents import Document
from vector_pipeline.text.readers.base import ReaderOptions
from vector_pipeline_tests.formats.made import page_of, pdf, sentences
from vector_pipeline_tests.formats.reading import read

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
    "rtf": "application/rtf",
    "eml": "message/rfc822",
    "msg": "application/vnd.ms-outlook",
    "ipynb": "application/x-ipynb+json",
}


_BY_KREUZBERG = frozenset(f".{suffix}" for suffix in _MIME_TYPES)
_MAIL = (".eml", ".msg")


# Ground truth ---------------------------------------------------------------------------------------------------------


def by_ours(path: Path) -> str:
    """What the reader of its kind gives. Of a message without its attachments, as ground truth has it."""
    return _ours(path)[0].text if path.suffix in _MAIL else by_ours_with_inner_files(path)


def by_ours_with_inner_files(path: Path) -> str:
    """All documents that the reader of its kind gives, also those of attachments."""
    return "\n\n".join(document.text for document in _ours(path))


def _ours(path: Path) -> list[Document]:
    return read(path.read_bytes(), path.name)


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


def words(text: str) -> list[str]:
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", re.sub(r"</?[a-zA-Z][^<>\n]*>|<!--.*?-->", " ", text))
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text).lower())


def _headings(text: str) -> list[str]:
    return [" ".join(words(line)) for line in text.splitlines() if re.match(r"#{1,6} ", line)]


def _cells(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("|")]
    rows = [line for line in lines if not re.fullmatch(r"[|\s:-]+", line)]
    return [found for row in rows for cell in row.strip("|").split("|") if (found := " ".join(words(cell)))]


_HEAD = re.compile(r"(?m)^\W*(?:From|To|CC|Cc|Bcc|BCC|Date|Attachments)\W*:.*$|^\W*Subject\W*:")


def without_head(text: str) -> str:
    """A message without the lines that say from whom and when it is, which each engine writes in its own way."""
    return _HEAD.sub("", text)


def f1(found: Sequence[str], truth: Sequence[str]) -> float | None:
    """2PR/(P+R) of two bags; None where there is nothing to be found."""
    if not truth:
        return None
    same = (Counter(found) & Counter(truth)).total()
    return 2 * same / (len(found) + len(truth))


def show_truth(folder: Path) -> None:
    """A table by kind and by set (the folder that a file lies in)."""
    scores: dict[tuple[str, str], dict[str, list[tuple[float | None, ...]]]] = defaultdict(lambda: defaultdict(list))
    behind = []
    for truth_path in sorted(folder.glob("*/*.md")):
        path = truth_path.with_suffix("")
        kind = kind_of(path.name) if path.exists() else None
        truth = truth_path.read_text()
        if kind is None or kind.is_text or not words(truth):
            continue
        found = {name: _scores(engine, path, truth) for name, engine in ENGINES.items() if _reads(name, path.suffix)}
        for name, score in found.items():
            scores[path.suffix, path.parent.name][name].append(score)
        best = max(score[0] or 0.0 for score in found.values())
        if (found["ours"][0] or 0.0) < 0.95 * best:
            behind.append(f"{path.parent.name}/{path.name}: {found['ours'][0]:.3f}, best {best:.3f}")
    print("| kind | set | files | engine | words | headings | cells |\n| --- | --- | --- | --- | --- | --- | --- |")
    for (suffix, of_set), engines in sorted(scores.items()):
        for name, found_scores in engines.items():
            means = [_mean([score[part] for score in found_scores]) for part in range(3)]
            print(f"| {suffix} | {of_set} | {len(found_scores)} | {name} | {' | '.join(means)} |")
    print("\nBelow 0.95 of the best engine:", *behind or ["none"], sep="\n")


def show_asserted(folder: Path) -> None:
    """The share of strings that each engine finds, by kind and by set; and those that only other engines find."""
    engines = {**ENGINES, "ours": by_ours_with_inner_files}
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    lacking = []
    for strings_path in sorted(folder.glob("*/*.strings")):
        path = strings_path.with_suffix("")
        suffix = path.suffix.lower()
        count = counts[suffix, path.parent.name]
        found = {name: _letters_of(engine, path) for name, engine in engines.items() if _reads(name, suffix)}
        for string in json.loads(strings_path.read_text()):
            having = [name for name, letters in found.items() if "".join(words(string)) in letters]
            count.update([*having, "strings"] if having else ["in none"])
            if having and "ours" not in having:
                lacking.append(f"{path.parent.name}/{path.name}: {string!r} by {', '.join(having)}")
        count["files"] += 1
    print(f"| kind | set | files | strings | in none | {' | '.join(ENGINES)} |\n|{' --- |' * (5 + len(ENGINES))}")
    for (suffix, of_set), count in sorted(counts.items()):
        shares = [str(count[name]) if _reads(name, suffix) else "" for name in ENGINES]
        figures = [count["files"], count["strings"], count["in none"], *shares]
        print(f"| {suffix} | {of_set} | {' | '.join(map(str, figures))} |")
    print("\nOnly other engines find:", *lacking or ["none"], sep="\n")


def _letters_of(engine: Callable[[Path], str], path: Path) -> str:
    """The letters and digits of a document in order. A string counts as found however its words are set apart."""
    try:
        return "".join(words(engine(path)))
    except Exception:  # noqa: BLE001 - an engine that fails has found nothing
        return ""


def _reads(engine: str, suffix: str) -> bool:
    if suffix == ".pdf":
        return engine in ("ours", "kreuzberg", "pdf-inspector", "PDFium")
    return engine in ("ours", "dochan") or (engine == "kreuzberg" and suffix in _BY_KREUZBERG)


def _scores(engine: Callable[[Path], str], path: Path, truth: str) -> tuple[float | None, ...]:
    try:
        found = engine(path)
    except Exception:  # noqa: BLE001 - an engine that fails has found nothing
        found = ""
    found = without_head(found) if path.suffix in _MAIL else found
    return tuple(f1(part(found), part(truth)) for part in (words, _headings, _cells))


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.mean(known):.3f}" if known else "–"


# Speed and memory -----------------------------------------------------------------------------------------------------


def show_speed(paths: Sequence[Path]) -> None:
    """Pages a second of two processes, each file read by both; and the memory for a PDF of 1,000 pages."""
    kind = kind_of("a.pdf")
    assert kind is not None
    warm_up = pdf([page_of(["# Ferries", sentences(1)])])
    jobs = [data for path in paths for data in (path.read_bytes(),) * 2]
    with ReaderPool(ReaderLimits(seconds=600, processes=2)) as pool:
        for future in [pool.submit(io.BytesIO(warm_up), kind, ReaderOptions()) for _ in range(4)]:
            future.result()
        began = time.monotonic()
        used = _children_seconds()
        futures = [pool.submit(io.BytesIO(data), kind, ReaderOptions()) for data in jobs]
        pages = sum(int(future.result()[0].metadata["page_count"]) for future in futures)
        seconds, taken = time.monotonic() - began, _children_seconds() - used
    print(f"{pages:,} pages on two processes in {seconds:.1f} s: {pages / seconds:.0f} pages/s")
    print(f"{taken:.1f} s of processor time: {2 * pages / taken:.0f} pages/s if both processors are free")
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--asserted", type=Path)
    parser.add_argument("--speed", type=Path, nargs="+")
    given = parser.parse_args()
    if given.truth:
        show_truth(given.truth)
    if given.asserted:
        show_asserted(given.asserted)
    if given.speed:
        show_speed(given.speed)


if __name__ == "__main__":
    main()
