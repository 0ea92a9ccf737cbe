"""The embedding API: client, pacing, answers by kind, Batch API, and the embedded model's endpoint."""
