-- A number alone does not name an owner for certain. A server that takes over for another may lack its last transactions,
-- and give a number again that a run already has. So each owner also has a random part.

ALTER TABLE {schema}.arrivals ADD COLUMN owner_nonce uuid;
