-- What a refusal of the Batch API told of an account's queue, so that no run submits the same too large batch again.

CREATE TABLE IF NOT EXISTS {shared}.batch_queues (
    bucket        text PRIMARY KEY,               -- as in pacing
    limit_tokens  bigint,                         -- that the account may have queued, as a refusal named it
    stated_at     timestamptz,                    -- when it did
    part_tokens   bigint                          -- that the next batch may have: a larger one was not taken
);

-- A line that failed by a fault that may pass: its texts are submitted again once, and then sent one by one.
ALTER TABLE {shared}.batch_lines ADD COLUMN IF NOT EXISTS failed boolean NOT NULL DEFAULT false;
