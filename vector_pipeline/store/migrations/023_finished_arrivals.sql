-- Which arrivals were finished lately: how fast files are loaded (store/load_progress.py).

CREATE INDEX arrivals_finished_at ON {schema}.arrivals (finished_at);
