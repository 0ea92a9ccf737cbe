from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from vector_pipeline.errors import FileRejected
from vector_pipeline.formats.kinds import Kind
from vector_pipeline.formats.pool import ReaderLimits, ReaderPool
from vector_pipeline.text.documents import Document
from vector_pipeline.text.readers.base import ReaderOptions

pytestmark = pytest.mark.slow

HOSTILE = Kind("hostile", (), "vector_pipeline_tests.formats.hostile:read_hostile")
MEMORY = 200_000_000


@pytest.fixture
def pool() -> Iterator[ReaderPool]:
    with ReaderPool(ReaderLimits(seconds=1, memory=MEMORY, processes=2)) as opened:
        yield opened


def _read(pool: ReaderPool, deed: str) -> list[Document]:
    return pool.read(io.BytesIO(deed.encode()), HOSTILE, ReaderOptions())


def test_a_document_comes_back_as_the_reader_made_it(pool: ReaderPool) -> None:
    document = _read(pool, "say 안녕")[0]
    assert (document.text, document.places) == ("안녕", {"pages": ((0, 1), (3, 2))})
    assert document.metadata["process"] != os.getpid()


def test_a_process_is_used_again_and_what_libraries_print_is_no_answer(pool: ReaderPool) -> None:
    processes = {_read(pool, deed)[0].metadata["process"] for deed in ("say a", "print b", "say c")}
    assert len(processes) == 1


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("crash", r"ends its reader \(SIGSEGV\)"),
        ("exit", r"ends its reader \(exit code 3\)"),
        ("loop", "takes more than 1 s to read; raise VECTOR_PIPELINE_READER_SECONDS"),
        ("sleep", "takes more than 1 s to read"),
        ("fill", "takes more than 200,000,000 bytes of memory to read; raise VECTOR_PIPELINE_READER_MEMORY"),
        ("flood", "takes more than 200,000,000 bytes of memory"),
        ("reject", "is refused; do something about it"),
        ("fail", r"could not be read \(LookupError: a reader's own mistake\)"),
    ],
)
def test_a_file_that_misbehaves_is_rejected_and_the_next_one_read(pool: ReaderPool, deed: str, reason: str) -> None:
    _read(pool, "say before")
    with pytest.raises(FileRejected, match=reason):
        _read(pool, deed)
    assert _read(pool, "say after")[0].text == "after"


def test_what_a_process_holds_of_other_files_rejects_none(pool: ReaderPool) -> None:
    for _ in range(4):
        assert _read(pool, f"leak {MEMORY * 6 // 10}")[0].text


def test_files_are_read_side_by_side_and_one_that_hangs_holds_up_no_other(pool: ReaderPool) -> None:
    _read(pool, "say warm")
    hanging = pool.submit(io.BytesIO(b"sleep"), HOSTILE, ReaderOptions())
    began = time.monotonic()
    others = [pool.submit(io.BytesIO(b"say quick"), HOSTILE, ReaderOptions()) for _ in range(5)]
    assert [future.result()[0].text for future in others] == ["quick"] * 5
    assert time.monotonic() - began < 5
    assert not hanging.done()
    with pytest.raises(FileRejected):
        hanging.result()


def test_a_reader_sees_no_secret_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:secret@host/db")
    with ReaderPool(ReaderLimits()) as pool:
        assert "secret" not in _read(pool, "environment")[0].text


def test_a_kind_without_its_library_says_what_to_install(pool: ReaderPool) -> None:
    kind = Kind("odd", (), HOSTILE.reader, packages=("no_such_library",))
    with pytest.raises(FileRejected, match=r"pip install 'vector-pipeline\[documents\]'"):
        pool.read(io.BytesIO(b"say a"), kind, ReaderOptions())


def test_nothing_is_left_when_the_pool_closes_or_its_process_is_killed(tmp_path: Path) -> None:
    with ReaderPool(ReaderLimits()) as pool:
        process = psutil.Process(_read(pool, "say a")[0].metadata["process"])
        pool.submit(io.BytesIO(b"sleep"), HOSTILE, ReaderOptions())
    assert not process.is_running()
    script = f"""
import io, os, signal, tempfile
tempfile.tempdir = {str(tmp_path)!r}
from vector_pipeline.formats.pool import ReaderLimits, ReaderPool
from vector_pipeline.text.readers.base import ReaderOptions
from vector_pipeline_tests.formats.test_pool import HOSTILE
pool = ReaderPool(ReaderLimits())
print(pool.read(io.BytesIO(b"say a"), HOSTILE, ReaderOptions())[0].metadata["process"], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    process_id = int(killed.stdout)
    deadline = time.monotonic() + 10
    while (psutil.pid_exists(process_id) or list(tmp_path.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(process_id)
    assert not list(tmp_path.iterdir())
