"""The server's vectors: a function of the text alone, so that a test can tell whether it got the right one."""

from __future__ import annotations

import hashlib

import numpy as np

Vector = np.ndarray[tuple[int], np.dtype[np.float32]]


def vector_of(text: str, dimensions: int) -> Vector:
    """The vector of a text: unit length, shape (dimensions,), float32."""
    raw = np.frombuffer(hashlib.shake_128(text.encode()).digest(dimensions), dtype=np.int8)
    vector = raw.astype(np.float32)
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)
