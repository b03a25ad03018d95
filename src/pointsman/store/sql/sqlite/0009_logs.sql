-- Logs, and an index that finds the state.
--
--   fields  still append-only. The rows of one field are now adjacent, so that its last write is found without reading the earlier
--           ones. A row that `appends` holds the items (a JSON array) that a transition added to a log. The value of a log is its
--           last whole write, if it has one, and the items added since.
--
-- The table is copied and refilled, not renamed, because an author's view may read it.

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

-- The current state of each case as one JSON object, for plain SQL.
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
