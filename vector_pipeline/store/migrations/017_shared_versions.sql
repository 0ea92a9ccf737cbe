-- Pipelines of several versions may share a database, and so these tables. Each form of them says from which form on a
-- package can work with it; an older one refuses in a line, instead of failing at what it does not know.

CREATE TABLE IF NOT EXISTS {shared}.versions (
    version        integer PRIMARY KEY,           -- a form of the tables of this schema
    readable_from  integer NOT NULL,              -- the oldest form that a package must know to work with it
    since          timestamptz NOT NULL DEFAULT now()
);

INSERT INTO {shared}.versions (version, readable_from) VALUES (1, 1) ON CONFLICT DO NOTHING;

-- Also here, since what is shared is made again from files that are about nothing else.
CREATE TABLE IF NOT EXISTS {shared}.answers (
    bucket       text PRIMARY KEY,
    answered_at  timestamptz NOT NULL
);
