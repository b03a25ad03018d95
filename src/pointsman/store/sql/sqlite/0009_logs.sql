-- Logs, and a state that is found by an index.
--
--   fields  as before: append-only. The rows of one field now stand together, so that its last write is found without reading the
--           earlier ones; and a row that `appends` holds the items (a JSON array) that a transition added to a log. The value of
--           a log is its last whole write, if it has one, and what was added since.
--
-- The table is filled anew, and not renamed: an author's view may read it.

DROP VIEW states;
CREATE TEMP TABLE fields_before AS SELECT * FROM fields;
DROP TABLE fields;
CREATE TABLE fields (
  case_id  INTEGER NOT NULL,
  field    TEXT    NOT NULL,
  revision INTEGER NOT NULL,
  appends  INTEGER NOT NULL DEFAULT 0,
  writer   TEXT    NOT NULL,
  value    TEXT,
  PRIMARY KEY (case_id, field, revision)
) STRICT, WITHOUT ROWID;
INSERT INTO fields (case_id, field, revision, writer, value)
  SELECT case_id, field, revision, writer, value FROM fields_before ORDER BY case_id, field, revision;
DROP TABLE fields_before;

-- The current state of every case as one JSON object, for plain SQL.
CREATE VIEW states AS
SELECT id, process, version, status, revision, outcome,
       (SELECT json_group_object(field, json(value))
          FROM (SELECT field,
                       CASE WHEN since > appended
                            THEN (SELECT value FROM fields WHERE case_id = cases.id AND fields.field = last.field AND fields.revision = since)
                            ELSE (SELECT '[' || coalesce(group_concat(substr(value, 2, length(value) - 2), ','), '') || ']'
                                    FROM (SELECT value FROM fields
                                           WHERE case_id = cases.id AND fields.field = last.field AND fields.revision >= since AND value <> '[]'
                                           ORDER BY fields.revision))
                       END AS value
                  FROM (SELECT field, max(iif(appends, 0, revision)) AS since, max(iif(appends, revision, 0)) AS appended
                          FROM fields WHERE case_id = cases.id GROUP BY field) AS last)
         WHERE value IS NOT NULL) AS state
  FROM cases;
