"""Listing and opening the files of a source: a local folder, or anything that fsspec reaches by URL."""
