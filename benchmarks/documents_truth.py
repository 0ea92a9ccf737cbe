"""Lay out public documents with their text beside them, for `benchmarks.documents --truth`.

    python -m benchmarks.documents_truth CLONES FOLDER

CLONES holds git directories (with or without work tree) of the repositories in `SETS`, each called `owner+name`. FOLDER
gets a folder for each set with the documents. Beside each stands its text as Markdown (`a.docx` and `a.docx.md`), or a
JSON list of strings that its text holds (`a.docx.strings`).
docs/benchmarks/documents.md says what each set is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import regex
from selectolax.lexbor import LexborHTMLParser

from benchmarks.documents_asserted import ASSERTIONS, is_text


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository that is read from its git directory, at its newest commit."""

    directory: Path

    @classmethod
    def of(cls, clones: Path, name: str) -> Repository | None:
        """The clone of `owner/name` in a folder; None if there is none."""
        place = clones / name.replace("/", "+")
        found = (place, place / ".git", place / "repo", place / "repo" / ".git")
        return next((cls(directory) for directory in found if (directory / "HEAD").exists()), None)

    def names(self) -> list[str]:
        """The paths of all files."""
        return [name for name in self._git("ls-tree", "-r", "-z", "--name-only", "HEAD").decode().split("\0") if name]

    def read(self, name: str) -> bytes:
        """A file; empty if the clone lacks its content."""
        return self._git("show", f"HEAD:{name}")

    def _git(self, *arguments: str) -> bytes:
        return subprocess.run(["git", f"--git-dir={self.directory}", *arguments], capture_output=True).stdout


Pair = tuple[str, str, Callable[[bytes], str]]
"""A document, the file with its text, and how that is read."""


