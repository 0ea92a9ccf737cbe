-- A paragraph inserted at the top of a file moves every chunk behind it. The chunks of a long document stand in
-- sections of some tens, each with its place in the document, so that an insertion rewrites the rows of one section at
-- most, and of the others their places. Sections end where the text says so, and carry a digest of what their rows
-- hold: a load asks for the digests of a file's sections and compares the rows of those alone that changed.

CREATE TABLE {schema}.chunk_sections (
    section      uuid PRIMARY KEY,
    source_key   uuid NOT NULL,
    document_id  text NOT NULL,
    digest       uuid NOT NULL,
    chunk_index  integer NOT NULL,                -- added to that of each of its chunks
    start_char   integer NOT NULL,                -- added to their start_char and end_char
    first_index  integer NOT NULL,                -- of its first chunk, as that has it
    first_start  integer NOT NULL,
    updated_at   timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);                         -- places move with every edit: room for new versions beside the old

CREATE INDEX chunk_sections_source_key ON {schema}.chunk_sections (source_key);

-- NULL where a chunk's numbers are the document's own.
ALTER TABLE {schema}.chunks ADD COLUMN section uuid;
CREATE INDEX chunks_source_key_section ON {schema}.chunks (source_key, section);
DROP INDEX {schema}.chunks_source_key;

-- Chunks with their places in their documents.
CREATE VIEW {schema}.placed_chunks AS
SELECT c.id, c.source_key, c.source, c.document_id,
       c.chunk_index + coalesce(s.chunk_index, 0) AS chunk_index,
       c.start_char + coalesce(s.start_char, 0) AS start_char,
       c.end_char + coalesce(s.start_char, 0) AS end_char,
       c.page_content, c.metadata, c.token_count, c.content_hash, c.created_at,
       greatest(c.updated_at, s.updated_at) AS updated_at
FROM {schema}.chunks c LEFT JOIN {schema}.chunk_sections s USING (section);

DO $migration$
DECLARE
    space text := (SELECT name FROM {schema}.spaces WHERE state = 'active');
BEGIN
    IF space IS NOT NULL THEN
        -- Replaced in its place: what stands on it, and who may read it, stays.
        EXECUTE
            $view$CREATE OR REPLACE VIEW {schema}.document_chunks AS
            SELECT c.id, c.source, c.document_id, c.chunk_index, c.start_char, c.end_char, c.page_content, c.metadata,
                   c.token_count, c.content_hash, e.embedding, c.created_at, c.updated_at
            FROM (SELECT content_hash, embedding FROM {schema}.$view$ || quote_ident('embeddings_' || space) ||
            $view$ UNION ALL SELECT content_hash, embedding FROM {schema}.$view$ ||
            quote_ident('embeddings_' || space || '_landing') || $view$) e
            JOIN {schema}.placed_chunks c USING (content_hash)$view$;
    END IF;
END
$migration$;
