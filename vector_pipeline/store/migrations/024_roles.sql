-- What is sent with the texts of a space so that its model knows their role (embedding/roles.py): a prefix, or a
-- parameter of the request as name=value. It is kept with the space, so that no vector is paid for again because a model
-- became known: what was embedded before has neither.

ALTER TABLE {schema}.spaces
    ADD COLUMN document_prefix    text NOT NULL DEFAULT '',
    ADD COLUMN document_parameter text NOT NULL DEFAULT '',
    ADD COLUMN query_prefix       text NOT NULL DEFAULT '',
    ADD COLUMN query_parameter    text NOT NULL DEFAULT '';
