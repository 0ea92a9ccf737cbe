"""The commands. Each function reads the settings, opens a pipeline, makes one call and prints a report."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from vector_pipeline.cli import reports
from vector_pipeline.cli.interruptions import end_like_ctrl_c
from vector_pipeline.cli.output import Progress, emit, emit_json, fail
from vector_pipeline.errors import ConfigurationError, PipelineError, counted
from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.settings import Settings

if TYPE_CHECKING:
    from vector_pipeline.local.beside import InstancePlace
    from vector_pipeline.local.report import IngestReport
    from vector_pipeline.store.search.hybrid import Mode

NO_SOURCE = "no source: name a folder or URL, or set VECTOR_PIPELINE_SOURCE"

as_json = click.option("--json", "json_wanted", is_flag=True, help="One JSON object on stdout.")


class Commands(click.Group):
    """A group whose errors are one line: exit code 2 for an error, 130 for an interruption, never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except PipelineError as error:
            fail(str(error))
            ctx.exit(2)
        except KeyboardInterrupt:
            kept = "; what was paid for and loaded is kept, and the next run continues from there"
            fail(f"interrupted{kept if ctx.invoked_subcommand == 'ingest' else ''}")
            ctx.exit(130)
        except (click.exceptions.Exit, click.ClickException, click.Abort, BrokenPipeError):
            raise
        except Exception as error:  # noqa: BLE001 (the last handler: no error is shown as a traceback)
            from vector_pipeline.cli.failures import line_of

            fail(line_of(error))
            ctx.exit(2)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="vector-pipeline")
def cli() -> None:
    """Keep a searchable pgvector table in step with a folder or bucket of text.

    Without settings everything runs on this machine: an embedded Postgres and an embedded model. DATABASE_URL,
    OPENAI_API_KEY, OPENAI_BASE_URL and the VECTOR_PIPELINE_ variables change that; docs/configuration.md lists them.
    """


@cli.command(short_help="Bring the table in step with SOURCE.")
@click.argument("source", nargs=-1)
@click.option("--confirm-deletions", is_flag=True, help="Confirm that most files of the source really are deleted.")
@click.option("--forget-root", metavar="SOURCE", help="Remove an ingested folder or URL from the table.")
@click.option("--watch", is_flag=True, help="Keep running, and load each change of SOURCE, until interrupted.")
@click.option(
    "--processes",
    metavar="N",
    type=click.IntRange(1, 64),
    help="Number of processes that load. Default: 1, or one for each processor if an embedded model has much to do.",
)
@as_json
def ingest(
    source: tuple[str, ...],
    confirm_deletions: bool,
    forget_root: str | None,
    watch: bool,
    processes: int | None,
    json_wanted: bool,
) -> None:
    """Bring the table in step with SOURCE: load new and changed files, remove deleted ones.

    SOURCE is a folder or a URL such as s3://bucket/folder; several may be named. The default is
    VECTOR_PIPELINE_SOURCE, which may have several, one a line. Files of other sources stay in the table. Exit code 1
    means that some files could not be loaded; the report names them. With --watch each change of a folder is loaded as
    it happens, and a bucket is scanned every few seconds. --json then prints one object a line.
    """
    end_like_ctrl_c()
    from vector_pipeline.local.beside import running_place
    from vector_pipeline.local.ingest import ingest as run_ingest
    from vector_pipeline.queries.forget import forget_root as forget

    settings = Settings.from_environment()
    locations = source or settings.sources
    if not locations and forget_root is None:
        raise ConfigurationError(NO_SOURCE)
    progress = Progress(quiet=json_wanted)
    with progress.shown(), open_pipeline(settings, progress=progress.advance) as pipeline:
        if forget_root is not None:
            forgotten = forget(pipeline.database, forget_root)
            progress.say(f"{forget_root}: {counted(forgotten, 'file')} removed from the table")
            if not locations:
                return
        progress.say(reports.where(pipeline))
        place = running_place(Path.cwd()) if settings.dagster_home is None else None
        if place is not None:
            progress.say(f"Dagster runs for the project {place.project}: its UI shows the runs of this command")
        if watch:
            _watch(pipeline, locations, place, confirm_deletions, processes, json_wanted)
        report = run_ingest(
            pipeline,
            locations,
            place=place,
            confirm_deletions=confirm_deletions,
            processes=processes,
            say=progress.say,
        )
    if json_wanted:
        emit_json(reports.ingest_json(report))
    else:
        reports.show_ingest(report)
    sys.exit(1 if report.failures or report.pending or report.rejected or report.rejected_earlier else 0)


