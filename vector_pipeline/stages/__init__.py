"""The work of each asset as plain functions that need no Dagster."""
