"""The command line: arguments in, lines, tables or one JSON object out. The work is in the floors below."""

from __future__ import annotations

import gc
import logging
import os
import sys

# Allocations between two collections, instead of CPython's 700. Importing Dagster makes half a million objects that
# stay, and looking through them again and again was a quarter of the time that a small command took.
COLLECT_EVERY = 50_000


def _open_standard_streams() -> None:
    """Open the standard streams that this process was started without.

    Otherwise the next files and connections would get their numbers, and be written to as if they were these streams.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: PTH123, SIM115


def main() -> None:
    """Entry point of `vector-pipeline`."""
    gc.set_threshold(COLLECT_EVERY)
    _open_standard_streams()
    # psycopg warns of each connection that breaks. It is opened again, and a line says so.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    try:
        from vector_pipeline.cli.commands import cli
        from vector_pipeline.cli.output import show_every_character

        show_every_character()
        cli()
    except KeyboardInterrupt:
        # During the imports, which take most of a second. Later the commands handle it.
        sys.stderr.write("vector-pipeline: interrupted\n")
        sys.exit(130)
    finally:
        # What is left is the operating system's to clear away: the interpreter need not look for cycles in it first.
        gc.freeze()


__all__ = ["main"]
