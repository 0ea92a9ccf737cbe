"""Ranking by words: BM25 over segmented postings in plain Postgres."""
