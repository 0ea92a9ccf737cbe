"""The I/O manager that streams documents, chunks and token batches to and from Parquet, one file per partition."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pyarrow as pa

from vector_pipeline.defs.failures import explained, failure
from vector_pipeline.errors import ConfigurationError, PipelineError
from vector_pipeline.pipeline.stage_files import StageFiles
from vector_pipeline.settings import variable


class ParquetStages(dg.ConfigurableIOManager):
    """Streams a `pyarrow.RecordBatchReader` of a stage to Parquet and back, without holding it in memory.

    An error while the stream is produced is raised here, but it is the asset's own error. It reaches Dagster with its
    cause, nothing of the stream is kept, and the earlier file stays.
    """

    base: str

    def handle_output(self, context: dg.OutputContext, obj: pa.RecordBatchReader) -> None:
        """Write the whole stream. Its rows, bytes and URI become metadata of the materialization."""
        with explained():
            written = StageFiles(self.base).write(context.asset_key.path[-1], context.asset_partition_key, obj)
        context.add_output_metadata(
            {
                "dagster/partition_row_count": written.rows,
                "dagster/uri": written.uri,
                "bytes": written.bytes,
            }
        )

    def load_input(self, context: dg.InputContext) -> pa.RecordBatchReader:
        """The stream of the upstream stage. The file stays open until the whole stream has been read."""
        files = StageFiles(self.base)
        stage, arrival = context.asset_key.path[-1], context.asset_partition_key

        def batches() -> Iterator[pa.RecordBatch]:
            with files.read(stage, arrival) as reader:
                yield from reader

        try:
            with files.read(stage, arrival) as reader:
                schema = reader.schema
        except FileNotFoundError as error:
            raise failure(
                ConfigurationError(
                    f"the {stage} of arrival {arrival} are no longer kept ({variable('keep_stages_days')}): select "
                    "`documents` too, and all stages after it"
                )
            ) from error
        except PipelineError as error:
            raise failure(error) from error
        return pa.RecordBatchReader.from_batches(schema, batches())
