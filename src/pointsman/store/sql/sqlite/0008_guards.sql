-- Guards, and what the answers of models use.
--
--   branches.guard  how far the guard of a branch has come, as JSON; also of a node that is a step by itself, while its guard asks again
--   case_usage      what the answers of a case used, per model; it goes with the case
--   day_usage       what the answers of a day (of UTC, counted since 1970) used, per process, tenant and model; it stays
--
-- Costs are in billionths of the currency that the prices are given in.

ALTER TABLE branches ADD COLUMN guard TEXT;

CREATE TABLE case_usage (
  case_id       INTEGER NOT NULL,
  model         TEXT    NOT NULL,
  answers       INTEGER NOT NULL,
  input_tokens  INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  cost          INTEGER NOT NULL,
  PRIMARY KEY (case_id, model)
) STRICT, WITHOUT ROWID;

CREATE TABLE day_usage (
  process       TEXT    NOT NULL,
  day           INTEGER NOT NULL,
  tenant        TEXT    NOT NULL,
  model         TEXT    NOT NULL,
  answers       INTEGER NOT NULL,
  input_tokens  INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  cost          INTEGER NOT NULL,
  PRIMARY KEY (process, day, tenant, model)
) STRICT, WITHOUT ROWID;
