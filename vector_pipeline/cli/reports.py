"""Reports for people: what was done, found or estimated, in plain English."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vector_pipeline.cli.output import emit, fail, harmless
from vector_pipeline.cli.wrapping import excerpt, wrap
from vector_pipeline.errors import counted
from vector_pipeline.settings import EMBEDDED_MODELS
from vector_pipeline.sources.base import printable
from vector_pipeline.stages.roots import gone_line
from vector_pipeline.stages.scan import KEPT, kinds_not_read, missing_files
from vector_pipeline.text.documents import PLACES, notes_of

if TYPE_CHECKING:
    # The import of Dagster takes a second and that of openai half a second. Commands that use neither skip them.
    from vector_pipeline.local.ingest import IngestReport
    from vector_pipeline.pipeline.pipeline import Pipeline
    from vector_pipeline.queries.estimate import Estimate
    from vector_pipeline.queries.roles_cost import RolesCost
    from vector_pipeline.store.search.results import SearchResult

# The number of rejected files that `ingest` lists (`status` lists all), and of left-out files that `status` lists.
SHOWN = 20

# What `search` shows of a chunk.
INDENT = "   "
EXCERPT_LINES = 5

# The columns of the table of `evaluate` with its intervals.
EVALUATION_COLUMNS = 91
FIGURES = ("recall", "mrr", "ndcg")

LEFT_OUT = {"withheld": "missing", "waiting": "still being written", "passed_over": "passed over"}


def where(pipeline: Pipeline) -> str:
    """The model and the database in use."""
    settings = pipeline.settings
    model = f"{pipeline.model} (embedded, no key needed)" if settings.uses_embedded_model else pipeline.model
    server = "embedded Postgres" if settings.uses_embedded_server else pipeline.database.safe_url
    return f"model {model}; {server}; home {settings.home}"


def ingest_json(report: IngestReport) -> dict[str, Any]:
    """The report of `ingest` as one JSON object."""
    return {
        "files": {
            "loaded": report.loaded,
            "rejected": len(report.rejected),
            "rejected_earlier": len(report.rejected_earlier),
            "deleted": report.deleted,
            "unchanged": report.unchanged,
            "pending": report.pending,
        },
        "chunks": report.chunks,
        "tokens": report.tokens,
        "requests": report.requests,
        "embedded": report.embedded,
        "reused": report.reused,
        "rows": report.rows,
        "usd": round(report.usd, 6),
        "seconds": round(report.seconds, 3),
        "arrivals": report.arrivals,
        "arrivals_elsewhere": report.elsewhere,
        "rejected": [
            {"source": path, "error": reason} for path, reason in (report.rejected | report.rejected_earlier).items()
        ],
        "gone": report.gone,
        "failures": report.failures,
    }


def ingest_line(report: IngestReport) -> str:
    """What one `ingest` of several did, in a line."""
    undone = (
        f", {len(report.rejected):,} rejected, {report.pending:,} pending" if report.rejected or report.pending else ""
    )
    failed = f": {'; '.join(report.failures)}" if report.failures else ""
    return (
        f"{report.loaded:,} loaded, {report.deleted:,} deleted{undone}, {counted(report.embedded, 'text')} embedded "
        f"in {report.seconds:.1f} s{failed}"
    )


def show_ingest(report: IngestReport) -> None:
    """Print what `ingest` did, and what it could not do."""
    emit(
        f"files   {report.loaded:,} loaded, {report.deleted:,} deleted, {report.unchanged:,} unchanged, "
        f"{len(report.rejected):,} rejected, {report.pending:,} pending"
    )
    if report.rejected_earlier:
        many = len(report.rejected_earlier) > 1
        files = counted(len(report.rejected_earlier), "file")
        emit(f"        {files} {'were' if many else 'was'} rejected earlier and still {'are' if many else 'is'}")
    emit(f"chunks  {report.chunks:,} read, {report.reused:,} of them reused, {counted(report.rows, 'row')}")
    cost = f", ${report.usd:.4f}" if report.usd else ""
    texts, tokens = counted(report.embedded, "text"), counted(report.tokens, "token")
    emit(f"paid    {texts}, {tokens}, {counted(report.requests, 'request')}{cost}")
    elsewhere = f"; other processes loaded {report.elsewhere:,} meanwhile" if report.elsewhere else ""
    emit(f"time    {report.seconds:.1f} s, {counted(report.arrivals, 'arrival')}{elsewhere}")
    show_rejected(report.rejected | report.rejected_earlier)
    for line in report.failures:
        fail(line)


def show_rejected(rejected: Mapping[str, str]) -> None:
    """Name files that cannot be read, with their reasons."""
    for path, reason in list(rejected.items())[:SHOWN]:
        fail(f"rejected {path}: {reason}")
    if len(rejected) > SHOWN:
        fail(f"… and {len(rejected) - SHOWN:,} more rejected; `vector-pipeline status` lists them")


def show_results(results: list[SearchResult]) -> None:
    """Print the results of a search, best first."""
    width = min(100, shutil.get_terminal_size().columns)
    if not results:
        emit("nothing found")
    for number, result in enumerate(results, 1):
        headings = " › ".join(_headings(result.metadata))
        parts = [result.document_id, f"chunk {result.chunk_index}", *_places(result.metadata), headings]
        place = ", ".join(filter(None, parts))
        emit(f"{number}. {printable(place)}  (score {result.score:.3f})")
        content = result.page_content if result.context is None else result.context
        text = harmless(" ".join(content.split()))
        if result.context is None:
            lines = excerpt(text, width, INDENT, EXCERPT_LINES)
        else:
            lines = wrap(text, width, INDENT, INDENT, break_words=True)
        for line in lines:
            emit(line)
        # A file that repeats the text is in the list once for each place.
        if also_in := dict.fromkeys(result.also_in):
            emit(f"{INDENT}also in {', '.join(map(printable, also_in))}")


def _places(metadata: Mapping[str, Any]) -> list[str]:
    """Where in its file a text stands, as it is cited: `pages 3-4`."""
    notes = notes_of(metadata)
    found = []
    for name in PLACES:
        numbers = notes.get(name)
        if isinstance(numbers, list) and numbers and all(isinstance(number, int) for number in numbers):
            many = f"{name} {numbers[0]}-{numbers[-1]}" if numbers[0] != numbers[-1] else ""
            found.append(many or f"{name.removesuffix('s')} {numbers[0]}")
    return found


def _headings(metadata: Mapping[str, Any]) -> list[str]:
    """The path of headings of a chunk. Rows of earlier versions may have a record's own field in its place."""
    path = notes_of(metadata).get("headings")
    return [name for name in path if isinstance(name, str)] if isinstance(path, list) else []


