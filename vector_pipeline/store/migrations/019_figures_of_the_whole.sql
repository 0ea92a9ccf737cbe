-- Figures of the whole, kept by what changes them: a run that changes little looks at little.

-- Rows of a table. Each change adds a row here in its own transaction, so that loads side by side do not wait for one
-- another; the figure is their sum, and upkeep makes one of many.
CREATE TABLE {schema}.row_counts (
    relation  text NOT NULL,
    rows      bigint NOT NULL
);

-- Files likewise, by all that is asked of their number. Kept by triggers, since many statements change a status.
CREATE TABLE {schema}.file_counts (
    root      text NOT NULL,
    status    text NOT NULL,
    gone      boolean NOT NULL,
    pipeline  text,
    files     bigint NOT NULL
);

CREATE FUNCTION {schema}.count_files() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO {schema}.file_counts
        SELECT root, status, gone, pipeline, count(*) FROM new_files GROUP BY 1, 2, 3, 4;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO {schema}.file_counts
        SELECT root, status, gone, pipeline, -count(*) FROM old_files GROUP BY 1, 2, 3, 4;
    ELSE
        INSERT INTO {schema}.file_counts
        SELECT root, status, gone, pipeline, sum(files) FROM (
            SELECT root, status, gone, pipeline, 1 FROM new_files
            UNION ALL
            SELECT root, status, gone, pipeline, -1 FROM old_files
        ) AS changed (root, status, gone, pipeline, files)
        GROUP BY 1, 2, 3, 4 HAVING sum(files) <> 0;
    END IF;
    RETURN NULL;
END
$function$;

CREATE TRIGGER files_inserted AFTER INSERT ON {schema}.source_files
    REFERENCING NEW TABLE AS new_files FOR EACH STATEMENT EXECUTE FUNCTION {schema}.count_files();
CREATE TRIGGER files_updated AFTER UPDATE ON {schema}.source_files
    REFERENCING OLD TABLE AS old_files NEW TABLE AS new_files FOR EACH STATEMENT EXECUTE FUNCTION {schema}.count_files();
CREATE TRIGGER files_deleted AFTER DELETE ON {schema}.source_files
    REFERENCING OLD TABLE AS old_files FOR EACH STATEMENT EXECUTE FUNCTION {schema}.count_files();

-- What is pending or rejected is listed by arrival, without looking at the rest.
CREATE INDEX source_files_open ON {schema}.source_files (status, arrival) WHERE status IN ('pending', 'rejected');
DROP INDEX {schema}.source_files_unfinished;

-- An arrival's stages are removed once.
ALTER TABLE {schema}.arrivals ADD COLUMN stages_removed boolean NOT NULL DEFAULT false;
CREATE INDEX arrivals_with_stages ON {schema}.arrivals (coalesce(finished_at, created_at)) WHERE NOT stages_removed;
CREATE INDEX arrivals_finished ON {schema}.arrivals (finished_at);

-- The sweep looks at what has no chunk any more, and not for it; what it has removed is kept a day longer.
ALTER TABLE {schema}.unreferenced_hashes ADD COLUMN swept boolean NOT NULL DEFAULT false;
CREATE INDEX unreferenced_hashes_since ON {schema}.unreferenced_hashes (swept, since);

-- recall@10 is measured with the same queries each time. Their nearest vectors by exact search are kept and brought up
-- to date by the vectors that come and go, so that exact searches over everything are rare.
CREATE TABLE {schema}.recall_queries (
    space       text NOT NULL,
    query       uuid NOT NULL,                    -- the content_hash of a vector, which itself is none of its nearest
    neighbours  uuid[] NOT NULL,                  -- nearest first: as many as are known to be the nearest
    distances   float8[] NOT NULL,
    PRIMARY KEY (space, query)
);

-- How far an index has changed since it was measured, and since the exact searches were made.
ALTER TABLE {schema}.spaces
    ADD COLUMN measured_at timestamptz,
    ADD COLUMN searched_at timestamptz,
    ADD COLUMN changed_since_measured bigint NOT NULL DEFAULT 0,
    ADD COLUMN changed_since_searched bigint NOT NULL DEFAULT 0;

-- When something was last inspected as a whole, and what was found.
CREATE TABLE {schema}.inspections (
    name     text PRIMARY KEY,
    made_at  timestamptz NOT NULL DEFAULT now(),
    found    jsonb NOT NULL
);

INSERT INTO {schema}.row_counts SELECT 'chunks', count(*) FROM {schema}.chunks;
INSERT INTO {schema}.file_counts SELECT root, status, gone, pipeline, count(*) FROM {schema}.source_files GROUP BY 1, 2, 3, 4;

DO $migration$
DECLARE
    space text;
    part text;
BEGIN
    FOR space IN SELECT name FROM {schema}.spaces LOOP
        FOREACH part IN ARRAY ARRAY['embeddings_' || space, 'embeddings_' || space || '_landing'] LOOP
            EXECUTE $count$INSERT INTO {schema}.row_counts SELECT $1, count(*) FROM {schema}.$count$ || quote_ident(part)
            USING part;
            EXECUTE
                $note$INSERT INTO {schema}.unreferenced_hashes (content_hash, since) SELECT content_hash, created_at
                FROM {schema}.$note$ || quote_ident(part) || $note$ e WHERE NOT EXISTS (SELECT FROM {schema}.chunks c
                WHERE c.content_hash = e.content_hash) ON CONFLICT DO NOTHING$note$;
        END LOOP;
    END LOOP;
END
$migration$;
