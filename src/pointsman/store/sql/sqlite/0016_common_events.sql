-- Events that recur in case after case, stored once.
--
--   common_events  events whose facts only name parts of their process. No row is ever changed or deleted.
--   journal        in `events`, a number instead of an array stands for the common event with that number. Older rows stay as they are.

CREATE TABLE common_events (
  id      INTEGER PRIMARY KEY,
  kind    TEXT    NOT NULL,
  step    TEXT,
  attempt INTEGER NOT NULL,
  facts   TEXT    NOT NULL
) STRICT;

DROP VIEW events;
CREATE VIEW events AS
SELECT journal.id + event.key AS id, case_id, revision,
       coalesce(common.kind, json_extract(event.value, '$[0]')) AS kind,
       coalesce(common.step, json_extract(event.value, '$[1]')) AS step,
       coalesce(common.attempt, json_extract(event.value, '$[2]')) AS attempt, at,
       coalesce(common.facts, json_extract(event.value, '$[3]')) AS facts
  FROM journal CROSS JOIN json_each(journal.events) AS event
       LEFT JOIN common_events AS common ON event.type = 'integer' AND common.id = event.value;
