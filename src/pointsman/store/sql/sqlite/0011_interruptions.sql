-- Interruptions.
--
--   cases   `attempts` counts the attempts that ended by themselves, and the one in progress. `interruptions` counts separately how often an
--           engine died during a call of the case since its last progress. `waits` is 1 while all calls of a running case wait for a
--           permit or a thread.

ALTER TABLE cases ADD COLUMN interruptions INTEGER NOT NULL DEFAULT 0;
ALTER TABLE cases ADD COLUMN waits INTEGER NOT NULL DEFAULT 0;
