-- How many candidates a search keeps is measured with the index, so that it finds what was asked of it.

ALTER TABLE {schema}.spaces ADD COLUMN ef_search integer;  -- the least, from 100 on, that reached the recall asked for

SELECT '[1]'::{vector}.vector;  -- loads pgvector, so that a role without further rights may name its settings

CREATE OR REPLACE FUNCTION {schema}.search_chunks(query {vector}.vector, k integer DEFAULT 10)
RETURNS TABLE (
    id uuid, source text, document_id text, chunk_index integer, page_content text, metadata jsonb, distance float8
)
LANGUAGE plpgsql STABLE
SET hnsw.iterative_scan = 'relaxed_order'
SET hnsw.ef_search = 100
SET hnsw.max_scan_tuples = 1000000
AS $function$
DECLARE
    element text;
    candidates integer;
BEGIN
    -- The element type is the active space's, so the statement is made when it is known.
    SELECT s.element_type, least(1000, greatest(100, s.ef_search, 2 * k)) INTO element, candidates
    FROM {schema}.spaces s WHERE s.state = 'active';
    PERFORM set_config('hnsw.ef_search', candidates::text, true);  -- until the function returns
    RETURN QUERY EXECUTE replace(
        $query$
        WITH nearest AS MATERIALIZED (
            SELECT d.id, d.source, d.document_id, d.chunk_index, d.page_content, d.metadata,
                   d.embedding OPERATOR({vector}.<=>) $1::{vector}.element_type AS distance
            FROM {schema}.document_chunks d
            ORDER BY d.embedding OPERATOR({vector}.<=>) $1::{vector}.element_type
            LIMIT $2
        )
        SELECT * FROM nearest n ORDER BY n.distance
        $query$, 'element_type', element)
    USING query, k;
END
$function$;
