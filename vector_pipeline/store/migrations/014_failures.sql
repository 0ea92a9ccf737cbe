-- When and of what kind the last failure of an arrival was, so that what may pass by itself is tried again soon, and what
-- a person must fix as soon as the account's API answers again.

ALTER TABLE {schema}.arrivals
    ADD COLUMN IF NOT EXISTS failed_at timestamptz,  -- when the last run failed
    ADD COLUMN IF NOT EXISTS failed_run text,        -- which run of Dagster's that was
    ADD COLUMN IF NOT EXISTS failure text CHECK (failure IN ('passing', 'account', 'other'));

CREATE TABLE IF NOT EXISTS {shared}.answers (
    bucket       text PRIMARY KEY,                   -- as in pacing
    answered_at  timestamptz NOT NULL                -- when the API last answered a request of the account
);
