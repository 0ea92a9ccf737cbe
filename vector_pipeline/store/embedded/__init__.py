"""The embedded Postgres server and the supervisor that stops it."""
