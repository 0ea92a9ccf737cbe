from __future__ import annotations

import pytest

from vector_pipeline.cli.reports import _places


@pytest.mark.parametrize(
    ("metadata", "shown"),
    [
        ({"pages": [3, 4, 5]}, ["pages 3-5"]),
        ({"slides": [2], "cells": [1, 2]}, ["slide 2", "cells 1-2"]),
        ({"pages": "the author's own", "slides": []}, []),
        ({"pages": "own", "vector_pipeline": {"pages": [7]}}, ["page 7"]),
    ],
)
def test_a_result_names_the_pages_that_it_stands_on(metadata: dict[str, object], shown: list[str]) -> None:
    assert _places(metadata) == shown
