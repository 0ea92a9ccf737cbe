"""The stage `embeddings`: the plan, the answers, the budget, and the Batch API."""
