"""`dev` on one's own machine: no other web page launches runs, and no file of the folder it is started in is run."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from vector_pipeline_tests.support.dev import Dev, running_dev, wait_for

LAUNCH = (
    'mutation{launchRun(executionParams:{selector:{repositoryName:"__repository__",'
    'repositoryLocationName:"vector_pipeline.definitions",jobName:"scan"}}){__typename}}'
)
# Modules of the names that Dagster and its libraries import; each leaves a trace where it is run.
SHADOWS = ("gql", "graphene", "uvicorn", "dagster", "yaml", "sqlalchemy")


def _status(dev: Dev, method: str, headers: dict[str, str], query: str | None = None) -> int:
    url = dev.url if query is None else f"{dev.url}?{urllib.parse.urlencode({'query': query})}"
    body = json.dumps({"query": LAUNCH}).encode() if query is None else None
    request = urllib.request.Request(url, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_hostile_page_launches_nothing_and_a_hostile_folder_runs_nothing(
    tmp_path: Path, fresh_database_url: str, corpus: Path
) -> None:
    folder, trace = tmp_path / "hostile", tmp_path / "executed"
    folder.mkdir()
    for name in SHADOWS:
        (folder / f"{name}.py").write_text(f"open({str(trace)!r}, 'a').write({name!r})\n")
    (folder / ".env").write_text("VECTOR_PIPELINE_CHUNK_TOKENS=7\n")
    (folder / "texts").symlink_to(corpus)
    settings = {
        "DATABASE_URL": fresh_database_url,
        "VECTOR_PIPELINE_HOME": str(tmp_path / "home"),
        "VECTOR_PIPELINE_SOURCE": "texts",  # relative to the folder that `dev` is started in
        "VECTOR_PIPELINE_QUIET_SECONDS": "0",
    }
    log = tmp_path / "dev.log"
    with running_dev(log, settings, folder) as dev:
        before = len(dev.runs())
        evil = {"Origin": "http://evil.example", "Content-Type": "application/json"}
        assert _status(dev, "POST", evil) == 403
        assert _status(dev, "GET", {}, LAUNCH) == 403
        assert _status(dev, "POST", {"Host": "rebound.example", "Content-Type": "application/json"}) == 403
        assert [run for run in dev.runs()[: len(dev.runs()) - before] if "scan" in str(run["tags"])] == []
        assert _status(dev, "POST", {"Content-Type": "application/json"}) == 200  # a script of one's own

        wait_for(lambda: dev.command("status")["files"]["loaded"] == 3, 240)
        corpus.rename(tmp_path / "elsewhere")
        wait_for(lambda: "does not exist" in log.read_text(), 120)
    assert not trace.exists()
    printed = log.read_text()
    assert "Traceback" not in printed
    assert "Stack Trace" not in printed
