"""Bytes to documents, documents to chunks, chunks to requests: pure functions, no I/O beyond the bytes given."""