def show_evaluation(found: dict[str, Any]) -> None:
    """Print what part of a golden set each mode finds."""
    k = found["k"]
    wide = not sys.stdout.isatty() or shutil.get_terminal_size().columns >= EVALUATION_COLUMNS
    figure_columns = 19 if wide else 9
    emit(f"{'mode':<8}  {'questions':<18}  {f'recall@{k}':<{figure_columns}}  {'MRR':<{figure_columns}}  nDCG@{k}")
    for mode, figures in found["modes"].items():
        for name, group in [("all", figures), *figures["languages"].items()]:
            shown = (_with_interval(group[f]) if wide else f"{group[f]['value']:.3f}" for f in FIGURES)
            cells = "  ".join(f"{cell:<{figure_columns}}" for cell in shown).rstrip()
            emit(f"{mode:<8}  {name:<10} {group['questions']:>7,}  {cells}")
    for problem in found["problems"]:
        fail(f"line {problem['line']}: {printable(problem['error'])}")


def _with_interval(figure: dict[str, float]) -> str:
    return f"{figure['value']:.3f} ({figure['low']:.3f}-{figure['high']:.3f})"


def show_status(found: dict[str, Any]) -> None:
    """Print the state of the table."""
    files = found["files"]
    emit(f"database  {found['database']}, {_mib(found['bytes'])}")
    emit("          " + ", ".join(f"{name} {_mib(size)}" for name, size in found["sizes"].items()))
    emit(f"sources   {', '.join(printable(root) for root in found['roots']) or 'none yet'}")
    emit(
        f"files     {files['loaded']:,} loaded, {files['pending']:,} pending, {files['rejected']:,} rejected, "
        f"{files['deleted']:,} deleted"
    )
    if found["progress"]:
        emit(f"loading   {found['progress']['line']}")
    for scan in found["scans"]:
        _show_scan(scan)
    for root in found["gone"]:
        emit(f"gone      {gone_line(root)}")
    emit(f"rows      {found['rows']:,}")
    show_spaces(found["spaces"])
    for state in ("rejected", "pending"):
        for file in found[state]:
            emit(f"{state}  {printable(file['source'])}" + (f": {file['error']}" if file["error"] else ""))
    show_files(found.get("file", []))


