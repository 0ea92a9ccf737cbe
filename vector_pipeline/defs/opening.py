"""What the definitions of one pipeline share: settings, names, limits of ticks, and a way to open the pipeline."""

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
"""The outcome of a stage for an arrival."""


@dataclass(frozen=True, slots=True)
class TickLimits:
    """Limits of the duration and the work of a tick. All times are in seconds."""

    interval_seconds: int = 5
    """The time between two ticks of `source_files_sensor`; Dagster's daemon evaluates no sensor more often."""
    scan_share: float = 1 / 60
    """Ticks scan for at most this share of the time: a second a minute. After a slow scan, some ticks do not scan."""
    linger_seconds: float = 2.0
    """A tick waits for files that are quiet within this time, so that they are not left to the next tick."""
    scan_seconds: float = 20.0
    """A scan inside a tick stops after this time: Dagster allows a tick 60 s, and the daemon has other sensors."""
    files_per_tick: int = 100_000
    """With more known files a run lists the source, because a tick would keep the daemon busy."""
    scan_every_seconds: float = 120.0
    """The time between two such runs."""
    slow_for_seconds: float = 3_600.0
    """For this time runs list a source that was too slow for a tick. Then a tick tries again."""
    runs_per_tick: int = 50
    """The most runs that the sensor keeps queued or running, and the most arrivals that one tick registers."""
    events_per_tick: int = 1_000
    """The most messages of a queue of events that one tick reads: it looks at each object that they name."""
    start_seconds: float = 30.0
    """A run may need this time from its start until it holds its lock in Postgres."""
    settle_seconds: float = SETTLE_SECONDS
    """For this time after a start of Postgres, a run without its lock may still be alive."""


ORDINARY = TickLimits()
ALONE = DagsterOptions()
"""The options of a pipeline in a code location of its own."""


def _ignore(_: object) -> None:
    """Ignore an outcome or a line."""


@dataclass(frozen=True, slots=True)
class Opening:
    """One pipeline for its assets, checks, sensors and schedules."""

    settings: Settings
    held: Pipeline | None = field(default=None, repr=False)
    """The open pipeline of the process that builds the definitions, if it has one."""
    ticks: TickLimits = ORDINARY
    options: DagsterOptions = ALONE
    finished: Callable[[StageOutcome], None] = field(default=_ignore, repr=False)
    """Called in the process of the run with the outcome of each stage."""
    say: Callable[[str], None] = field(default=_ignore, repr=False)
    """Called in the process of the run with a line about work that takes long."""

    @property
    def names(self) -> Names:
        """The names of the pipeline in Dagster."""
        prefix = self.options.key_prefix
        asset_prefix = None if prefix is None else tuple(prefix)
        return Names(self.settings.name, asset_prefix, golden_set=self.settings.golden_set is not None)

    @contextmanager
    def pipeline(self) -> Iterator[Pipeline]:
        """Open the pipeline while the block lasts. Raises the errors of `open_pipeline`."""
        if self.held is not None:
            yield self.held
            return
        with open_pipeline(self.settings) as pipeline:
            yield pipeline
