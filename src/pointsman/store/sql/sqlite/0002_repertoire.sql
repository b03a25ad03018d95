-- Messages, timers of waiting cases, children, cases that wait for a limit, and tenants.
--
--   messages  messages from outside or from a child, one row for each key: pending until its case takes it in, held until its case
--             has ended, or unmatched until a case with its correlation key starts

-- `tenant` and `priority` order the backlog (a higher priority goes first). `correlation` finds the open case of a message.
-- `parent` is the parent of a child. `inbox` counts the pending messages; each commit checks it, like the revision.
-- `needs` names the limit whose permit the case waits for.
ALTER TABLE cases ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
ALTER TABLE cases ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE cases ADD COLUMN correlation TEXT;
ALTER TABLE cases ADD COLUMN parent INTEGER;
ALTER TABLE cases ADD COLUMN inbox INTEGER NOT NULL DEFAULT 0;
ALTER TABLE cases ADD COLUMN needs TEXT;

-- A waiting case may have a timer too: a deadline, or the end of a sleep. A running, parked, blocked or ended case has no wake_at.
DROP INDEX cases_due;
CREATE INDEX cases_due ON cases (wake_at) WHERE wake_at IS NOT NULL;
DROP INDEX cases_held;
CREATE INDEX cases_held ON cases (status, id) WHERE status IN ('waiting', 'parked', 'blocked');
CREATE INDEX cases_correlated ON cases (process, correlation) WHERE correlation IS NOT NULL AND status NOT IN ('done', 'cancelled');
CREATE INDEX cases_children ON cases (parent) WHERE parent IS NOT NULL;

-- A pause's ladder: the next rung, the assignee, and the deadline.
ALTER TABLE pauses ADD COLUMN rung INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pauses ADD COLUMN assignee TEXT;
ALTER TABLE pauses ADD COLUMN expires_at REAL;

CREATE TABLE messages (
  id          INTEGER PRIMARY KEY,
  process     TEXT NOT NULL,
  name        TEXT NOT NULL,
  key         TEXT,
  correlation TEXT,
  case_id     INTEGER,
  status      TEXT NOT NULL,
  body        TEXT NOT NULL,
  at          REAL NOT NULL,
  UNIQUE (process, name, key)
) STRICT;
CREATE INDEX messages_pending ON messages (case_id, id) WHERE status = 'pending';
CREATE INDEX messages_held ON messages (id) WHERE status = 'held';
CREATE INDEX messages_unmatched ON messages (process, correlation, id) WHERE status = 'unmatched';
