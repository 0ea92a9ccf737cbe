-- The HNSW index of a space may hold its vectors in half precision (store/index_build.py): `index_type` is the type of
-- its entries. Existing spaces keep theirs.

ALTER TABLE {schema}.spaces ADD COLUMN index_type text CHECK (index_type IN ('vector', 'halfvec'));
UPDATE {schema}.spaces SET index_type = element_type;
ALTER TABLE {schema}.spaces ALTER COLUMN index_type SET NOT NULL;

SELECT '[1]'::{vector}.vector;  -- loads pgvector, so that a role without further rights may name its settings

-- The nearest chunks to a vector. The view shows vectors in the type of the index, so that it is used; distances are
-- those of the stored vectors where the caller may read their tables.
CREATE OR REPLACE FUNCTION {schema}.search_chunks(query {vector}.vector, k integer DEFAULT 10)
RETURNS TABLE (
    id uuid, source text, document_id text, chunk_index integer, page_content text, metadata jsonb, distance float8
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
    stored text;
    landing text;
    candidates integer;
    exact text := 'n.distance';
BEGIN
    -- The types are the active space's, so the statement is made when they are known.
    SELECT s.element_type, s.index_type, least(1000, greatest(100, s.ef_search, 2 * k)),
           quote_ident('embeddings_' || s.name), quote_ident('embeddings_' || s.name || '_landing')
    INTO element, indexed, candidates, stored, landing
    FROM {schema}.spaces s WHERE s.state = 'active';
    IF indexed <> element AND has_table_privilege($table${schema}.$table$ || stored, 'SELECT')
        AND has_table_privilege($table${schema}.$table$ || landing, 'SELECT') THEN
        exact := $exact$coalesce(
            (SELECT e.embedding OPERATOR({vector}.<=>) $1::{vector}.%element% FROM {schema}.%stored% e
             WHERE e.content_hash = n.content_hash),
            (SELECT e.embedding OPERATOR({vector}.<=>) $1::{vector}.%element% FROM {schema}.%landing% e
             WHERE e.content_hash = n.content_hash),
            n.distance)$exact$;
    END IF;
    PERFORM set_config('hnsw.ef_search', candidates::text, true);  -- until the function returns
    RETURN QUERY EXECUTE replace(replace(replace(replace(replace(
        $query$
        WITH nearest AS MATERIALIZED (
            SELECT d.id, d.source, d.document_id, d.chunk_index, d.page_content, d.metadata, d.content_hash,
                   d.embedding OPERATOR({vector}.<=>) $1::{vector}.%indexed% AS distance
            FROM {schema}.document_chunks d
            ORDER BY d.embedding OPERATOR({vector}.<=>) $1::{vector}.%indexed%
            LIMIT $2
        )
        SELECT n.id, n.source, n.document_id, n.chunk_index, n.page_content, n.metadata, %exact% AS distance
        FROM nearest n ORDER BY 7
        $query$, '%exact%', exact), '%element%', element), '%indexed%', indexed), '%stored%', stored),
        '%landing%', landing)
    USING query, k;
END
$function$;

-- Search by words and meaning, by an index of either type. The vectors are asked for twice, and without NOT MATERIALIZED
-- that would read all of them.
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
            SELECT w.content_hash FROM words w WHERE EXISTS (
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
        FROM found b JOIN {schema}.placed_chunks c USING (content_hash)
        WHERE ($5 IS NULL OR c.source LIKE $5) AND ($6 IS NULL OR c.root = $6) AND ($7 IS NULL OR c.metadata @> $7)
        ORDER BY score DESC, c.id LIMIT $2
        $query$,
        '%stored%', quote_ident('embeddings_' || space)), '%landing%', quote_ident('embeddings_' || space || '_landing')),
        '%shown%', shown), '%element%', element), '%indexed%', indexed)
    USING query_vector, k, terms_, most, in_source, in_root, containing;
END
$function$;
