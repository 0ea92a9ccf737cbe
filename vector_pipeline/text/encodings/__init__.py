"""Bytes to text: find the encoding of a file and decode it."""
