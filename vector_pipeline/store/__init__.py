"""Everything Postgres does for the pipeline: schema, manifest, vectors, rows, search, index, pacing."""