def _watch(
    pipeline: Pipeline,
    locations: Sequence[str],
    place: InstancePlace | None,
    confirm_deletions: bool,
    processes: int | None,
    json_wanted: bool,
) -> NoReturn:
    """Ingest after each change, until an interruption. An `ingest` that found nothing to do gets no line.

    A file that stays rejected is named once.
    """
    from vector_pipeline.local.watch import watch

    named: dict[str, str] = {}

    def done(report: IngestReport) -> None:
        if report.arrivals or report.failures:
            if json_wanted:
                emit_json(reports.ingest_json(report))
            else:
                emit(reports.ingest_line(report))
            sys.stdout.flush()
        if not json_wanted:
            known = {path: reason for path, reason in report.rejected_earlier.items() if named.get(path) != reason}
            reports.show_rejected(known | report.rejected)
            named.update(known | report.rejected)

    watch(
        pipeline,
        locations,
        done=done,
        say=fail,
        place=place,
        confirm_deletions=confirm_deletions,
        processes=processes,
    )


@cli.command(short_help="Find the chunks that answer QUERY best.")
@click.argument("query")
@click.option("-k", default=5, show_default=True, type=click.IntRange(min=1), help="Number of chunks to find.")
@click.option(
    "--mode",
    type=click.Choice(["auto", "hybrid", "words", "meaning"]),
    default="auto",
    show_default=True,
    help="Rank by words, by meaning, or by both. 'auto' is both; texts that hold an identifier, a \"phrase\" or one "
    "word come first.",
)
@click.option("--context", default=0, type=click.IntRange(0, 100), help="Show this many chunks around each result.")
@click.option("--source", metavar="GLOB", help="Only files whose path matches, such as 'guides/*'.")
@click.option("--root", metavar="ROOT", help="Only files under this folder or URL.")
@click.option("--where", metavar="JSON", help="Only chunks whose metadata contains this object.")
@as_json
def search(
    query: str,
    k: int,
    mode: Mode,
    context: int,
    source: str | None,
    root: str | None,
    where: str | None,
    json_wanted: bool,
) -> None:
    """Find the chunks that answer QUERY best, by their words and by their meaning."""
    from vector_pipeline.queries.search import search as run_search

    with open_pipeline(Settings.from_environment()) as pipeline:
        results = run_search(
            pipeline, query, k, mode=mode, source=source, root=root, where=_object(where), context=context
        )
    if json_wanted:
        emit_json({"results": [dataclasses.asdict(result) for result in results]})
    else:
        reports.show_results(results)


