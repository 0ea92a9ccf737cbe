"""A job that writes what its process has imported, and then waits until it is ended or a file appears."""

import os
import sys
import time
from pathlib import Path

import dagster as dg

PLACE = "waiting_job/place"
"""The tag with the folder to write into."""


@dg.op
def wait(context: dg.OpExecutionContext) -> None:
    place = Path(context.run.tags[PLACE])
    partial = place / "imported.partial"
    partial.write_text("\n".join([str(os.getpid()), *sys.modules]), "ascii")
    partial.rename(place / "imported")
    while not (place / "end").exists():
        time.sleep(0.05)


@dg.job(executor_def=dg.in_process_executor)
def waiting() -> None:
    wait()
