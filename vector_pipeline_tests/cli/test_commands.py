"""The command line as a person has it: a process, its two streams and its exit code."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from rich.cells import cell_len

from vector_pipeline_tests.support.dev import wait_for
from vector_pipeline_tests.support.openai_server import RunningServer, ServerConfig, serve

COMMAND = (sys.executable, "-m", "vector_pipeline.cli")


@pytest.fixture
def environment(tmp_path: Path, fresh_database_url: str) -> dict[str, str]:
    return {**os.environ, "DATABASE_URL": fresh_database_url, "VECTOR_PIPELINE_HOME": str(tmp_path / "home")}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "bees.txt").write_text("Bees make honey on the roof.")
    (folder / "김치.txt").write_text("김치는 배추로 담급니다.")
    return folder


def call(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_nothing_but_its_own_lines_is_printed(environment: dict[str, str], corpus: Path) -> None:
    """No warning and no log line of a library's reaches the terminal."""
    done = call(environment, "ingest", str(corpus))
    assert done.returncode == 0
    # A slow machine adds a line of counts every ten seconds.
    first, scanned, *counts, arrival = done.stderr.splitlines()
    assert all(re.match(r" *[\d.]+ s  ", line) for line in counts)
    assert first.startswith("model wordllama-256 (embedded, no key needed); postgresql://")
    assert scanned.startswith(f"{corpus}: 2 new → arrival 2")
    assert arrival.endswith(": done")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["files", "chunks", "paid", "time"]
    for arguments in (["search", "배추 김치"], ["status"], ["estimate", str(corpus)], ["space", "list"]):
        done = call(environment, *arguments)
        assert (done.returncode, done.stderr) == (0, ""), arguments


# An escape sequence, a title with its end, C1 controls, and what turns the direction of all that follows.
OBEYED = "\x1b[31m\x1b]0;title\x07\x9b31m\x85\x7f\u202e"


def test_nothing_of_a_file_is_obeyed_by_a_terminal(environment: dict[str, str], corpus: Path) -> None:
    name = OBEYED.replace("/", "")
    folder = corpus / f"folder {name}"
    folder.mkdir()
    (folder / f"bees {name}.md").write_text(f"# Heading {OBEYED}\n\nBees {OBEYED} make wax.")
    (folder / f"records {name}.jsonl").write_text(json.dumps({"text": f"Wax {OBEYED}", "id": OBEYED, OBEYED: OBEYED}))
    (folder / f"broken {name}.csv").write_text(f"id,{OBEYED}\n1,a\n")
    (folder / f"link {name}.txt").symlink_to("/etc/hostname")
    (folder / f"picture.{name}").write_text("x")
    for arguments in (
        ["ingest", str(folder)],
        ["search", "bees wax", "-k", "9"],
        ["status"],
        ["status", f"bees {name}.md"],
        ["estimate", str(folder)],
        ["ingest", f"/no/such/{name}"],
        ["search", "x", "--source", name, "--where", name],
        ["space", "switch", name],
    ):
        for json_wanted in ([], ["--json"]):
            done = call(environment, *arguments, *json_wanted)
            said = done.stdout + done.stderr
            assert said.strip(), arguments
            assert "Traceback" not in said
            assert not [sign for sign in said if sign != "\n" and sign in OBEYED + "\r" and not sign.isprintable()]
    found = json.loads(call(environment, "search", "bees wax", "--json").stdout)["results"]
    assert any(OBEYED in result["page_content"] for result in found)


