"""Damaged files are loaded or rejected within their limits; `benchmarks/fuzz_documents.py` reads thousands of them."""

from __future__ import annotations

import io
import time

import pytest

from vector_pipeline.errors import FileRejected
from vector_pipeline.formats.pool import ReaderLimits, ReaderPool
from vector_pipeline.formats.reading import read_file
from vector_pipeline.text.readers.base import ReaderOptions

from .mutations import mutated, seeds

LIMITS = ReaderLimits(seconds=10, memory=512 * 1024 * 1024, processes=1)


def test_every_sound_file_is_read() -> None:
    with ReaderPool(LIMITS) as pool:
        for name, data in seeds().items():
            assert list(read_file(pool, io.BytesIO(data), name, ReaderOptions())), name


@pytest.mark.slow
def test_every_damaged_file_is_loaded_or_rejected_within_its_limits() -> None:
    reasons: set[str] = set()
    loaded = 0
    with ReaderPool(LIMITS) as pool:
        for name, data in mutated(seeds(), 300, seed=7):
            began = time.monotonic()
            try:
                loaded += len(list(read_file(pool, io.BytesIO(data), name, ReaderOptions()))) > 0
            except FileRejected as rejection:
                reasons.add(str(rejection))
            assert time.monotonic() - began < 60
    assert loaded > 50
    assert len(reasons) > 5
    assert not [reason for reason in reasons if "\n" in reason or len(reason) > 500]
