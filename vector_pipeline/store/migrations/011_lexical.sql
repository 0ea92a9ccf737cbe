-- Ranking by words: BM25 over the terms of each distinct text (text/terms.py), in tables and arrays and nothing else.
-- A text lands with its terms and is found at once. Quiet loads let many landed texts become a segment, whose rows are
-- never changed: merges write new segments and delete the old ones.

CREATE TABLE {schema}.lexical_landing (
    content_hash  uuid PRIMARY KEY,
    length        integer NOT NULL,               -- terms, with repetitions
    terms         jsonb NOT NULL                  -- term to how often it occurs
) WITH (toast_tuple_target = 8160);
-- Read from end to end by each search: not worth compressing.
ALTER TABLE {schema}.lexical_landing ALTER COLUMN terms SET STORAGE MAIN;

CREATE TABLE {schema}.lexical_segments (
    segment     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    texts       integer NOT NULL,                 -- their ordinals are 0 to texts - 1
    length      bigint NOT NULL,                  -- of all texts together
    lengths     bytea NOT NULL,                   -- of each text, two bytes, the lower one first; at most 65,535
    created_at  timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE {schema}.lexical_segments ALTER COLUMN lengths SET STORAGE EXTERNAL;

CREATE TABLE {schema}.lexical_texts (
    content_hash  uuid NOT NULL,
    segment       integer NOT NULL,
    ordinal       integer NOT NULL,
    PRIMARY KEY (segment, ordinal)
);
CREATE INDEX lexical_texts_content_hash ON {schema}.lexical_texts (content_hash);

-- A posting is four bytes, the lowest one first: ordinal * 256 + frequency, which is at most 255. Of a term that
-- more than a sixteenth of a segment's texts hold, postings has a byte for each text of the segment: its frequency.
CREATE TABLE {schema}.lexical_postings (
    segment   integer NOT NULL,
    frequent  integer,                            -- texts that hold the term, where postings has a byte for each text
    term      text COLLATE "C" NOT NULL,
    postings  bytea NOT NULL,
    PRIMARY KEY (term, segment)
);
ALTER TABLE {schema}.lexical_postings ALTER COLUMN postings SET STORAGE EXTERNAL;

-- Chunks from before this migration have no terms yet: a row while there are such, with the last id that was looked at.
-- The next run cuts them; nothing is paid for it.
CREATE TABLE {schema}.lexical_backlog (
    after  uuid NOT NULL
);
INSERT INTO {schema}.lexical_backlog
SELECT '00000000-0000-0000-0000-000000000000' WHERE EXISTS (SELECT FROM {schema}.chunks);
