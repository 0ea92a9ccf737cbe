-- Search by words and meaning. The planner took the texts that were found for a large part of the table, and read all
-- chunks for their places: 100 ms of 190 at 100,000 chunks. LIMIT tells it how many there are at most. Texts are ordered
-- by their words before the filters, so that only the best are looked up.
CREATE OR REPLACE FUNCTION {schema}.search_chunks(
    query text, query_vector {vector}.vector, k integer DEFAULT 10,
    in_source text DEFAULT NULL, in_root text DEFAULT NULL, containing jsonb DEFAULT NULL
)
RETURNS TABLE (
    id uuid, root text, source text, document_id text, chunk_index integer, start_char integer, end_char integer,
    page_content text, metadata jsonb, score double precision, distance double precision
)
LANGUAGE plpgsql STABLE
SET hnsw.iterative_scan = 'relaxed_order'
SET hnsw.ef_search = 100
SET hnsw.max_scan_tuples = 1000000
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    element text;
    indexed text;
    shown text := 'v.embedding';
    space text;
    candidates integer;
    terms_ text[] := {schema}.lexical_terms(query);
    most integer := greatest(50, k);
BEGIN
    SELECT s.element_type, s.index_type, s.name, least(1000, greatest(100, s.ef_search, 2 * most)),
           CASE WHEN s.index_type = s.element_type THEN shown
                ELSE $cast$v.embedding::{vector}.$cast$ || s.index_type || '(' || s.dimensions || ')' END
    INTO element, indexed, space, candidates, shown
    FROM {schema}.spaces s WHERE s.state = 'active';
    PERFORM set_config('hnsw.ef_search', candidates::text, true);  -- until the function returns
    RETURN QUERY EXECUTE replace(replace(replace(replace(replace(
        $query$
        WITH words AS MATERIALIZED (SELECT * FROM {schema}.lexical_shares($3, $4)),
        by_words AS MATERIALIZED (
            SELECT w.content_hash FROM (SELECT * FROM words ORDER BY share DESC, content_hash) w WHERE EXISTS (
                SELECT FROM {schema}.chunks c JOIN {schema}.source_files f USING (source_key)
                WHERE c.content_hash = w.content_hash AND ($5 IS NULL OR c.source LIKE $5)
                AND ($6 IS NULL OR f.root = $6) AND ($7 IS NULL OR c.metadata @> $7))
            ORDER BY w.share DESC, w.content_hash LIMIT $4
        ),
        vectors AS NOT MATERIALIZED (
            SELECT content_hash, embedding FROM {schema}.%stored% UNION ALL
            SELECT content_hash, embedding FROM {schema}.%landing%
        ),
        by_meaning AS MATERIALIZED (
            SELECT v.content_hash FROM vectors v WHERE $1 IS NOT NULL AND EXISTS (
                SELECT FROM {schema}.chunks c JOIN {schema}.source_files f USING (source_key)
                WHERE c.content_hash = v.content_hash AND ($5 IS NULL OR c.source LIKE $5)
                AND ($6 IS NULL OR f.root = $6) AND ($7 IS NULL OR c.metadata @> $7))
            ORDER BY %shown% OPERATOR({vector}.<=>) $1::{vector}.%indexed% LIMIT $4
        ),
        found AS MATERIALIZED (
            SELECT b.content_hash, coalesce(w.share, 0) AS share,
                   v.embedding OPERATOR({vector}.<=>) $1::{vector}.%element% AS distance
            FROM (SELECT content_hash FROM by_words UNION SELECT content_hash FROM by_meaning) b
            LEFT JOIN words w USING (content_hash) LEFT JOIN vectors v USING (content_hash)
        )
        SELECT c.id, c.root, c.source, c.document_id, c.chunk_index, c.start_char, c.end_char, c.page_content,
               c.metadata, b.share + 0.75 * coalesce(1 - b.distance, 0) AS score, b.distance
        FROM (SELECT * FROM found LIMIT 2 * $4) b JOIN {schema}.placed_chunks c USING (content_hash)
        WHERE ($5 IS NULL OR c.source LIKE $5) AND ($6 IS NULL OR c.root = $6) AND ($7 IS NULL OR c.metadata @> $7)
        ORDER BY score DESC, c.id LIMIT $2
        $query$,
        '%stored%', quote_ident('embeddings_' || space)), '%landing%', quote_ident('embeddings_' || space || '_landing')),
        '%shown%', shown), '%element%', element), '%indexed%', indexed)
    USING query_vector, k, terms_, most, in_source, in_root, containing;
END
$function$;
