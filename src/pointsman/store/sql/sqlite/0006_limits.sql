-- Limits, and a line that is fair among tenants.
--
--   limits  one row for each limit that was ever used: its permits and what else is known of it, as JSON (kernel/limits.py)

CREATE TABLE limits (
  name  TEXT PRIMARY KEY,
  state TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- As columns, because a comparison of rows looks into an index of columns only, and none of them may be NULL.
ALTER TABLE cases ADD COLUMN rank INTEGER NOT NULL GENERATED ALWAYS AS (-priority) VIRTUAL;
ALTER TABLE cases ADD COLUMN need TEXT NOT NULL GENERATED ALWAYS AS (coalesce(needs, '')) VIRTUAL;

-- When what is due: one look for each process and limit, wherever a closed limit keeps thousands of cases.
DROP INDEX cases_due;
CREATE INDEX cases_due ON cases (process, need, wake_at) WHERE wake_at IS NOT NULL;
-- Whose turn it is: one look for each tenant, however many cases it has.
CREATE INDEX cases_line ON cases (rank, tenant, process, need, wake_at) WHERE wake_at IS NOT NULL;
-- What is in line, for the bounds of the intake; and what a dead engine left running.
DROP INDEX cases_running;
CREATE INDEX cases_running ON cases (status, process, tenant) WHERE status IN ('ready', 'running');
