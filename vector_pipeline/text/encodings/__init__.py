"""Bytes to text: which encoding a file is in, and its decoding."""
