"""The work of each asset as plain functions, callable without Dagster."""
