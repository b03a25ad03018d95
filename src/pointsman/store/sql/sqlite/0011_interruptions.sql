-- Interruptions.
--
--   cases   attempts count what ended by itself, and the one that is under way. `interruptions` counts apart how often an engine
--           has ended with the case in hand and called, since the case last got on; `waits` is 1 while the case is in hand
--           and all of its calls wait for a permit or a thread.

ALTER TABLE cases ADD COLUMN interruptions INTEGER NOT NULL DEFAULT 0;
ALTER TABLE cases ADD COLUMN waits INTEGER NOT NULL DEFAULT 0;