def show_files(files: list[dict[str, Any]]) -> None:
    """Print the state of single files."""
    for file in files:
        counts = [counted(file[name], name[:-1]) for name in ("documents", "chunks", "tokens")]
        reason = f"; {file['error']}" if file["error"] else ""
        emit(
            f"{printable(file['source'])} in {file['root']}: {file['status']}, {', '.join(counts)}, "
            f"arrival {file['arrival']}{reason}"
        )


def why_left_out(scans: list[dict[str, Any]], path: str | None) -> str | None:
    """Why the last scan of a source left a file out, by its path in the source or its full path; None if it did not."""
    for scan in scans:
        for file in scan["left_out"]:
            if path in (file["source"], f"{scan['root']}/{file['source']}"):
                return str(file["reason"])
    return None


def _show_scan(scan: dict[str, Any]) -> None:
    """Print when the last scan of a source ended, and what it left out."""
    left_out = [f"{scan[name]:,} {words}" for name, words in LEFT_OUT.items() if scan[name]]
    if scan["not_read"]:
        left_out.append(kinds_not_read(scan["not_read"]))
    emit(f"scanned   {printable(scan['root'])} at {scan['ended_at']}: {', '.join(left_out) or 'nothing passed over'}")
    for file in scan["left_out"][:SHOWN]:
        emit(f"left out  {printable(file['source'])}: {file['reason']}")
    if (more := scan["passed_over"] + scan["waiting"] - SHOWN) > 0:
        emit(f"          … and {more:,} more; `status --json` has up to {KEPT:,} of them")
    if scan["withheld"]:
        emit(f"missing   {missing_files(scan['withheld'], printable(scan['root']))}")


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


def show_spaces(spaces: list[dict[str, Any]]) -> None:
    """Print the spaces, one a line."""
    for space in spaces:
        missing = f", {space['missing']:,} missing" if space["missing"] is not None else ""
        recall = f", recall@10 {space['recall']:.3f}" if space["recall"] is not None else ""
        sizes = f"{_mib(space['bytes'])}, {space['index_type']} index {_mib(space['index_bytes'])}"
        sent = [(space["query_prefix"], "questions"), (space["document_prefix"], "texts")]
        sizes += "".join(f"; {prefix!r} with {what}" for prefix, what in sent if prefix)
        vectors = f"{counted(space['vectors'], 'vector')}{missing}"
        emit(
            f"space     {space['name']} ({space['state']}): {space['model']}, "
            f"{counted(space['dimensions'], 'dimension')}, {vectors}{recall}; {sizes}"
        )
    if not spaces:
        emit("space     none yet")


def _minutes(minutes: float | None) -> str:
    if minutes is None:
        return "unknown: set VECTOR_PIPELINE_TIER"
    return "less than a minute" if minutes < 1 else f"about {minutes:.1f} minutes"


def show_roles_cost(found: RolesCost) -> None:
    """Print what is wanted beside texts and questions and is not sent, and what it costs to send it."""
    emit(f"prefixes  questions have {_sent(found.query_now)} and should have {_sent(found.query)},")
    emit(f"          texts have {_sent(found.document_now)} and should have {_sent(found.document)};")
    emit(f"          to change that, {found.how}")
    price = "unknown" if found.usd is None else f"${found.usd:.4f}, or ${found.usd_batch or 0:.4f} in batch mode"
    again = f"{counted(found.texts, 'text')} again, {counted(found.tokens, 'token')}, cost {price}"
    emit(f"          it embeds {again if found.texts else 'nothing again'}")


def _sent(prefix: str) -> str:
    return repr(prefix) if prefix else "none"


def show_estimate(found: Estimate) -> None:
    """Print an estimate."""
    emit(f"model     {found.model}")
    emit(f"files     {found.files:,} new or changed, {len(found.rejected):,} that cannot be read")
    emit(f"chunks    {found.chunks:,}, {found.reused:,} of them paid for already or repeated")
    emit(f"to pay    {counted(found.tokens, 'token')} in {counted(found.requests, 'request')}")
    if found.model in EMBEDDED_MODELS:
        emit("cost      nothing: the embedded model runs on this machine")
    elif found.usd is None:
        emit("cost      unknown: set VECTOR_PIPELINE_USD_PER_MILLION_TOKENS")
    else:
        emit(f"cost      ${found.usd:.4f}, or ${found.usd_batch or 0:.4f} in batch mode")
    emit(f"time      {_minutes(found.minutes)}")
    if found.roles is not None:
        show_roles_cost(found.roles)
    for file in found.rejected[:SHOWN]:
        fail(f"cannot be read: {file['source']}: {file['error']}")
