"""What a person asks of a pipeline: search, estimate, status, compare, forget, change the model."""
