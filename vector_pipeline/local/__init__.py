"""Running Dagster by hand on one machine: `ingest`, its report, the instance and its dagster.yaml."""
