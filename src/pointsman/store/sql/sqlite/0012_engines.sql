-- Leases.
--
--   engines  the engines that share the store, and when each lease expires by the store's own clock (Unix seconds). No rows in a file:
--            it belongs to one engine at a time.
--   cases    `engine` is the number of the engine that runs the case, or ran it last.

CREATE TABLE engines (
  id          INTEGER PRIMARY KEY,
  lease_until REAL    NOT NULL
) STRICT;

ALTER TABLE cases ADD COLUMN engine INTEGER;
