"""Files of other kinds than text through the whole pipeline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vector_pipeline.pipeline.fingerprints import Fingerprints
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.queries.estimate import estimate
from vector_pipeline.queries.search import search
from vector_pipeline.store.manifest import mark_stale_pending
from vector_pipeline_tests.formats.made import Picture, page_of, pdf, sentences
from vector_pipeline_tests.formats.made_office import package
from vector_pipeline_tests.support.pipelines import Ingest


def _book(pages: int) -> bytes:
    return pdf(
        [page_of([f"# Chapter {n}", f"The lighthouse keeper wrote letter {n}.", sentences(n)]) for n in range(pages)]
    )


def test_documents_are_loaded_with_their_pages_and_bad_ones_stop_no_other(
    pipeline: Pipeline, corpus: Path, run: Ingest
) -> None:
    (corpus / "book.pdf").write_bytes(_book(4))
    (corpus / "a scan.PDF").write_bytes(pdf([[Picture()], [Picture()]]))
    (corpus / "some.zip").write_bytes(package({"a.md": "# Inside\n\nThe lamp is lit.", "b.pdf": "%PDF-1.7"}))
    (corpus / "broken.pdf").write_bytes(_book(4)[:500])
    counted = estimate(pipeline, str(corpus))
    assert {entry["source"] for entry in counted.rejected} == {"a scan.PDF", "broken.pdf"}
    report = run(corpus)
    assert report.rejected.keys() == {"a scan.PDF", "broken.pdf"}
    assert "no text on 2 of its 2 pages (1-2)" in report.rejected["a scan.PDF"]
    assert (report.loaded, report.failures, report.chunks) == (5, [], counted.chunks)
    found = search(pipeline, "letter of the lighthouse keeper", 1)[0]
    assert found.source == "book.pdf"
    inside = search(pipeline, "the lamp is lit", 1)[0]
    assert inside.document_id == "some.zip#a.md"
    assert inside.metadata["files_not_read"] == ["b.pdf is not a whole PDF document; save it again, or fetch it again"]
    assert set(found.metadata["pages"]) <= {1, 2, 3, 4}
    assert run(corpus).loaded == 0


def test_another_reader_of_one_kind_loads_the_files_of_that_kind_again(
    pipeline: Pipeline, corpus: Path, run: Ingest
) -> None:
    (corpus / "book.pdf").write_bytes(_book(1))
    run(corpus)
    now = Fingerprints.under(pipeline.chunking, pipeline.reader_options)
    later = replace(now, by_kind={**now.by_kind, "pdf": "a better reader's"})
    with pipeline.database.connect() as connection:
        assert mark_stale_pending(connection, now.current) == 0
        assert mark_stale_pending(connection, later.current) == 1
        row = connection.execute("SELECT path FROM source_files WHERE status = 'pending'").fetchall()
    assert row == [("book.pdf",)]
