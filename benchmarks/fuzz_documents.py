"""Read thousands of damaged documents: each has to be loaded or rejected, within its limits.

    python -m benchmarks.fuzz_documents --files 10000 --seed 1 [FOLDER ...]

Sound files of each kind are made, or taken from folders, and damaged by accidents that the seed chooses. The table says
what became of them. Any other end is printed with the number of the file, and the exit code is then 1.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
import time
from collections import Counter
from pathlib import Path

from vector_pipeline.errors import FileRejected
from vector_pipeline.formats.pool import ReaderLimits, ReaderPool
from vector_pipeline.formats.reading import is_read_apart, read_file
from vector_pipeline.text.readers.base import ReaderOptions
from vector_pipeline_tests.formats.mutations import mutated, seeds

MAX_BYTES = 300_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--memory", type=int, default=512 * 1024 * 1024)
    given = parser.parse_args()
    files = seeds()
    for folder in given.folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and is_read_apart(path.name) and path.stat().st_size <= MAX_BYTES:
                files[str(path)] = path.read_bytes()
    found: Counter[str] = Counter()
    bad = 0
    slowest = 0.0
    began = time.monotonic()
    limits = ReaderLimits(given.seconds, given.memory, processes=1)
    with ReaderPool(limits) as pool:
        for number, (name, data) in enumerate(mutated(files, given.files, given.seed)):
            start = time.monotonic()
            try:
                list(read_file(pool, io.BytesIO(data), name, ReaderOptions()))
                found["loaded"] += 1
            except FileRejected as rejection:
                found[_sort(str(rejection))] += 1
            except Exception as error:  # noqa: BLE001 - this is what is looked for
                bad += 1
                print(f"file {number} ({name}): {type(error).__name__}: {error}")
            slowest = max(slowest, time.monotonic() - start)
    for reason, count in found.most_common(30):
        print(f"{count:7,}  {reason}")
    seconds = time.monotonic() - began
    print(f"{given.files:,} files of {len(files)} seeds in {seconds:.0f} s, the slowest {slowest:.1f} s; bad {bad}")
    return 1 if bad else 0


def _sort(reason: str) -> str:
    """A reason without what is particular to one file."""
    return re.sub(r"\([^)]*\)", "(…)", re.sub(r"\d[\d,]*", "n", reason))[:100]


if __name__ == "__main__":
    sys.exit(main())
