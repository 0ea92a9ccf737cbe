-- What the last whole scan of a root left out of the table, for `status` to tell: such files have no row in source_files.

CREATE TABLE IF NOT EXISTS {schema}.scans (
    root_key     uuid PRIMARY KEY,                -- as a source_key, of the root alone, which may be longer than a b-tree key
    root         text NOT NULL,
    ended_at     timestamptz NOT NULL DEFAULT now(),
    seconds      real NOT NULL,                   -- that it took: a slow one is left to runs of their own
    withheld     integer NOT NULL,                -- deletions that wait for confirmation
    waiting      integer NOT NULL,                -- files that were still being written
    passed_over  integer NOT NULL,                -- what could not be followed, entered or named
    names        jsonb NOT NULL,                  -- of the first of both: [path, reason]
    not_read     jsonb NOT NULL                   -- files that no reader is for, by suffix
);
