-- Schedules.
--
--   schedules  one row for each schedule: when an engine first opened it, and its last tick. The case of a tick is found by its key.

CREATE TABLE schedules (
  process TEXT NOT NULL,
  name    TEXT NOT NULL,
  since   REAL NOT NULL,
  last    REAL NOT NULL,
  PRIMARY KEY (process, name)
) STRICT, WITHOUT ROWID;
