-- Leases.
--
--   engines  the engines that share the store, and until when each has what it claimed, by the store's own clock (Unix seconds). In a
--            file there is none: it belongs to one engine at a time.
--   cases    `engine` is the number of the engine that has the case in hand, or had it last.

CREATE TABLE engines (
  id          INTEGER PRIMARY KEY,
  lease_until REAL    NOT NULL
) STRICT;

ALTER TABLE cases ADD COLUMN engine INTEGER;
