"""`documents`: an arrival's files, read."""

from collections.abc import Iterator

import dagster as dg
import pyarrow as pa

from vector_pipeline.defs.names import Names
from vector_pipeline.defs.pictures import column_schema, outcome_table
from vector_pipeline.defs.resources import PostgresResource
from vector_pipeline.stages.documents import DocumentsOutcome, read_arrival
from vector_pipeline.stages.streams import DOCUMENTS, DocumentRow, to_reader

COLUMNS = {
    "source": ("string", "path of the file under its root"),
    "document_id": ("string", "the path, with #record where a file holds many"),
    "text": ("string", "the decoded text, without NUL and lone surrogates"),
    "metadata": ("string", "JSON: front matter, title, fields of the record"),
    "encoding": ("string", "encoding that the file was read in"),
}


def build_documents(names: Names) -> dg.AssetsDefinition:
    """The asset `documents`."""
    postgres = names.of("postgres")

    @dg.asset(
        name="documents",
        key_prefix=names.key_prefix,
        group_name=names.group,
        kinds={"python", "parquet"},
        partitions_def=names.arrivals,
        deps=[names.asset("source_files")],
        io_manager_key=names.of("stages"),
        required_resource_keys={postgres},
        metadata={"dagster/column_schema": column_schema(COLUMNS)},
        description=(
            "One row per document of the arrival's files: a text file is one document, a record file many. "
            "A file that cannot be read is rejected with its reason, and the rest goes on."
        ),
    )
    def documents(context: dg.AssetExecutionContext) -> pa.RecordBatchReader:
        database: PostgresResource = getattr(context.resources, postgres)
        arrival = context.partition_key
        is_done = database.hold(context, arrival)
        if is_done:
            context.log.info("another run has done all of it meanwhile; nothing is read again")

        def rows() -> Iterator[DocumentRow]:
            outcome = DocumentsOutcome()
            pipeline = database.pipeline
            with database.explained(arrival):
                if not is_done:
                    yield from read_arrival(
                        pipeline.database, arrival, pipeline.reader_options, pipeline.reader_limits, outcome
                    )
            pipeline.advance("files read", outcome.files)
            context.add_asset_metadata(_metadata(outcome))
            for path, reason in outcome.rejected.items():
                context.log.warning(f"rejected {path}: {reason}")

        return to_reader(rows(), DOCUMENTS)

    return documents


def _metadata(outcome: DocumentsOutcome) -> dict[str, dg.MetadataValue]:
    problems = [(path, "rejected", reason) for path, reason in outcome.rejected.items()]
    problems += [
        (path, "loaded in part", f"{pages:,} pages are pictures without text")
        for path, pages in outcome.pages_without_text.items()
    ]
    problems += [(path, "postponed", reason) for path, reason in outcome.postponed.items()]
    return {
        "files": dg.MetadataValue.int(outcome.files),
        "documents": dg.MetadataValue.int(outcome.documents),
        "characters": dg.MetadataValue.int(outcome.characters),
        "records_without_text": dg.MetadataValue.int(outcome.records_without_text),
        "characters_removed": dg.MetadataValue.int(outcome.characters_removed),
        "source_bytes": dg.MetadataValue.int(outcome.bytes),
        "files_with_pages_without_text": dg.MetadataValue.int(len(outcome.pages_without_text)),
        "deletions": dg.MetadataValue.int(outcome.deletions),
        "files_rejected": dg.MetadataValue.int(len(outcome.rejected)),
        "files_postponed": dg.MetadataValue.int(len(outcome.postponed)),
        "problems": outcome_table(problems),
    }
