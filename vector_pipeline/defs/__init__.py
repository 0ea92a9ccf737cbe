"""Dagster lives here and only here: assets, checks, jobs, sensors, schedules, resources, I/O manager."""
