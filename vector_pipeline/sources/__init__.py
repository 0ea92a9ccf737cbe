"""List and open the files of a source: a local folder, or a URL that fsspec can open."""
