-- Sections end where the text says so, and carry a digest of what their rows hold: a load asks for the digests of a
-- file's sections and compares the rows of those alone that are not as they were. Sections from before are dissolved;
-- the next load of their file makes new ones.

UPDATE {schema}.chunks c SET section = NULL, chunk_index = c.chunk_index + s.chunk_index,
    start_char = c.start_char + s.start_char, end_char = c.end_char + s.start_char,
    updated_at = greatest(c.updated_at, s.updated_at)
FROM {schema}.chunk_sections s WHERE c.section = s.section;

DELETE FROM {schema}.chunk_sections;

ALTER TABLE {schema}.chunk_sections
    ADD COLUMN document_id text NOT NULL,
    ADD COLUMN digest uuid NOT NULL,
    ADD COLUMN first_index integer NOT NULL,      -- of its first chunk, as that has it
    ADD COLUMN first_start integer NOT NULL;

CREATE INDEX chunks_source_key_section ON {schema}.chunks (source_key, section);
DROP INDEX {schema}.chunks_source_key;
