-- Deleted chunks are counted by the table itself, whoever deletes them: a row that an administrator removes by hand
-- must not stay in the figures for ever. Rows that are added are counted by the load, which knows their number.

CREATE FUNCTION {schema}.count_deleted_chunks() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM {schema}.row_counts WHERE relation = 'chunks';
    ELSE
        INSERT INTO {schema}.row_counts SELECT 'chunks', -count(*) FROM old_chunks HAVING count(*) > 0;
    END IF;
    RETURN NULL;
END
$function$;

CREATE TRIGGER chunks_deleted AFTER DELETE ON {schema}.chunks
    REFERENCING OLD TABLE AS old_chunks FOR EACH STATEMENT EXECUTE FUNCTION {schema}.count_deleted_chunks();
CREATE TRIGGER chunks_truncated AFTER TRUNCATE ON {schema}.chunks
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.count_deleted_chunks();

ALTER FUNCTION {schema}.count_files() SET search_path = pg_catalog, pg_temp;
