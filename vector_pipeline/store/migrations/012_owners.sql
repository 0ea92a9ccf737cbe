-- Who may write for an arrival. A run that takes it up raises the number, and each of its transactions proves that its
-- number still stands: a process that slept through the loss of its lock writes nothing once another has taken over.

ALTER TABLE {schema}.arrivals ADD COLUMN owner_number bigint NOT NULL DEFAULT 0;
