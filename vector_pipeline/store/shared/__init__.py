"""State that pipelines of one database share: pacing, spending, batches of the Batch API."""
