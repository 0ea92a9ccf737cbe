"""`documents`: the documents in an arrival's files."""

from collections.abc import Iterator

import dagster as dg
import pyarrow as pa

from vector_pipeline.defs.assets.stage import stage_asset
from vector_pipeline.defs.opening import Opening
from vector_pipeline.defs.pictures import outcome_table
from vector_pipeline.defs.work import work_on
from vector_pipeline.sources.base import printable
from vector_pipeline.stages.documents import DocumentsOutcome, read_arrival
from vector_pipeline.stages.streams import DOCUMENTS, DocumentRow, to_reader

COLUMNS = {
    "source": ("string", "path of the file under its root"),
    "document_id": ("string", "the path; with #record if the file has several"),
    "text": ("string", "the decoded text, without NUL and lone surrogates"),
    "metadata": ("string", "JSON: front matter, title, fields of the record"),
    "encoding": ("string", "encoding of the file"),
}


def build_documents(opening: Opening) -> dg.AssetsDefinition:
    """The asset `documents`."""

    @stage_asset(
        opening,
        "documents",
        columns=COLUMNS,
        kinds={"python", "parquet"},
        after=["source_files"],
        description=(
            "One row per document of the arrival's files. A text file is one document, and a file of records has many. "
            "A file that cannot be read is rejected with its reason, and the other files continue."
        ),
    )
    def documents(context: dg.AssetExecutionContext) -> pa.RecordBatchReader:
        def rows() -> Iterator[DocumentRow]:
            outcome = DocumentsOutcome()
            with work_on(context, opening.names) as work:
                if work.is_done:
                    context.log.info("another run has already loaded this arrival; nothing is read again")
                else:
                    pipeline = work.pipeline
                    yield from read_arrival(
                        pipeline.database, work.arrival, pipeline.reader_options, pipeline.reader_limits, outcome
                    )
            work.pipeline.advance("files read", outcome.files)
            work.pipeline.advance("files rejected", len(outcome.rejected))
            opening.finished(outcome)
            context.add_asset_metadata(_metadata(outcome))
            for path, reason in outcome.rejected.items():
                context.log.warning(f"rejected {printable(path)}: {reason}")

        return to_reader(rows(), DOCUMENTS)

    return documents


def _metadata(outcome: DocumentsOutcome) -> dict[str, dg.MetadataValue]:
    problems = [(path, "rejected", reason) for path, reason in outcome.rejected.items()]
    problems += [(path, "loaded in part", lacking) for path, lacking in outcome.loaded_in_part.items()]
    problems += [(path, "postponed", reason) for path, reason in outcome.postponed.items()]
    return {
        "files": dg.MetadataValue.int(outcome.files),
        "documents": dg.MetadataValue.int(outcome.documents),
        "characters": dg.MetadataValue.int(outcome.characters),
        "records_without_text": dg.MetadataValue.int(outcome.records_without_text),
        "characters_removed": dg.MetadataValue.int(outcome.characters_removed),
        "source_bytes": dg.MetadataValue.int(outcome.bytes),
        "files_loaded_in_part": dg.MetadataValue.int(len(outcome.loaded_in_part)),
        "deletions": dg.MetadataValue.int(outcome.deletions),
        "files_rejected": dg.MetadataValue.int(len(outcome.rejected)),
        "files_postponed": dg.MetadataValue.int(len(outcome.postponed)),
        "problems": outcome_table(problems),
    }
