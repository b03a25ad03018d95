PRAGMA application_id = 1347240270;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE blobs (
  sha256  TEXT    PRIMARY KEY,
  size    INTEGER NOT NULL,
  kept_at REAL    NOT NULL,
  content BLOB    NOT NULL
) STRICT;
CREATE TABLE branches (
  case_id  INTEGER NOT NULL,
  name     TEXT    NOT NULL,
  attempts INTEGER NOT NULL,
  wake_at  REAL,
  outcome  TEXT,
  PRIMARY KEY (case_id, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE cases (
  id         INTEGER PRIMARY KEY,
  process    TEXT    NOT NULL,
  version    INTEGER NOT NULL,
  key        TEXT,
  status     TEXT    NOT NULL,
  revision   INTEGER NOT NULL,
  fence      INTEGER NOT NULL,
  wake_at    REAL,
  attempts   INTEGER NOT NULL,
  steps      INTEGER NOT NULL,
  step       TEXT,
  rule       TEXT,
  reason     TEXT,
  outcome    TEXT,
  created_at REAL    NOT NULL,
  updated_at REAL    NOT NULL,
  UNIQUE (process, key)
) STRICT;
INSERT INTO "cases" VALUES(1,'ask',1,'waiting','waiting',2,1,NULL,0,2,'answer','not asked',NULL,NULL,1000000.0,1000000.0);
INSERT INTO "cases" VALUES(2,'ask',1,'unlucky','parked',4,3,NULL,0,2,'write','no draft','''write'' failed after 3 attempts: no such word',NULL,1000000.0,1000200.0);
INSERT INTO "cases" VALUES(3,'ask',1,'gone','ready',4,2,1.0003005451479684561e+06,1,3,'post','not posted',NULL,NULL,1000000.0,1000300.0);
INSERT INTO "cases" VALUES(4,'ask',1,'done','done',4,2,NULL,0,4,'finish(''posted'')','otherwise',NULL,'posted',1000000.0,1000300.0);
CREATE TABLE effects (
  key         TEXT    PRIMARY KEY,
  case_id     INTEGER NOT NULL,
  effect      TEXT    NOT NULL,
  arguments   TEXT    NOT NULL,
  status      TEXT    NOT NULL,
  attempts    INTEGER NOT NULL,
  intended_at REAL    NOT NULL,
  deadline    REAL    NOT NULL,
  outcome     TEXT,
  error       TEXT
) STRICT, WITHOUT ROWID;
INSERT INTO "effects" VALUES('655499a8c0fba230a6bc69f467465a572e7d1466',3,'post','965a3a8f839f5d9e3796b6c1b94ccba51fabe97c96152936b5f741b61c780c2f','in_doubt',1,1000300.0,1000330.0,NULL,'gone');
INSERT INTO "effects" VALUES('f272560b632b6fd7352ae861eb408d3e5919e09b',4,'post','34fe20f86ae546e66f95cdab0eeb01b7b898e363d3b0a0b228ef6437ebb5a129','done',1,1000300.0,1000330.0,'{"receipt": "\"posted\""}',NULL);
CREATE TABLE events (
  id       INTEGER PRIMARY KEY,
  case_id  INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  kind     TEXT    NOT NULL,
  step     TEXT,
  attempt  INTEGER NOT NULL,
  at       REAL    NOT NULL,
  facts    TEXT    NOT NULL
) STRICT;
INSERT INTO "events" VALUES(1,1,1,'accepted',NULL,0,1000000.0,'{"fields":["message"]}');
INSERT INTO "events" VALUES(2,1,1,'decided',NULL,0,1000000.0,'{"rule":"no draft","reads":["draft"],"step":"write"}');
INSERT INTO "events" VALUES(3,1,2,'node.succeeded','write',1,1000000.0,'{"fields":["draft"]}');
INSERT INTO "events" VALUES(4,1,2,'decided',NULL,0,1000000.0,'{"rule":"not asked","reads":["draft","answer"],"step":"answer"}');
INSERT INTO "events" VALUES(5,1,2,'paused','answer',0,1000000.0,'{"shows":["draft"],"digest":"151402cf2230f3d9ad9f00f194244adde4509cc962294aaaca41c49ee90e7b79"}');
INSERT INTO "events" VALUES(6,2,1,'accepted',NULL,0,1000000.0,'{"fields":["message"]}');
INSERT INTO "events" VALUES(7,2,1,'decided',NULL,0,1000000.0,'{"rule":"no draft","reads":["draft"],"step":"write"}');
INSERT INTO "events" VALUES(8,2,2,'node.failed','write',1,1000000.0,'{"error":"ValueError","message":"no such word"}');
INSERT INTO "events" VALUES(9,2,2,'node.retried','write',1,1000000.0,'{"at":1000000.8025882518}');
INSERT INTO "events" VALUES(10,3,1,'accepted',NULL,0,1000000.0,'{"fields":["message"]}');
INSERT INTO "events" VALUES(11,3,1,'decided',NULL,0,1000000.0,'{"rule":"no draft","reads":["draft"],"step":"write"}');
INSERT INTO "events" VALUES(12,3,2,'node.succeeded','write',1,1000000.0,'{"fields":["draft"]}');
INSERT INTO "events" VALUES(13,3,2,'decided',NULL,0,1000000.0,'{"rule":"not asked","reads":["draft","answer"],"step":"answer"}');
INSERT INTO "events" VALUES(14,3,2,'paused','answer',0,1000000.0,'{"shows":["draft"],"digest":"965a3a8f839f5d9e3796b6c1b94ccba51fabe97c96152936b5f741b61c780c2f"}');
INSERT INTO "events" VALUES(15,4,1,'accepted',NULL,0,1000000.0,'{"fields":["message"]}');
INSERT INTO "events" VALUES(16,4,1,'decided',NULL,0,1000000.0,'{"rule":"no draft","reads":["draft"],"step":"write"}');
INSERT INTO "events" VALUES(17,4,2,'node.succeeded','write',1,1000000.0,'{"fields":["draft"]}');
INSERT INTO "events" VALUES(18,4,2,'decided',NULL,0,1000000.0,'{"rule":"not asked","reads":["draft","answer"],"step":"answer"}');
INSERT INTO "events" VALUES(19,4,2,'paused','answer',0,1000000.0,'{"shows":["draft"],"digest":"34fe20f86ae546e66f95cdab0eeb01b7b898e363d3b0a0b228ef6437ebb5a129"}');
INSERT INTO "events" VALUES(20,2,3,'node.failed','write',2,1000100.0,'{"error":"ValueError","message":"no such word"}');
INSERT INTO "events" VALUES(21,2,3,'node.retried','write',2,1000100.0,'{"at":1000101.4172119941}');
INSERT INTO "events" VALUES(22,2,4,'node.failed','write',3,1000200.0,'{"error":"ValueError","message":"no such word"}');
INSERT INTO "events" VALUES(23,2,4,'parked',NULL,0,1000200.0,'{"reason":"''write'' failed after 3 attempts: no such word"}');
INSERT INTO "events" VALUES(24,3,3,'resumed','answer',0,1000300.0,'{"by":"anna","fields":["answer"]}');
INSERT INTO "events" VALUES(25,3,3,'decided',NULL,0,1000300.0,'{"rule":"not posted","reads":["draft","answer","receipt"],"step":"post"}');
INSERT INTO "events" VALUES(26,3,3,'effect.intended','post',0,1000300.0,'{"key":"655499a8c0fba230a6bc69f467465a572e7d1466","deadline":1000330.0}');
INSERT INTO "events" VALUES(27,3,4,'effect.in_doubt','post',1,1000300.0,'{"key":"655499a8c0fba230a6bc69f467465a572e7d1466","message":"ConnectionError: gone"}');
INSERT INTO "events" VALUES(28,4,3,'resumed','answer',0,1000300.0,'{"by":"anna","fields":["answer"]}');
INSERT INTO "events" VALUES(29,4,3,'decided',NULL,0,1000300.0,'{"rule":"not posted","reads":["draft","answer","receipt"],"step":"post"}');
INSERT INTO "events" VALUES(30,4,3,'effect.intended','post',0,1000300.0,'{"key":"f272560b632b6fd7352ae861eb408d3e5919e09b","deadline":1000330.0}');
INSERT INTO "events" VALUES(31,4,4,'effect.settled','post',1,1000300.0,'{"key":"f272560b632b6fd7352ae861eb408d3e5919e09b","how":"called","fields":["receipt"]}');
INSERT INTO "events" VALUES(32,4,4,'decided',NULL,0,1000300.0,'{"rule":"otherwise","reads":["draft","answer","receipt"],"step":"finish(''posted'')"}');
INSERT INTO "events" VALUES(33,4,4,'finished',NULL,0,1000300.0,'{"outcome":"posted"}');
CREATE TABLE fields (
  case_id  INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  field    TEXT    NOT NULL,
  value    TEXT,
  writer   TEXT    NOT NULL,
  PRIMARY KEY (case_id, revision, field)
) STRICT, WITHOUT ROWID;
INSERT INTO "fields" VALUES(1,1,'message','"waiting"','');
INSERT INTO "fields" VALUES(1,2,'draft','"re: waiting"','write');
INSERT INTO "fields" VALUES(2,1,'message','"unlucky"','');
INSERT INTO "fields" VALUES(3,1,'message','"gone"','');
INSERT INTO "fields" VALUES(3,2,'draft','"re: gone"','write');
INSERT INTO "fields" VALUES(3,3,'answer','"yes"','answer');
INSERT INTO "fields" VALUES(4,1,'message','"done"','');
INSERT INTO "fields" VALUES(4,2,'draft','"re: done"','write');
INSERT INTO "fields" VALUES(4,3,'answer','"yes"','answer');
INSERT INTO "fields" VALUES(4,4,'receipt','"posted"','post');
CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES('clock','1000300.0');
INSERT INTO "meta" VALUES('epoch','1');
INSERT INTO "meta" VALUES('incarnation','b5bf8705dc8378242af54c3734f5aa49');
CREATE TABLE pauses (
  case_id   INTEGER NOT NULL,
  revision  INTEGER NOT NULL,
  name      TEXT    NOT NULL,
  token     TEXT    NOT NULL UNIQUE,
  digest    TEXT    NOT NULL,
  opened_at REAL    NOT NULL,
  closed    TEXT,
  closed_by TEXT,
  closed_at REAL,
  PRIMARY KEY (case_id, revision)
) STRICT, WITHOUT ROWID;
INSERT INTO "pauses" VALUES(1,2,'answer','269ef2a74de452e6b438','151402cf2230f3d9ad9f00f194244adde4509cc962294aaaca41c49ee90e7b79',1000000.0,NULL,NULL,NULL);
INSERT INTO "pauses" VALUES(3,2,'answer','d23f128b2f330c5c7fd0','965a3a8f839f5d9e3796b6c1b94ccba51fabe97c96152936b5f741b61c780c2f',1000000.0,'answered','anna',1000300.0);
INSERT INTO "pauses" VALUES(4,2,'answer','5d9d1818e811892f902b','34fe20f86ae546e66f95cdab0eeb01b7b898e363d3b0a0b228ef6437ebb5a129',1000000.0,'answered','anna',1000300.0);
CREATE INDEX cases_due ON cases (wake_at) WHERE status = 'ready';
CREATE INDEX cases_running ON cases (id) WHERE status = 'running';
CREATE INDEX cases_held ON cases (status, id) WHERE status IN ('waiting', 'parked');
CREATE INDEX events_of_case ON events (case_id);
CREATE INDEX effects_of_case ON effects (case_id);
CREATE INDEX effects_open ON effects (status) WHERE status IN ('intended', 'in_doubt');
CREATE VIEW states AS
SELECT id, process, version, status, revision, outcome,
       (SELECT json_group_object(field, json(value))
          FROM (SELECT field, value, max(revision) FROM fields WHERE case_id = cases.id GROUP BY field)
         WHERE value IS NOT NULL) AS state
  FROM cases;
COMMIT;
