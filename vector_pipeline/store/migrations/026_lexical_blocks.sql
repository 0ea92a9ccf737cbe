-- The lexical index in half of its space: postings with gaps instead of ordinals, in entries of one, two or four bytes
-- (store/lexical/postings.py), and terms with few postings together in blocks, which are compressed.

ALTER TABLE {schema}.lexical_postings RENAME COLUMN frequent TO texts;
-- What is there gets a byte in front that says its form. Merges write the new forms.
UPDATE {schema}.lexical_postings SET texts = coalesce(texts, octet_length(postings) / 4),
    postings = CASE WHEN texts IS NULL THEN '\x05'::bytea ELSE '\x00'::bytea END || postings;
ALTER TABLE {schema}.lexical_postings ALTER COLUMN texts SET NOT NULL;

-- Terms in order, each with its postings. A term is in the last block of a segment whose first term is not behind it,
-- or it is nowhere or in lexical_postings.
CREATE TABLE {schema}.lexical_blocks (
    segment     integer NOT NULL,
    first_term  text COLLATE "C" NOT NULL,
    terms       text[] COLLATE "C" NOT NULL,
    texts       integer[] NOT NULL,               -- that hold each term
    postings    bytea[] NOT NULL,
    PRIMARY KEY (segment, first_term)
) WITH (toast_tuple_target = 128);                -- compressed whatever its size
ALTER TABLE {schema}.lexical_blocks ALTER COLUMN terms SET STORAGE MAIN,
    ALTER COLUMN texts SET STORAGE MAIN, ALTER COLUMN postings SET STORAGE MAIN;

DROP FUNCTION {schema}.lexical_postings_of(text, integer, integer[]);

-- The postings of some terms, from both tables.
CREATE FUNCTION {schema}.lexical_stored(terms_ text[])
RETURNS TABLE (term text, segment integer, texts integer, postings bytea)
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT p.term, p.segment, p.texts, p.postings FROM {schema}.lexical_postings p WHERE p.term = ANY (terms_)
    UNION ALL
    SELECT t.term, s.segment, b.texts[p.place], b.postings[p.place]
    FROM {schema}.lexical_segments s CROSS JOIN unnest(terms_) AS t (term)
    CROSS JOIN LATERAL (
        SELECT b.terms, b.texts, b.postings FROM {schema}.lexical_blocks b
        WHERE b.segment = s.segment AND b.first_term <= t.term ORDER BY b.first_term DESC LIMIT 1) AS b
    CROSS JOIN LATERAL (SELECT array_position(b.terms, t.term)) AS p (place)
    WHERE p.place IS NOT NULL
$function$;

-- What is in the postings of a term; of a frequent one for some ordinals alone, if those are given.
CREATE FUNCTION {schema}.lexical_decoded(postings bytea, lengths_ bytea, only_ integer[] DEFAULT NULL)
RETURNS TABLE (ordinal integer, frequency integer, length integer)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    -- Joined with nothing, they are read from the disk once and not for every byte.
    data bytea := postings || ''::bytea;
    lengths bytea := lengths_ || ''::bytea;
    form integer := get_byte(data, 0);
BEGIN
    IF form = 0 AND only_ IS NOT NULL THEN
        RETURN QUERY SELECT o, get_byte(data, 1 + o), get_byte(lengths, 2 * o) + 256 * get_byte(lengths, 2 * o + 1)
            FROM unnest(only_) AS o WHERE get_byte(data, 1 + o) > 0;
    ELSIF form = 0 THEN
        RETURN QUERY SELECT o, get_byte(data, 1 + o), get_byte(lengths, 2 * o) + 256 * get_byte(lengths, 2 * o + 1)
            FROM generate_series(0, octet_length(data) - 2) AS o WHERE get_byte(data, 1 + o) > 0;
    ELSIF form = 5 THEN
        RETURN QUERY SELECT p.o, get_byte(data, i), get_byte(lengths, 2 * p.o) + 256 * get_byte(lengths, 2 * p.o + 1)
            FROM generate_series(1, octet_length(data) - 1, 4) AS i CROSS JOIN LATERAL (SELECT
                get_byte(data, i + 1) + 256 * get_byte(data, i + 2) + 65536 * get_byte(data, i + 3)) AS p (o);
    ELSE
        RETURN QUERY SELECT p.o, p.f, get_byte(lengths, 2 * p.o) + 256 * get_byte(lengths, 2 * p.o + 1) FROM (
            SELECT e.o::integer, sum(e.f)::integer FROM (
                SELECT sum(v.v >> 2 * form) OVER (ORDER BY i ROWS UNBOUNDED PRECEDING), (v.v & (1 << 2 * form) - 1)::integer
                FROM generate_series(1, octet_length(data) - form, form) AS i CROSS JOIN LATERAL (SELECT CASE form
                    WHEN 1 THEN get_byte(data, i)::bigint
                    WHEN 2 THEN (get_byte(data, i) + 256 * get_byte(data, i + 1))::bigint
                    ELSE get_byte(data, i) + 256 * get_byte(data, i + 1) + 65536 * get_byte(data, i + 2)
                        + 16777216 * get_byte(data, i + 3)::bigint END) AS v (v)
            ) AS e (o, f) GROUP BY e.o HAVING sum(e.f) > 0) AS p (o, f);
    END IF;
