-- For whoever searches in SQL under a role that has not hnsw.iterative_scan set: k rows, nearest first, also where many
-- vectors stand for texts that no file holds any more.

SELECT '[1]'::{vector}.vector;  -- loads pgvector, so that a role without further rights may name its settings

CREATE FUNCTION {schema}.search_chunks(query {vector}.vector, k integer DEFAULT 10)
RETURNS TABLE (
    id uuid, source text, document_id text, chunk_index integer, page_content text, metadata jsonb, distance float8
)
LANGUAGE plpgsql STABLE
SET hnsw.iterative_scan = 'relaxed_order'
SET hnsw.ef_search = 100
SET hnsw.max_scan_tuples = 1000000
AS $function$
DECLARE
    element text := (SELECT s.element_type FROM {schema}.spaces s WHERE s.state = 'active');
BEGIN
    -- The element type is the active space's, so the statement is made when it is known.
    RETURN QUERY EXECUTE format(
        $query$
        WITH nearest AS MATERIALIZED (
            SELECT d.id, d.source, d.document_id, d.chunk_index, d.page_content, d.metadata,
                   d.embedding OPERATOR({vector}.<=>) $1::{vector}.%I AS distance
            FROM {schema}.document_chunks d
            ORDER BY d.embedding OPERATOR({vector}.<=>) $1::{vector}.%I
            LIMIT $2
        )
        SELECT * FROM nearest n ORDER BY n.distance
        $query$, element, element)
    USING query, k;
END
$function$;
