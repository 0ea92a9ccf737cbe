-- The manifest: what is known of every source file, and the arrivals that files were found in.

CREATE TABLE {schema}.arrivals (
    key         text PRIMARY KEY,                 -- 20261123T213651Z-001: sorts by time
    root        text NOT NULL,
    trigger     text NOT NULL,                    -- what found it: cli, sensor, schedule, asset
    files       integer NOT NULL,
    bytes       bigint NOT NULL,
    attempts    integer NOT NULL DEFAULT 0,       -- runs that took it on
    retry_at    timestamptz,                      -- not before, after a failed run
    error       text,                             -- why the last run failed
    created_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz                       -- when its last file was loaded, rejected or taken over
);

CREATE TABLE {schema}.source_files (
    source_key   uuid PRIMARY KEY,                -- BLAKE2b-128 of root, NUL, path: paths may be longer than a b-tree key
    root         text NOT NULL,
    path         text NOT NULL,                   -- relative to the root, with /
    fingerprint  text NOT NULL,                   -- of the file as listed; '' once deleted
    size         bigint NOT NULL,
    bytes_hash   bytea,                           -- BLAKE2b-128 of its bytes, once read
    arrival      text NOT NULL REFERENCES {schema}.arrivals (key),
    status       text NOT NULL CHECK (status IN ('pending', 'loaded', 'rejected', 'deleted')),
    gone         boolean NOT NULL DEFAULT false,  -- pending, and what is pending is its deletion
    error        text,
    encoding     text,
    documents    integer NOT NULL DEFAULT 0,
    chunks       integer NOT NULL DEFAULT 0,
    tokens       bigint NOT NULL DEFAULT 0,
    pipeline     text,                            -- fingerprint of readers and chunking it was loaded with
    loaded_at    timestamptz,
    updated_at   timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX source_files_arrival ON {schema}.source_files (arrival);
CREATE INDEX source_files_unfinished ON {schema}.source_files (status) WHERE status IN ('pending', 'rejected');
