"""The command line: arguments in, lines, tables or one JSON object out. The work is in the floors below."""

from __future__ import annotations

from vector_pipeline.cli.commands import cli


def main() -> None:
    """Entry point of `vector-pipeline`."""
    cli()


__all__ = ["main"]
