"""The Batch API: submission, harvest, and the ledger of batches."""
