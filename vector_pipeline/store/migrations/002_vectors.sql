-- Chunks and spaces. The vectors of a space stand in tables of their own, made when the space is.

CREATE TABLE {schema}.chunks (
    id            uuid PRIMARY KEY,               -- BLAKE2b-128 of source_key, document, content and occurrence
    source_key    uuid NOT NULL REFERENCES {schema}.source_files (source_key),
    source        text NOT NULL,                  -- source_files.path
    document_id   text NOT NULL,
    chunk_index   integer NOT NULL,
    start_char    integer NOT NULL,
    end_char      integer NOT NULL,
    page_content  text NOT NULL,
    metadata      jsonb NOT NULL,
    token_count   integer NOT NULL,
    content_hash  uuid NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX chunks_source_key ON {schema}.chunks (source_key);
CREATE INDEX chunks_content_hash ON {schema}.chunks (content_hash);

CREATE TABLE {schema}.spaces (
    name          text PRIMARY KEY,               -- also in the names of its tables: embeddings_<name>
    model         text NOT NULL,
    dimensions    integer NOT NULL,
    element_type  text NOT NULL CHECK (element_type IN ('vector', 'halfvec')),
    state         text NOT NULL CHECK (state IN ('active', 'filling', 'retired')),
    recall        real,                           -- recall@10 of the index, as last measured
    created_at    timestamptz NOT NULL DEFAULT now()
);

-- One active space and at most one that fills beside it.
CREATE UNIQUE INDEX spaces_one_active ON {schema}.spaces (state) WHERE state = 'active';
CREATE UNIQUE INDEX spaces_one_filling ON {schema}.spaces (state) WHERE state = 'filling';

-- Who is sending which texts at this moment. Unlogged: claims do not outlive the sessions that made them.
CREATE UNLOGGED TABLE {schema}.embedding_claims (
    space         text NOT NULL,
    content_hash  uuid NOT NULL,
    owner         bigint NOT NULL,                -- key of an advisory lock that the owner's session holds
    claimed_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (space, content_hash)
);

CREATE TABLE {schema}.rejected_texts (
    space         text NOT NULL,
    content_hash  uuid NOT NULL,
    reason        text NOT NULL,
    rejected_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (space, content_hash)
);

-- When a hash lost its last chunk: its vector is kept for the grace period from then on.
CREATE TABLE {schema}.unreferenced_hashes (
    content_hash  uuid PRIMARY KEY,
    since         timestamptz NOT NULL DEFAULT now()
);
