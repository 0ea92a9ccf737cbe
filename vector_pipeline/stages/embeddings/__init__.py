"""The stage `embeddings`: requests of the plan, storage of the answers, budgets, and the Batch API."""
