-- Limits, and a backlog that is fair among tenants.
--
--   limits  one row for each limit that was ever used: its state as JSON (`LimitState` in kernel/limits.py)

CREATE TABLE limits (
  name  TEXT PRIMARY KEY,
  state TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Columns, because SQLite compares row values by an index only if it has columns and no expressions; none may be NULL.
ALTER TABLE cases ADD COLUMN rank INTEGER NOT NULL GENERATED ALWAYS AS (-priority) VIRTUAL;
ALTER TABLE cases ADD COLUMN need TEXT NOT NULL GENERATED ALWAYS AS (coalesce(needs, '')) VIRTUAL;

-- The earliest due case: one look-up for each process and limit, even if thousands of cases wait for a limit.
DROP INDEX cases_due;
CREATE INDEX cases_due ON cases (process, need, wake_at) WHERE wake_at IS NOT NULL;
-- The tenant whose turn it is: one look-up for each tenant, however many cases it has.
CREATE INDEX cases_line ON cases (rank, tenant, process, need, wake_at) WHERE wake_at IS NOT NULL;
-- The backlog, for the bounds of the intake, and the cases that a crashed engine left running.
DROP INDEX cases_running;
CREATE INDEX cases_running ON cases (status, process, tenant) WHERE status IN ('ready', 'running');
