-- What stands in front of chunks when they are embedded and ranked (text/context.py). It is kept with the vectors, so
-- that none is paid for again because a default has changed: what was loaded before has none.

CREATE TABLE {schema}.text_context (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    context  text NOT NULL CHECK (context IN ('none', 'headings', 'title'))
);
INSERT INTO {schema}.text_context (context) SELECT 'none' WHERE EXISTS (SELECT FROM {schema}.spaces);
