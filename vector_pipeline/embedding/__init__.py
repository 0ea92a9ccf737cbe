"""The embedding API: client, flow, pacing, providers and the Batch API."""
