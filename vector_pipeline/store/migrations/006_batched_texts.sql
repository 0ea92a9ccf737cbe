-- Before each request it is asked which of its texts are out in batches: without this, every line of every batch that
-- is out would be read for the answer.

CREATE INDEX IF NOT EXISTS batch_lines_hashes ON {shared}.batch_lines USING gin (hashes);
