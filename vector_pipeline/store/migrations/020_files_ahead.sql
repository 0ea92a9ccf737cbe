-- Files whose time of change is ahead of our clock: how they looked, and since when, so that the next scan can tell
-- whether somebody still writes them.

ALTER TABLE {schema}.scans ADD COLUMN ahead jsonb NOT NULL DEFAULT '{{}}';
