-- The clock is saved now and then instead of at every commit, which then writes a page less.
--
--   meta  `clock` is the highest time in the journal before the row with the number `clock_entry`

INSERT INTO meta SELECT 'clock_entry', coalesce(max(id), 0) + 1 FROM journal;
