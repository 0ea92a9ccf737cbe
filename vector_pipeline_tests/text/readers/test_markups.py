from __future__ import annotations

import io

from vector_pipeline.text.chunking.chunker import ChunkingConfig, chunk_document
from vector_pipeline.text.chunking.tokens import tokenizer_for
from vector_pipeline.text.documents import Document
from vector_pipeline.text.readers import ReaderOptions, read_documents


def _read(name: str, text: str) -> Document:
    (document,) = read_documents(io.BytesIO(text.encode()), name, ReaderOptions())
    return document


def test_headings_of_other_markups_become_ours() -> None:
    org = _read("a.org", "#+TITLE: Ferries\n* TODO Fares :tag:\ntext *bold*\n** Island\n12\n")
    assert (org.text, org.metadata["title"]) == ("# Fares\ntext *bold*\n## Island\n12\n", "Ferries")
    assert (
        _read("a.adoc", "= Ferries\n\n== Fares\n\n====\nblock\n====\n").text
        == "# Ferries\n\n## Fares\n\n====\nblock\n====\n"
    )
    tex = _read(
        "a.tex", "\\title{On\nFerries}% secret\n\\begin{document}\n\\section*{Fares} 12 \\% % no\n\\end{document}\nafter"
    )
    assert (tex.text, tex.metadata["title"]) == ("## Fares\n\n 12 \\% ", "On Ferries")


def test_subtitles_are_what_is_spoken() -> None:
    srt = "1\n00:00:01,000 --> 00:00:02,000\nThe ferry\n\n2\n00:00:02,000 --> 00:00:03,000\nThe ferry\nleaves.\n"
    assert _read("a.srt", srt).text == "The ferry\nleaves."
    vtt = "WEBVTT\n\nNOTE no\n\nintro\n00:01.000 --> 00:02.000 align:start\n<v Keeper>It <b>leaves</b> at 12:30.\n"
    assert _read("a.vtt", vtt).text == "It leaves at 12:30."


CODE = '''# A comment, and no heading.
import sys


@decorated
class Ferry:
    """Crosses."""

    def leave(self) -> None:
        """At noon."""
        print("leaves" * 20, "and" * 20)

    # Above its function.
    async def arrive(self) -> None:
        print("arrives" * 20, "and" * 20)


def main() -> None:
    Ferry().leave()
'''


def test_code_is_cut_at_its_definitions_which_are_the_headings_of_its_chunks() -> None:
    document = _read("a.py", CODE)
    assert document.text == CODE
    assert [title for _, _, title in document.outline or ()] == ["Ferry", "leave", "arrive", "main"]
    chunks = chunk_document(document, tokenizer_for("text-embedding-3-small"), ChunkingConfig(max_tokens=50))
    found = [(chunk.text.split("\n")[0].strip(), chunk.metadata.get("headings")) for chunk in chunks]
    assert found[0] == ("# A comment, and no heading.", None)
    assert ("# Above its function.", ["Ferry", "arrive"]) in found
    assert all(headings for _, headings in found[1:])


def test_definitions_of_other_languages_are_found() -> None:
    for name, code, titles in (
        (
            "a.go",
            "package a\n\n// Leaves.\nfunc (f *Ferry) Leave() error {\n}\n\ntype Ferry struct {\n}\n",
            ["Leave", "Ferry"],
        ),
        ("a.rs", "pub(crate) fn leave() {}\n\nimpl Ferry {\n    pub fn new() {}\n}\n", ["leave", "Ferry", "new"]),
        ("a.ts", "export default class Ferry {}\nexport async function leave() {}\n", ["Ferry", "leave"]),
        (
            "a.c",
            "int main(int argc)\n{\n  return 0;\n}\n\nstatic void *leave(void) {\n}\n",
            ["main", "leave"],
        ),
        (
            "a.sql",
            "CREATE TABLE IF NOT EXISTS ferries (id int);\ncreate or replace view v as x;\n",
            ["ferries", "v"],
        ),
        ("a.java", "public final class Ferry {\n    void x() {\n    }\n}\n", ["Ferry"]),
    ):
        assert [title for _, _, title in _read(name, code).outline or ()] == titles, name
