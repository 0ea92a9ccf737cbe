"""What the definitions of one pipeline share: its settings, its names, the limits of its ticks, and how to open it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from vector_pipeline.defs.names import Names
from vector_pipeline.defs.options import DagsterOptions
from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.settings import Settings
from vector_pipeline.stages.chunks import ChunksOutcome
from vector_pipeline.stages.documents import DocumentsOutcome
from vector_pipeline.stages.embeddings.plan import EmbedResult
from vector_pipeline.stages.load import LoadResult
from vector_pipeline.stages.token_batches import PlanOutcome
from vector_pipeline.store.locks import SETTLE_SECONDS

StageOutcome = DocumentsOutcome | ChunksOutcome | PlanOutcome | EmbedResult | LoadResult
"""What a stage did for an arrival."""


@dataclass(frozen=True, slots=True)
class TickLimits:
    """How long a tick may take and how much it may ask for. All times are in seconds."""

    interval_seconds: int = 30
    """Between two ticks of `source_files_sensor`."""
    scan_seconds: float = 20.0
    """After which a scan inside a tick breaks off: Dagster allows a tick 60 s, and the daemon has other sensors."""
    files_per_tick: int = 100_000
    """Known files above which a tick leaves the listing to a run: it would keep the daemon busy."""
    scan_every_seconds: float = 120.0
    """Between two runs that list what is too much for a tick."""
    slow_for_seconds: float = 3_600.0
    """How long a source that was too slow for a tick is left to runs before a tick tries again."""
    runs_per_tick: int = 50
    """Runs that the sensor keeps queued or under way, and arrivals that one tick registers at most."""
    start_seconds: float = 30.0
    """From its start to the moment when it holds its lock in Postgres, a run may take so long."""
    settle_seconds: float = SETTLE_SECONDS
    """After a start of Postgres, a run whose lock is missing may still be alive for so long."""


ORDINARY = TickLimits()
ALONE = DagsterOptions()
"""The options of a pipeline in a code location of its own."""


def _ignore(_: object) -> None:
    """Show nothing, keep nothing."""


@dataclass(frozen=True, slots=True)
class Opening:
    """One pipeline, as its assets, checks, sensors and schedules know it."""

    settings: Settings
    held: Pipeline | None = field(default=None, repr=False)
    """The pipeline that the process which builds the definitions holds open, if it does."""
    ticks: TickLimits = ORDINARY
    options: DagsterOptions = ALONE
    finished: Callable[[StageOutcome], None] = field(default=_ignore, repr=False)
    """Called in the process of the run with what each stage did."""
    say: Callable[[str], None] = field(default=_ignore, repr=False)
    """Called in the process of the run with a line about work that takes long."""

    @property
    def names(self) -> Names:
        """The names of the pipeline in Dagster."""
        prefix = self.options.key_prefix
        return Names(self.settings.name, None if prefix is None else tuple(prefix))

    @contextmanager
    def pipeline(self) -> Iterator[Pipeline]:
        """The pipeline, open for as long as the block lasts. Raises as `open_pipeline` does."""
        if self.held is not None:
            yield self.held
            return
        with open_pipeline(self.settings) as pipeline:
            yield pipeline
