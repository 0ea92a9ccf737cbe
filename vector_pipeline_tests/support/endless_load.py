"""A process that loads and edits files and rebuilds the index until it is killed: `python -m … URL FIRST_NUMBER`."""

from __future__ import annotations

import sys

from vector_pipeline.store.connection import Database
from vector_pipeline.store.index import maintain_index
from vector_pipeline_tests.support.corpus import load

CHUNKS = 40
EDITED = "edited.txt"


def version(number: int) -> list[str]:
    """A long file that is edited at its top, in its middle and at its end."""
    texts = [f"part {i}" for i in range(120)]
    texts[60] = f"edit {number}"
    return [*(f"above {i}" for i in range(number % 5)), *texts, f"end {number}"]


def main(url: str, number: int) -> None:
    """Print the number of each file once it is loaded."""
    database = Database(url)
    with database.connect(role="endless load") as connection:
        while True:
            load(connection, "A", {f"{number}.txt": [f"file {number} text {i}" for i in range(CHUNKS)]})
            for turn in range(3):
                load(connection, "A", {EDITED: version(number + turn)})
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
            # From a few vectors on, so that most of the time something is built, fed or swapped.
            maintain_index(database, worth=CHUNKS)
            number += 1


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
