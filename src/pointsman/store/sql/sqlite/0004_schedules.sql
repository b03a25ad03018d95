-- Schedules: when an engine first had one, and which of its ticks is over.
--
--   schedules  one row a schedule; what became of a tick is its case, which is found by its key

CREATE TABLE schedules (
  process TEXT NOT NULL,
  name    TEXT NOT NULL,
  since   REAL NOT NULL,
  last    REAL NOT NULL,
  PRIMARY KEY (process, name)
) STRICT, WITHOUT ROWID;
