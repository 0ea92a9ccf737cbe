-- Who searches in SQL sees what row policies on the tables let them see, and runs no function of somebody else's: the
-- view reads with its reader's rights, and functions look for others where Postgres keeps its own.

ALTER VIEW {schema}.placed_chunks SET (security_invoker = true);

ALTER FUNCTION {schema}.lexical_folded(text) SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION {schema}.lexical_stem(text) SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION {schema}.lexical_terms(text) SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION {schema}.lexical_postings_of(text, integer, integer[]) SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION {schema}.lexical_shares(text[], integer) SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION {schema}.search_chunks({vector}.vector, integer) SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION {schema}.search_chunks(text, {vector}.vector, integer, text, text, jsonb)
    SET search_path = pg_catalog, pg_temp;
