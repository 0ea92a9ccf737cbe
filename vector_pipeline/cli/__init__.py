"""The command line: arguments in, lines, tables or one JSON object out. The work is in the floors below."""

from __future__ import annotations

import sys

from vector_pipeline.cli.commands import cli
from vector_pipeline.cli.output import fail
from vector_pipeline.errors import PipelineError


def main() -> None:
    """Entry point of `vector-pipeline`: a PipelineError is one line on stderr and exit 2, never a traceback."""
    try:
        cli(standalone_mode=True)
    except PipelineError as error:
        fail(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        fail("interrupted; what was paid for and loaded is kept, and the next run goes on from there")
        sys.exit(130)


__all__ = ["main"]