def test_a_records_own_field_headings_is_shown_as_it_is(environment: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "records"
    folder.mkdir()
    own: list[object] = [5, None, "not", ["a", 5], {"b": 1}]
    lines = [json.dumps({"id": n, "text": f"record {n}", "headings": value}) for n, value in enumerate(own)]
    (folder / "a.jsonl").write_text("\n".join([*lines, json.dumps({"text": "# Top\n\nunder it", "headings": "own"})]))
    assert call(environment, "ingest", str(folder)).returncode == 0
    shown = call(environment, "search", "record", "-k", "9")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "a.jsonl#6, chunk 0, Top  (" in shown.stdout
    found = json.loads(call(environment, "search", "record", "-k", "9", "--json").stdout)["results"]
    assert [r["metadata"]["headings"] for r in sorted(found, key=lambda r: str(r["document_id"]))] == [*own, "own"]


def test_a_terminal_of_another_encoding_is_no_reason_to_fail(environment: dict[str, str], corpus: Path) -> None:
    assert call(environment, "ingest", str(corpus)).returncode == 0
    done = call(environment | {"PYTHONIOENCODING": "latin-1"}, "search", "김치")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\uae40\\uce58" in done.stdout


def test_json_is_one_object_and_nothing_else(environment: dict[str, str], corpus: Path) -> None:
    for arguments, keys in (
        (["ingest", str(corpus)], {"files", "chunks", "tokens", "requests", "embedded", "reused", "rows", "seconds"}),
        (["search", "honey"], {"results"}),
        (["status"], {"files", "rejected", "rows", "spaces", "database"}),
        (["estimate", str(corpus)], {"chunks", "tokens", "requests", "minutes", "usd", "usd_batch"}),
        (["space", "list"], {"spaces"}),
    ):
        done = call(environment, *arguments, "--json")
        assert (done.returncode, done.stderr) == (0, ""), arguments
        assert keys <= json.loads(done.stdout).keys()


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (["ingest"], {}, "no source: name a folder or URL, or set VECTOR_PIPELINE_SOURCE"),
        (["ingest", "/no/such/folder"], {}, "source '/no/such/folder' does not exist"),
        (["ingest", "ftp4://x"], {}, "ftp4://x"),
        (["search", " "], {}, "the query is empty"),
        (["search", "x", "--where", "{"], {}, "--where is not JSON"),
        (["space", "switch", "nothing"], {}, "nothing"),
        (["status"], {"VECTOR_PIPELINE_CHUNK_TOKENS": "many"}, "VECTOR_PIPELINE_CHUNK_TOKENS is 'many'"),
        (["status"], {"VECTOR_PIPELINE_CHUNK_TOKEN": "5"}, "did you mean VECTOR_PIPELINE_CHUNK_TOKENS?"),
        (["ingest", "."], {"VECTOR_PIPELINE_BACKFILL_CRON": "99 99 * * *"}, "VECTOR_PIPELINE_BACKFILL_CRON is '99 99"),
        (["search", "x", "-k", "0"], {}, "-k"),
        (["status"], {"DATABASE_URL": "postgresql://u:verysecret@127.0.0.1:9/x"}, "does not answer"),
        (["status"], {"DATABASE_URL": "mysql://u:verysecret@h/x"}, "DATABASE_URL is not a Postgres URL"),
        (["status"], {"VECTOR_PIPELINE_HOME": "/proc/nowhere"}, "cannot be written"),
        (["dev", "--port", "99999"], {}, "--port"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    environment: dict[str, str], arguments: list[str], variables: dict[str, str], said: str
) -> None:
    done = call(environment | variables, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert said in last
    assert "Traceback" not in done.stderr
    assert "verysecret" not in done.stderr


def test_a_refused_key_is_named_without_being_shown(environment: dict[str, str], corpus: Path) -> None:
    with serve(ServerConfig(key="sk-right")) as server:
        wrong = environment | {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "sk-verysecret"}
        done = call(wrong, "ingest", str(corpus))
        assert done.returncode == 1
        assert "OPENAI_API_KEY" in done.stderr.splitlines()[-1]
        assert call(wrong, "search", "honey").returncode == 2
        assert "verysecret" not in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interruption_ends_it_and_the_next_run_goes_on(
    environment: dict[str, str], corpus: Path, ending: signal.Signals
) -> None:
    for number in range(30):
        (corpus / f"{number}.txt").write_text(f"Note {number}, which says something of its own.")
    with serve(ServerConfig(latency=0.3)) as server:
        environment |= {
            "OPENAI_BASE_URL": server.url,
            "OPENAI_API_KEY": "sk-test",
            "VECTOR_PIPELINE_MAX_FILES_PER_ARRIVAL": "20",
            "VECTOR_PIPELINE_MAX_INPUTS_PER_REQUEST": "1",
            "VECTOR_PIPELINE_MAX_IN_FLIGHT": "1",
        }
        # What is killed cannot tidy up: as often as there are places in the pool, and once more.
        times = 3 if ending is signal.SIGKILL else 1
        for _ in range(times):
            said = _broken_off(environment, corpus, server, ending)
        if ending is not signal.SIGKILL:
            assert said.splitlines()[-1] == (
                "vector-pipeline: interrupted; what was paid for and loaded is kept, "
                "and the next run continues from there"
            )
            assert "Traceback" not in said
        assert len(server.seen.billed) < 20
        environment.pop("VECTOR_PIPELINE_MAX_IN_FLIGHT")
        assert call(environment, "ingest", str(corpus)).returncode == 0
        # Paid for again is what was under way; the first request of all tells the model's dimensions.
        assert sum(server.seen.billed.values()) <= 32 + times + 1


def _broken_off(environment: dict[str, str], corpus: Path, server: RunningServer, ending: signal.Signals) -> str:
    """What an `ingest` says that is ended after its first few requests."""
    before = server.seen.requests
    process = subprocess.Popen(
        [*COMMAND, "ingest", str(corpus)], env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    wait_for(lambda: server.seen.requests >= before + 3, 60)
    process.send_signal(ending)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (-ending if ending is signal.SIGKILL else 130)
    return said


def on_a_terminal(environment: dict[str, str], columns: int, *arguments: str) -> list[str]:
    """What a command prints to a real terminal of so many columns."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    without = {name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [*COMMAND, *arguments], env=without, stdin=follower, stdout=follower, stderr=follower, close_fds=True
    )
    os.close(follower)
    printed = b""
    while True:
        try:
            piece = os.read(leader, 65_536)
        except OSError:  # the terminal is closed with its last user
            break
        if not piece:
            break
        printed += piece
    process.wait(60)
    os.close(leader)
    return printed.decode().replace("\r", "").splitlines()


def test_no_word_is_broken_at_sixty_columns(environment: dict[str, str], corpus: Path) -> None:
    call(environment, "ingest", str(corpus))
    lines = on_a_terminal(environment, 60, "status")
    whole = call(environment, "status").stdout
    assert all(len(line) <= 60 or " " not in line.strip() for line in lines), lines
    assert {word for line in lines for word in line.split()} == set(whole.split())
    assert any(line.startswith("          ") for line in lines)  # what follows a label stays in its column


def test_what_is_found_fits_the_terminal_in_any_script(environment: dict[str, str], tmp_path: Path) -> None:
    """A Korean character takes two columns, and a text without spaces is shown too."""
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "korean.txt").write_text("직원은 매년 연차 휴가를 받습니다. " * 30)
    (folder / "japanese.txt").write_text("吾輩は猫である。名前はまだ無い。" * 30)
    call(environment, "ingest", str(folder))
    for question, beginning in (("휴가는 며칠인가요", "   직원은 매년"), ("吾輩は猫である", "   吾輩は猫である。名前")):
        printed = call({**environment, "COLUMNS": "60"}, "search", question, "-k", "1").stdout.splitlines()
        assert printed[1].startswith(beginning)
        assert all(cell_len(line) <= 60 for line in printed), printed


def test_a_file_that_repeats_a_text_is_named_once(environment: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "bees.jsonl").write_text('{"text": "Bees make honey."}\n' * 3)
    call(environment, "ingest", str(folder))
    printed = call(environment, "search", "honey", "-k", "1").stdout.splitlines()
    assert printed[1:] == ["   Bees make honey.", "   also in bees.jsonl"]


def test_what_was_left_out_stays_in_its_column(environment: dict[str, str], corpus: Path) -> None:
    (corpus / "link.txt").symlink_to("/etc/hostname")
    call(environment, "ingest", str(corpus))
    lines = on_a_terminal(environment, 40, "status")
    at = next(index for index, line in enumerate(lines) if line.startswith("left out  "))
    assert lines[at + 1].startswith(" " * 10), lines


def test_an_evaluation_fits_the_terminal(environment: dict[str, str], corpus: Path, tmp_path: Path) -> None:
    """Its intervals need 91 columns."""
    call(environment, "ingest", str(corpus))
    golden = tmp_path / "golden.jsonl"
    golden.write_text('{"question": "Who makes honey?", "source": "bees.txt", "answer": "Bees make honey"}\n')
    lines = on_a_terminal(environment, 80, "evaluate", str(golden), "--mode", "words")
    assert [line.split()[:2] for line in lines[:3]] == [["mode", "questions"], ["words", "all"], ["words", "Latin"]]
    assert lines[1].split()[-3:] == ["1.000"] * 3
    assert all(len(line) <= 80 for line in lines), lines
    wide = on_a_terminal(environment, 91, "evaluate", str(golden), "--mode", "words")
    assert wide[1].count("1.000 (1.000-1.000)") == 3


def test_one_of_a_thing_is_singular(environment: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "one.txt").write_text("One text.")
    printed = call(environment, "ingest", str(folder)).stdout
    assert "1 text, " in printed
    assert "1 request" in printed
    assert "1 requests" not in printed
    assert "1 arrival\n" in printed
    assert "nothing: the embedded model runs on this machine" in call(environment, "estimate", str(folder)).stdout
    assert "1 document, 1 chunk, " in call(environment, "status", "one.txt").stdout


def test_files_that_stay_rejected_are_counted_in_a_sentence(environment: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "empty.txt").write_text("")
    call(environment, "ingest", str(folder))
    again = call(environment, "ingest", str(folder))
    assert again.returncode == 1
    assert again.stdout.splitlines()[1] == "        1 file was rejected earlier and still is"


def test_status_of_an_unknown_file_says_only_that(environment: dict[str, str], corpus: Path) -> None:
    call(environment, "ingest", str(corpus))
    done = call(environment, "status", "no-such-file.txt")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "vector-pipeline: no file 'no-such-file.txt' is known; give its path in its source, with /, or its full path"
    ]
    assert call(environment, "status", "bees.txt").returncode == 0


def test_status_of_a_file_that_was_left_out_says_why(environment: dict[str, str], corpus: Path) -> None:
    (corpus / "link.txt").symlink_to("/etc/hostname")
    call(environment, "ingest", str(corpus))
    for path in ("link.txt", str(corpus / "link.txt")):
        done = call(environment, "status", path)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            f"vector-pipeline: '{path}' was left out by the last scan: link leads out of the source; not followed\n"
        )


@pytest.mark.parametrize("arguments", [["--help"], ["space", "--help"]])
def test_the_list_of_commands_is_whole_at_sixty_columns(environment: dict[str, str], arguments: list[str]) -> None:
    commands = call({**environment, "COLUMNS": "60"}, *arguments).stdout.partition("Commands:\n")[2].splitlines()
    assert len(commands) >= 4
    assert all(line.endswith(".") and not line.endswith("...") for line in commands), commands


def test_a_url_with_a_driver_s_name_is_taken(environment: dict[str, str], corpus: Path) -> None:
    url = environment["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://")
    done = call({**environment, "DATABASE_URL": url}, "ingest", str(corpus))
    assert done.returncode == 0, done.stderr


def test_a_missing_extra_is_named_with_what_to_run(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "gcsfs.py").write_text("raise ImportError('as if it were not installed')")
    done = call({**environment, "PYTHONPATH": str(tmp_path)}, "ingest", "gs://bucket/texts")
    assert done.returncode == 2
    assert "run `pip install 'vector-pipeline[gcs]'`" in done.stderr
