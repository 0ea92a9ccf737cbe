-- The path by which each root is reached. A root is called after the path that the user gave, with its links; version 0.1.0
-- called it after where they led to, and goes on under that name wherever they lead later.

CREATE TABLE IF NOT EXISTS {schema}.roots (
    root_key  uuid PRIMARY KEY,                   -- as a source_key, of the root alone, which may be longer than a b-tree key
    root      text NOT NULL,
    location  text NOT NULL
);
