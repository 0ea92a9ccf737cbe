-- What all pipelines of a database share: each of them applies this file, and the first one makes the tables.

CREATE TABLE IF NOT EXISTS {shared}.pacing (
    bucket      text PRIMARY KEY,                 -- base URL | organisation | project | model
    version     bigint NOT NULL DEFAULT 0,        -- of the state: written only over the one that was read
    state       jsonb NOT NULL DEFAULT 'null',    -- embedding.account.Account; its times are this server's clock
    updated_at  timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

CREATE TABLE IF NOT EXISTS {shared}.spending (
    day     date NOT NULL,                        -- in UTC
    model   text NOT NULL,
    usd     double precision NOT NULL DEFAULT 0,
    tokens  bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (day, model)
);

-- Batches of the Batch API: ids are written before anything waits for them, so that a restart goes on and pays once.
CREATE TABLE IF NOT EXISTS {shared}.batches (
    key           uuid PRIMARY KEY,               -- ours; also in the metadata of the API's batch
    owner         text NOT NULL,                  -- schema of the pipeline
    space         text NOT NULL,
    bucket        text NOT NULL,                  -- whose queue its tokens are in, see pacing.bucket
    state         text NOT NULL CHECK (state IN ('planned', 'uploaded', 'submitted', 'finished')),
    file_id       text,
    batch_id      text,
    inputs        integer NOT NULL,
    tokens        bigint NOT NULL,
    outcome       text,                           -- the API's last word: completed, failed, expired, cancelled
    error         text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    submitted_at  timestamptz,
    finished_at   timestamptz
);

CREATE INDEX IF NOT EXISTS batches_unfinished ON {shared}.batches (owner, space) WHERE state <> 'finished';

CREATE TABLE IF NOT EXISTS {shared}.batch_lines (
    batch         uuid NOT NULL REFERENCES {shared}.batches (key) ON DELETE CASCADE,
    line          integer NOT NULL,               -- the custom_id
    hashes        uuid[] NOT NULL,
    token_counts  integer[] NOT NULL,
    refused       boolean NOT NULL DEFAULT false, -- the API refused the line: its texts are to be sent one by one
    PRIMARY KEY (batch, line)
);
