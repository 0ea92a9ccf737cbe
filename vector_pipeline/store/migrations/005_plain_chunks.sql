-- A load holds the locks of its files' manifest rows while it writes their chunks, and a check counts orphans: the
-- foreign key looked each of them up again for every chunk, a quarter of the time of a load.

ALTER TABLE {schema}.chunks DROP CONSTRAINT chunks_source_key_fkey;

-- Chunks of more than 2 KB, which are common outside of ASCII, stay in their row as they are: compressing them with
-- pglz makes a load two to three times slower.
ALTER TABLE {schema}.chunks SET (toast_tuple_target = 8160);