def _plain(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def docling(names: set[str]) -> Iterator[Pair]:
    for name in names:
        path = PurePosixPath(name)
        if "/sources/" in name:
            yield name, f"{path.parents[1]}/groundtruth/{path.name}.md", _plain
            yield name, f"{path.parents[1]}/groundtruth/{path.stem}.md", _plain


def opendataloader(names: set[str]) -> Iterator[Pair]:
    for name in names:
        yield name, f"ground-truth/markdown/{PurePosixPath(name).stem}.md", _plain


def pandoc(names: set[str]) -> Iterator[Pair]:
    for name in names:
        path = PurePosixPath(name)
        if name.startswith("test/"):
            yield name, f"{path.with_suffix('.native')}", native_to_markdown
            yield name, f"{path.parents[1]}/native/{path.stem}.native", native_to_markdown


def pandoc_written(names: set[str]) -> Iterator[Pair]:
    """The documents that pandoc's tests expect to be written, with the trees that they are written from."""
    for name in names:
        path = PurePosixPath(name)
        if name.startswith("test/docx/golden/"):
            yield name, f"{path.parents[1]}/{path.stem}.native", native_to_markdown
        if name.startswith("test/pptx/") and path.stem == "output":
            yield name, f"{path.parent}/input.native", native_to_markdown


def unstructured(names: set[str]) -> Iterator[Pair]:
    """The documents of unstructured. Its outputs for PDF are those of a model, with the letters of margins apart."""
    folder = "test_unstructured_ingest/expected-structured-output/"
    for name in names:
        base = PurePosixPath(name).name
        if not name.startswith("example-docs/") or base.endswith(".pdf"):
            continue  # other folders hold copies
        for place in _UNSTRUCTURED_OUTPUTS:
            yield name, f"{folder}{place}{base}.json", elements_to_markdown


def hwpjs(names: set[str]) -> Iterator[Pair]:
    for name in names:
        stem = name.rpartition(".")[0]
        yield name, f"{stem}.HTML", hangul_to_text
        yield name, f"{stem}.html", hangul_to_text


def openhwp(names: set[str]) -> Iterator[Pair]:
    for name in names:
        if name.endswith(".hwp"):
            yield name, name.replace("/hwp/hwp/", "/hwp/pdf/").removesuffix(".hwp") + ".pdf", pdf_to_text


def msgreader(names: set[str]) -> Iterator[Pair]:
    for name in names:
        if name.endswith(".msg"):
            yield name, name.rpartition(".")[0] + ".json", message_to_text


def mail_parser(names: set[str]) -> Iterator[Pair]:
    for name in names:
        yield name, name.rpartition(".")[0] + ".json", parsed_mail_to_text


def striprtf(names: set[str]) -> Iterator[Pair]:
    for name in names:
        yield name, name.replace("/rtf/", "/text/").removesuffix(".rtf") + ".txt", _plain


def markitdown(names: set[str]) -> Iterator[Pair]:
    for name in names:
        path = PurePosixPath(name)
        if path.suffix == ".pdf":
            yield name, f"{path.parent}/expected_outputs/{path.stem}.md", _plain


def py_pdf(names: set[str]) -> Iterator[Pair]:
    # GeoTopo.pdf itself is stored elsewhere; this is the same book.
    for name in names:
        if name.endswith("GeoTopo-komprimiert.pdf"):
            yield name, "read/extraction-ground-truth/GeoTopo-book.txt", _plain


_UNSTRUCTURED_OUTPUTS = (
    "Sharepoint/",
    "box/",
    "google-drive/",
    "onedrive/utic-test-ingest-fixtures/",
)
"""Where whole elements stand. Other folders hold the same documents again, or their chunks."""

SETS: dict[str, tuple[str, str, Callable[[set[str]], Iterator[Pair]]]] = {
    "docling": ("docling-project/docling", "", docling),
    "opendataloader": ("opendataloader-project/opendataloader-bench", "", opendataloader),
    "pandoc": ("jgm/pandoc", "", pandoc),
    "pandoc-written": ("jgm/pandoc", "", pandoc_written),
    "unstructured": ("Unstructured-IO/unstructured", "", unstructured),
    "hwpjs": ("ohah/hwpjs", "", hwpjs),
    "openhwp": ("openhwp/openhwp", "", openhwp),
    "msgreader": ("HiraokaHyperTools/msgreader", "", msgreader),
    "mail-parser": ("stalwartlabs/mail-parser", "", mail_parser),
    "striprtf": ("joshy/striprtf", "", striprtf),
    "markitdown": ("microsoft/markitdown", "", markitdown),
    "py-pdf": ("py-pdf/sample-files", "py-pdf/benchmarks", py_pdf),
}
"""The repository of each set, that of its texts if it is another, and the documents with their texts."""

SUFFIXES = frozenset(
    ".pdf .docx .pptx .xlsx .doc .ppt .xls .odt .odp .ods .rtf .hwp .hwpx .eml .mbox .msg .epub .ipynb".split()
)


def lay_out(clones: Path, folder: Path) -> None:
    """Write the sets of all repositories that are there, and print the number of documents of each."""
    for set_name, (repository_name, truth_name, pairs) in SETS.items():
        repository = Repository.of(clones, repository_name)
        truths = Repository.of(clones, truth_name) if truth_name else repository
        if repository is None or truths is None:
            print(f"{set_name}: no clone of {repository_name} {truth_name}")
            continue
        names = set(truths.names())
        documents = set(filter(_is_document, repository.names()))
        count = 0
        for name, truth, read in sorted(pairs(documents), key=lambda pair: pair[:2]):
            if truth not in names:
                continue
            data, text = repository.read(name), read(truths.read(truth))
            if data and not data.startswith(b"version https://git-lfs") and text.strip():
                place = folder / set_name / name.replace("/", "_")
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(data)
                place.with_name(place.name + ".md").write_text(text)
                count += 1
        print(f"{set_name}: {count} documents")


# The forms in which the texts stand --------------------------------------------------------------------------------


def hangul_to_text(data: bytes) -> str:
    """The text of the HTML that Hangul itself exports: an element for each line, placed on its page."""
    page = LexborHTMLParser(data.decode("utf-8-sig", "replace"))
    for tag in ("style", "script", "svg"):
        for node in page.css(tag):
            node.decompose()
    lines = []
    for line in page.css("div.hls"):
        # A line that holds a table holds the lines of its cells.
        parts = [part for part in line.iter(include_text=True) if part.tag != "div" or not part.css("div.hls")]
        lines.append(" ".join("".join(part.text() for part in parts).split()))
    return "\n".join(lines)


def pdf_to_text(data: bytes) -> str:
    """The text of a PDF as PDFium reads it."""
    import pypdfium2

    return "\n".join(page.get_textpage().get_text_range() for page in pypdfium2.PdfDocument(data))


def message_to_text(data: bytes) -> str:
    """The subject and the text of a message in the JSON of msgreader."""
    found = json.loads(data)
    if not isinstance(found, dict):
        return ""
    return f"{found.get('subject', '')}\n{found.get('body', '')}".strip()


def parsed_mail_to_text(data: bytes) -> str:
    """The subject and the text of a message in the JSON of mail-parser."""
    found = json.loads(data)
    parts = found["parts"]
    subjects = [header["value"].get("Text", "") for header in parts[0]["headers"] if header["name"] == "subject"]
    texts = []
    for number in found["text_body"]:
        for kind, text in parts[number]["body"].items():
            if kind in ("Text", "Html"):
                texts.append(LexborHTMLParser(text).text(separator=" ") if kind == "Html" else text)
    return "\n".join([*map(str, subjects[:1]), *texts])


_MARKS = {"Title": "# ", "ListItem": "- "}


def elements_to_markdown(data: bytes) -> str:
    """The elements of unstructured, with titles as headings and tables by their HTML."""
    blocks = []
    for element in json.loads(data):
        page = element["metadata"].get("text_as_html")
        if element["type"] == "Table" and page:
            rows = LexborHTMLParser(page).css("tr")
            cells = [[" ".join(cell.text(separator=" ").split()) for cell in row.css("td, th")] for row in rows]
            blocks.append("\n".join("| " + " | ".join(row) + " |" for row in cells))
        else:
            blocks.append(_MARKS.get(element["type"], "") + " ".join(element["text"].split()))
    return "\n\n".join(blocks)


_TOKEN = regex.compile(r'\s*(?:("(?:\\.|[^"\\])*")|([\[\](){},=])|(-?[\d.]+(?:e-?\d+)?)|([\w.\']+))', regex.DOTALL)
_ESCAPE = regex.compile(r"\\(?:(\d+)|x([0-9a-fA-F]+)|(&)|([abfnrtv\\\"'])|\s+\\)")
_LETTERS = {"n": "\n", "t": "\t", "r": "\r"}


def native_to_markdown(data: bytes) -> str:
    """The text, headings, tables and code of a document in pandoc's native form (Haskell's `show`)."""
    tokens = [match.groups() for match in _TOKEN.finditer(data.decode())]
    value, _ = _application(tokens, 0)
    return "\n\n".join(filter(str.strip, _blocks(value)))


def _application(tokens: list[Any], at: int) -> tuple[Any, int]:
    """A value and what it is applied to: `Header 1 (…) […]` as ("Header", [1, …, …])."""
    values: list[Any] = []
    while at < len(tokens):
        text, mark, number, name = tokens[at]
        if mark in ("]", ")", "}", ","):
            break
        if mark in ("[", "(", "{"):
            items, at = _sequence(tokens, at + 1)
            values.append(items[0] if mark == "(" and len(items) == 1 else items)
            continue
        if text is not None:
            values.append(_string(text))
        elif number is not None:
            values.append(number)
        elif name is not None:
            values.append((name, []))
        at += 1
    if values and isinstance(values[0], tuple):
        return (values[0][0], values[1:]), at
    return (values[0] if len(values) == 1 else values), at


def _sequence(tokens: list[Any], at: int) -> tuple[list[Any], int]:
    items = []
    while at < len(tokens) and tokens[at][1] not in ("]", ")", "}"):
        item, at = _application(tokens, at)
        items.append(item)
        if at < len(tokens) and tokens[at][1] == ",":
            at += 1
    return items, at + 1


def _string(text: str) -> str:
    def one(match: regex.Match[str]) -> str:
        decimal, hexadecimal, nothing, letter = match.groups()
        if decimal or hexadecimal:
            return chr(int(decimal) if decimal else int(hexadecimal, 16))
        return "" if nothing or letter is None else _LETTERS.get(letter, letter)

    return str(_ESCAPE.sub(one, text[1:-1]))


_PARAGRAPHS = ("Para", "Plain")


def _blocks(value: Any) -> Iterator[str]:
    """The blocks of a document."""
    if isinstance(value, list):
        for item in value:
            yield from _blocks(item)
        return
    if not isinstance(value, tuple):
        return
    name, arguments = value
    if name in ("Meta", "RawBlock"):
        return
    if name == "Div" and "output" in str(arguments[0]):
        return  # the output of a cell of a notebook, which we leave out
    if name in _PARAGRAPHS:
        yield _inline(arguments)
    elif name == "Header":
        yield "#" * int(arguments[0]) + " " + " ".join(_inline(arguments[2:]).split())
    elif name == "CodeBlock":
        yield str(arguments[-1])
    elif name == "Row":
        yield "| " + " | ".join(" ".join(" ".join(_blocks(cell)).split()) for cell in arguments[-1]) + " |"
    elif name == "LineBlock":
        yield "\n".join(map(_inline, arguments[0]))
    elif name == "DefinitionList":
        for term, meaning in arguments[0]:
            yield _inline(term)
            yield from _blocks(meaning)
    else:
        yield from _blocks(arguments)


def _inline(value: Any) -> str:
    """The text of a paragraph."""
    if isinstance(value, list):
        return "".join(map(_inline, value))
    if not isinstance(value, tuple):
        return ""
    name, arguments = value
    if name in ("Str", "Code", "Math"):
        return str(arguments[-1])
    if name in ("Space", "SoftBreak", "LineBreak"):
        return " "
    if name == "Note":
        return " " + " ".join(_blocks(arguments)) + " "
    if name in ("RawInline", "Image"):
        return ""
    return _inline(arguments)


def lay_out_asserted(clones: Path, folder: Path) -> None:
    """Write the documents of other libraries' tests, with the strings that are asserted to stand in their text."""
    for set_name, (repository_name, tests, read) in ASSERTIONS.items():
        repository = Repository.of(clones, repository_name)
        if repository is None:
            print(f"{set_name}: no clone of {repository_name}")
            continue
        names = repository.names()
        places = {PurePosixPath(name).name: name for name in reversed(names) if _is_document(name)}
        strings: dict[str, list[str]] = {}
        for test in filter(regex.compile(tests).search, names):
            for base, text in read(_plain(repository.read(test))):
                if base in places and is_text(text) and text not in strings.setdefault(base, []):
                    strings[base].append(text)
        for base, texts in strings.items():
            place = folder / f"{set_name}-tests" / base
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(repository.read(places[base]))
            place.with_name(base + ".strings").write_text(json.dumps(texts, ensure_ascii=False))
        print(f"{set_name}-tests: {sum(map(len, strings.values()))} strings in {len(strings)} documents")


def _is_document(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clones", type=Path)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    lay_out(given.clones, given.folder)
    lay_out_asserted(given.clones, given.folder)


if __name__ == "__main__":
    main()
