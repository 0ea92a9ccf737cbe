"""Bytes to documents, documents to chunks, chunks to requests: pure, no I/O beyond the bytes given."""
