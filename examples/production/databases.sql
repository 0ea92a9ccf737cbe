-- Dagster's own database and the pipeline's, each with a role that owns it and nothing else. psql runs this once, when
-- the server's folder is empty; the passwords are in its environment.
\getenv dagster_password DAGSTER_PASSWORD
\getenv pipeline_password PIPELINE_PASSWORD
CREATE ROLE dagster LOGIN PASSWORD :'dagster_password';
CREATE ROLE pipeline LOGIN PASSWORD :'pipeline_password';
CREATE DATABASE dagster OWNER dagster ENCODING 'UTF8' TEMPLATE template0;
CREATE DATABASE pipeline OWNER pipeline ENCODING 'UTF8' TEMPLATE template0;
\connect pipeline
CREATE EXTENSION vector;
