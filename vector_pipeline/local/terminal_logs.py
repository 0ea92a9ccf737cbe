"""Output of runs in the command line's own process: it stays on the terminal, and the UI shows a note instead.

The base class is not part of Dagster's public API. Importing this module raises ImportError if a version of Dagster
lacks it, and Dagster then captures the output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from dagster._core.storage.compute_log_manager import CapturedLogContext, ComputeIOType
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._serdes import ConfigurableClassData

NOTE = "This run was part of a `vector-pipeline ingest`: its output is on the terminal of that command.\n"


class TerminalLogs(LocalComputeLogManager):
    """A compute log manager that copies nothing."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Create it from Dagster's configuration."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        """Write the note where the UI looks for the output of a run."""
        with self.open_log_stream(log_key, ComputeIOType.STDERR) as stream:
            if stream is not None:
                stream.write(NOTE)
        yield CapturedLogContext(log_key)
        Path(self.get_captured_local_path(log_key, "complete")).touch()
