-- The numbers 7 to 9 stood for other files for some days. Databases from then may have sections without a digest, or
-- spaces without ef_search: they are given what 007 and 008 give. Others have it, and nothing is done to them.

DO $migration$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_attribute a JOIN pg_type t ON t.typrelid = a.attrelid
        WHERE t.oid = pg_typeof(NULL::{schema}.chunk_sections)::oid AND a.attname = 'digest'
    ) THEN
        -- Such sections are dissolved; the next load of their file makes new ones.
        UPDATE {schema}.chunks c SET section = NULL, chunk_index = c.chunk_index + s.chunk_index,
            start_char = c.start_char + s.start_char, end_char = c.end_char + s.start_char,
            updated_at = greatest(c.updated_at, s.updated_at)
        FROM {schema}.chunk_sections s WHERE c.section = s.section;
        DELETE FROM {schema}.chunk_sections;
        ALTER TABLE {schema}.chunk_sections
            ADD COLUMN document_id text NOT NULL,
            ADD COLUMN digest uuid NOT NULL,
            ADD COLUMN first_index integer NOT NULL,
            ADD COLUMN first_start integer NOT NULL,
            SET (fillfactor = 70);
        CREATE INDEX chunks_source_key_section ON {schema}.chunks (source_key, section);
        DROP INDEX {schema}.chunks_source_key;
    END IF;
END
$migration$;

ALTER TABLE {schema}.spaces ADD COLUMN IF NOT EXISTS ef_search integer;
