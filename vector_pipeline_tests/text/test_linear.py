"""Reading and cutting take time in proportion to a file's length, whatever grows in it. CPU time is what is compared."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vector_pipeline.errors import FileRejected
from vector_pipeline.text.chunking.chunker import ChunkingConfig, chunk_document
from vector_pipeline.text.chunking.tokens import tokenizer_for
from vector_pipeline.text.readers import READERS, ReaderOptions, read_documents
from vector_pipeline_tests.support.growing_files import GROWING

pytestmark = pytest.mark.slow

TOKENIZER = tokenizer_for("text-embedding-3-small")
BYTES = 16 * 1024
DOCUMENTS = 3
TIMES = 4
# Four times as much may take eight times as long; what is quadratic takes sixteen. Below this nothing can be told.
MAX_TIMES, NOTHING = 8.0, 0.1
# What takes most, files of tags or of records of two characters, takes about 3 microseconds a byte.
SECONDS_PER_BYTE = 50e-6


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    TOKENIZER.starts("x")


def _configs(name: str) -> Iterator[ChunkingConfig]:
    yield ChunkingConfig(overlap=40)
    if name.endswith(".md"):
        yield ChunkingConfig(strategy="paragraph", max_tokens=64)


def _seconds(name: str, data: bytes, config: ChunkingConfig) -> float:
    """Of this thread's CPU, to read a file and to cut the first of its documents."""
    began = time.thread_time()
    try:
        for number, document in enumerate(read_documents(io.BytesIO(data), name, ReaderOptions())):
            if number < DOCUMENTS:
                chunk_document(document, TOKENIZER, config)
    except FileRejected:
        pass
    return time.thread_time() - began


def _made(name: str, size: int) -> tuple[bytes, bytes]:
    """The file at about a size, and with four times as many parts."""
    parts = 16
    while len(data := GROWING[name](parts).encode()) < size:
        parts *= 2
    return data, GROWING[name](TIMES * parts).encode()


@pytest.mark.parametrize("name", sorted(GROWING))
def test_four_times_as_much_takes_about_four_times_as_long(name: str) -> None:
    small, large = _made(name, BYTES)
    for config in _configs(name):
        # The least of some is what it takes where nothing else comes between.
        least = min(_seconds(name, small, config) for _ in range(3))
        most = min(_seconds(name, large, config) for _ in range(2))
        assert most < max(NOTHING, MAX_TIMES * least), config
        assert most < SECONDS_PER_BYTE * len(large), config


_PIECES = [
    *"a1.,;:!?\"'`~#-=*_></\\|&[](){}@$%^+ \n\t\r\x00\x0b\u00a0\u200b\u200d\u0301한글。、ם\ufeff\U0001f1e6\U0001f469",
    *"<p> </p> <b> <a> <td> <tr> <table> <pre> <ul><li> <!-- --> <template> <svg> <math> <ruby> <rt> <select>".split(),
    *"<script> <body> ``` --- === {} null true data:;base64, text id \u0915\u094d".split(),
    "# h\n",
]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(_PIECES), min_size=1, max_size=6),
    st.lists(st.sampled_from(_PIECES), max_size=4),
    st.sampled_from(sorted(READERS)),
)
def test_no_repetition_takes_long(repeated: list[str], begin: list[str], suffix: str) -> None:
    head = {".csv": "text,id\n", ".tsv": "text\tid\n", ".json": '[{"text": "', ".jsonl": '{"text": "'}.get(suffix, "")
    part = "".join(repeated)
    text = head + "".join(begin) + part * (BYTES // len(part.encode()))
    config = ChunkingConfig(overlap=40)
    assert min(_seconds(f"a{suffix}", text.encode(), config) for _ in range(2)) < SECONDS_PER_BYTE * 2 * BYTES
