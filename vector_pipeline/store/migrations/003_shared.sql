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
