-- Guards and usage.
--
--   branches.guard  the progress of a branch's guard as JSON; a node without branches has a row here while its guard asks again
--   case_usage      the usage of a case, per model; deleted with the case
--   day_usage       the usage of a day (UTC days since 1970), per process, tenant and model; kept
--
-- Costs are in billionths of the currency of the prices.

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