def _object(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigurationError(f'--where is not JSON ({error}); it looks like \'{{"lang": "ko"}}\'') from error
    if not isinstance(value, dict):
        raise ConfigurationError('--where must be a JSON object, such as \'{"lang": "ko"}\'')
    return value


@cli.command(short_help="Show which files are loaded, and why not.")
@click.argument("path", required=False)
@as_json
def status(path: str | None, json_wanted: bool) -> None:
    """Show which files are loaded, pending and rejected, and why. With PATH, show only that file.

    Exit code 1 means that no file with that path is known.
    """
    from vector_pipeline.queries.status import read_status

    with open_pipeline(Settings.from_environment()) as pipeline:
        found = read_status(pipeline, path)
    unknown = path is not None and not found["file"]
    if json_wanted:
        emit_json(found)
    elif unknown:
        reason = reports.why_left_out(found["scans"], path)
        if reason:
            fail(f"'{path}' was left out by the last scan: {reason}")
        else:
            fail(f"no file '{path}' is known; give its path in its source, with /, or its full path")
    elif path is not None:
        reports.show_files(found["file"])
    else:
        reports.show_status(found)
    sys.exit(1 if unknown else 0)


@cli.command(short_help="Estimate what ingesting SOURCE costs.")
@click.argument("source", nargs=-1)
@as_json
def estimate(source: tuple[str, ...], json_wanted: bool) -> None:
    """Estimate the tokens, requests, minutes and dollars of ingesting SOURCE, before paying anything."""
    from vector_pipeline.queries.estimate import estimate as run_estimate

    settings = Settings.from_environment()
    locations = source or settings.sources
    if not locations:
        raise ConfigurationError(NO_SOURCE)
    progress = Progress(quiet=json_wanted)
    with progress.shown(), open_pipeline(settings, progress=progress.advance) as pipeline:
        found = run_estimate(pipeline, *locations)
    if json_wanted:
        emit_json(dataclasses.asdict(found))
    else:
        reports.show_estimate(found)


@cli.command(short_help="Measure searches on a golden set.")
@click.argument("golden", required=False, type=click.Path(path_type=Path))
@click.option(
    "--mode",
    type=click.Choice(["auto", "hybrid", "words", "meaning"]),
    help="Measure only this mode. Default: all modes.",
)
@click.option("--space", "space_name", metavar="NAME", help="Compare with the vectors of another space.")
@click.option("-k", default=5, show_default=True, type=click.IntRange(1, 1_000), help="Number of results that count.")
@as_json
def evaluate(golden: Path | None, mode: Mode | None, space_name: str | None, k: int, json_wanted: bool) -> None:
    """Measure searches on GOLDEN, a JSONL file of questions and the passages that answer them.

    The default of GOLDEN is VECTOR_PIPELINE_GOLDEN_SET. A line looks like {"question": "…", "source": "path of the
    file", "answers": ["a quotation from it"]}.
    """
    from vector_pipeline.queries.evaluation.evaluate import MODES
    from vector_pipeline.queries.evaluation.evaluate import evaluate as run_evaluate

    with open_pipeline(Settings.from_environment()) as pipeline:
        modes = MODES if mode is None else (mode,)
        found = run_evaluate(pipeline, golden or pipeline.settings.golden_set, modes=modes, k=k, space=space_name)
    if json_wanted:
        emit_json(found)
    else:
        reports.show_evaluation(found)


@cli.group(short_help="Change the model.")
def space() -> None:
    """Change the model: start a new space beside the old one, switch to it, drop the old one."""


@space.command("list", short_help="List the spaces.")
@as_json
def space_list(json_wanted: bool) -> None:
    """List the spaces, with the number of vectors that each lacks."""
    from vector_pipeline.queries.status import spaces_json

    with (
        open_pipeline(Settings.from_environment()) as pipeline,
        pipeline.database.connect(role="space") as connection,
    ):
        found = spaces_json(connection)
    if json_wanted:
        emit_json({"spaces": found})
    else:
        reports.show_spaces(found)


@space.command("start", short_help="Start to fill a space for a new model.")
@as_json
def space_start(json_wanted: bool) -> None:
    """Start filling a space for the model and dimensions that the settings name."""
    from vector_pipeline.queries.change_model import start

    with open_pipeline(Settings.from_environment()) as pipeline:
        found = start(pipeline)
    _show_change(
        json_wanted, found, f"space {found['name']} is filling; `ingest` brings it in step, then `space switch`"
    )


@space.command("switch", short_help="Make space NAME the active one.")
@click.argument("name")
@click.option("--anyway", is_flag=True, help="Switch even if it answers the golden set worse than the active space.")
@as_json
def space_switch(name: str, anyway: bool, json_wanted: bool) -> None:
    """Make space NAME the active one, which searches see."""
    from vector_pipeline.queries.change_model import switch

    with open_pipeline(Settings.from_environment()) as pipeline:
        switched = switch(pipeline, name, anyway=anyway)
    _show_change(json_wanted, {"name": switched.name, "model": switched.model}, f"searches now see space {name}")


@space.command("drop", short_help="Drop space NAME with its vectors.")
@click.argument("name")
@as_json
def space_drop(name: str, json_wanted: bool) -> None:
    """Drop space NAME with its vectors. The active space cannot be dropped."""
    from vector_pipeline.store.spaces import drop_space

    with (
        open_pipeline(Settings.from_environment()) as pipeline,
        pipeline.database.connect(role="space") as connection,
    ):
        drop_space(connection, name)
    _show_change(json_wanted, {"dropped": name}, f"space {name} is dropped")


def _show_change(json_wanted: bool, value: dict[str, Any], line: str) -> None:
    if json_wanted:
        emit_json(value)
    else:
        emit(line)


@cli.command(short_help="Run the Dagster UI and daemon.")
@click.option("--port", default=3000, show_default=True, type=click.IntRange(1, 65_535), help="Port of the UI.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address that the UI listens on.")
def dev(port: int, host: str) -> None:
    """Run the Dagster UI and daemon for this pipeline, with the sensor on."""
    from vector_pipeline.cli.dev import run_dev

    sys.exit(run_dev(Settings.from_environment(), host, port))


@cli.command(short_help="Serve searches to an assistant by MCP.")
def mcp() -> None:
    """Serve searches and documents to an assistant, as an MCP server on stdin and stdout.

    An MCP client starts this command; docs/search.md shows how to register it. It needs the extra
    vector-pipeline[mcp].
    """
    settings = Settings.from_environment()
    try:
        from vector_pipeline.cli.mcp_server import serve
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types"):
            raise
        raise ConfigurationError(
            "the MCP server needs another package, in version 2 or later: `pip install 'vector-pipeline[mcp]'`"
        ) from None
    serve(settings)