END
$function$;

-- The shares of the best possible BM25 score that texts have for some terms. Frequent terms add to the scores of the
-- texts that the others find; they find texts themselves where the others find fewer than `enough`.
CREATE OR REPLACE FUNCTION {schema}.lexical_shares(terms_ text[], enough integer)
RETURNS TABLE (content_hash uuid, share double precision)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    texts_ bigint;
    mean_ double precision;
    weights jsonb;
    ideal double precision;
BEGIN
    SELECT greatest(1, sum(t)), greatest(1, sum(l) / greatest(1, sum(t))) INTO texts_, mean_ FROM (
        SELECT sum(s.texts), sum(s.length) FROM {schema}.lexical_segments s
        UNION ALL SELECT count(*), sum(d.length) FROM {schema}.lexical_landing d) AS totals (t, l);
    SELECT jsonb_object_agg(w.term, w.weight), sum(w.weight) INTO weights, ideal FROM (
        SELECT t.term, ln(1 + (texts_ - least(h.holding, texts_) + 0.5) / (h.holding + 0.5)) AS weight
        FROM unnest(terms_) AS t (term)
        LEFT JOIN (SELECT s.term, sum(s.texts) AS texts FROM {schema}.lexical_stored(terms_) s GROUP BY s.term) s
            ON s.term = t.term
        CROSS JOIN LATERAL (SELECT coalesce(s.texts, 0)
                 + (SELECT count(*) FROM {schema}.lexical_landing d WHERE d.terms ? t.term)) AS h (holding)) AS w;
    IF ideal IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH stored AS MATERIALIZED (
        SELECT s.term, s.segment, s.postings, g.lengths, s.texts > g.texts / 8.0 AS frequent,
               (weights ->> s.term)::float8 AS weight
        FROM {schema}.lexical_stored(terms_) s JOIN {schema}.lexical_segments g USING (segment)
    ),
    rare AS MATERIALIZED (
        SELECT s.segment, p.ordinal, sum(s.weight * p.frequency / (p.frequency + 0.3 + 0.9 * p.length / mean_)) AS score
        FROM stored s CROSS JOIN LATERAL {schema}.lexical_decoded(s.postings, s.lengths) AS p
        WHERE NOT s.frequent GROUP BY s.segment, p.ordinal
    ),
    candidates AS MATERIALIZED (
        SELECT r.segment, CASE WHEN (SELECT count(*) FROM rare) >= enough THEN array_agg(r.ordinal) END AS ordinals
        FROM rare r GROUP BY r.segment
    ),
    common AS (
        SELECT s.segment, p.ordinal, sum(s.weight * p.frequency / (p.frequency + 0.3 + 0.9 * p.length / mean_)) AS score
        FROM stored s LEFT JOIN candidates c USING (segment)
        CROSS JOIN LATERAL {schema}.lexical_decoded(s.postings, s.lengths, CASE
            WHEN (SELECT count(*) FROM rare) >= enough THEN coalesce(c.ordinals, ARRAY[]::integer[]) END) AS p
        WHERE s.frequent GROUP BY s.segment, p.ordinal
    ),
    scored AS (
        SELECT b.segment, b.ordinal, sum(b.score) AS score
        FROM (SELECT * FROM rare UNION ALL SELECT * FROM common) b GROUP BY b.segment, b.ordinal
    )
    SELECT t.content_hash, s.score / ideal FROM scored s JOIN {schema}.lexical_texts t USING (segment, ordinal)
    UNION ALL
    SELECT d.content_hash, (
        SELECT sum((weights ->> t.term)::float8 * f.n / (f.n + 0.3 + 0.9 * d.length / mean_)) / ideal
        FROM unnest(terms_) AS t (term) CROSS JOIN LATERAL (SELECT (d.terms ->> t.term)::float8) AS f (n)
        WHERE f.n IS NOT NULL)
    FROM {schema}.lexical_landing d WHERE d.terms ?| terms_;
END
$function$;
