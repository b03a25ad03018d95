PRAGMA application_id = 1347240270;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE blobs (
  sha256  TEXT    PRIMARY KEY,
  size    INTEGER NOT NULL,
  kept_at REAL    NOT NULL,
  content BLOB    NOT NULL
) STRICT;
INSERT INTO "blobs" VALUES('5bb626f4973a4d80adb3d956673807597303a694d5124d9c2298b1fa2811810f',6,1000000.0,X'61207363616E');
CREATE TABLE branches (
  case_id  INTEGER NOT NULL,
  name     TEXT    NOT NULL,
  attempts INTEGER NOT NULL,
  wake_at  REAL,
  outcome  TEXT,
  PRIMARY KEY (case_id, name)
) STRICT, WITHOUT ROWID;
INSERT INTO "branches" VALUES(6,'find_sender',1,NULL,'{"sender": "\"sender of halved\""}');
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
INSERT INTO "cases" VALUES(1,'letter',1,'done','done',5,2,NULL,0,5,'finish(''sent'')','otherwise',NULL,'sent',1000000.0,1000000.0);
INSERT INTO "cases" VALUES(2,'letter',1,'cancelled','cancelled',4,1,NULL,0,3,'approval','open','no longer wanted',NULL,1000000.0,1000000.0);
INSERT INTO "cases" VALUES(3,'letter',1,'parked','parked',3,1,NULL,0,3,'draft','no reply','''draft'' failed after 1 attempt: the model makes no sense',NULL,1000000.0,1000000.0);
INSERT INTO "cases" VALUES(4,'letter',1,'waiting','waiting',3,1,NULL,0,3,'approval','open',NULL,NULL,1000000.0,1000000.0);
INSERT INTO "cases" VALUES(5,'letter',1,'later','ready',3,1,1000060.0,1,2,'draft','no reply',NULL,NULL,1000000.0,1000000.0);
INSERT INTO "cases" VALUES(6,'letter',1,'halved','running',2,1,NULL,1,1,'find_sender + find_customer','facts are missing',NULL,NULL,1000000.0,1000000.0);
INSERT INTO "cases" VALUES(7,'letter',1,'unknown','running',4,2,NULL,1,4,'send','not sent',NULL,NULL,1000000.0,1000000.0);
INSERT INTO "cases" VALUES(8,'letter',1,'hanging','running',2,1,NULL,1,2,'draft','no reply',NULL,NULL,1000000.0,1000000.0);
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
INSERT INTO "effects" VALUES('4026a1cf518f25c5e5b35a37b785cad02adfb39d',7,'send','8793cf2a8de5e563b8d95e71669d8cc0c3a249cdcbdb77e1db56cf2e626b33f7','intended',1,1000000.0,1000030.0,NULL,NULL);
INSERT INTO "effects" VALUES('8e7da020848832f6d3463dc56d61dff0d587d8db',1,'send','5c3b93cf2f723c89de50cec47314b6405b63fcb4c70a49e1d33a671b80e663b3','done',1,1000000.0,1000030.0,'{"receipt": "\"posted dear done\""}',NULL);
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
INSERT INTO "events" VALUES(2,1,1,'decided',NULL,0,1000000.0,'{"rule":"facts are missing","reads":["sender"],"step":"find_sender + find_customer"}');
INSERT INTO "events" VALUES(3,2,1,'accepted',NULL,0,1000000.0,'{"fields":["message"]}');
INSERT INTO "events" VALUES(4,2,1,'decided',NULL,0,1000000.0,'{"rule":"facts are missing","reads":["sender"],"step":"find_sender + find_customer"}');
INSERT INTO "events" VALUES(5,1,2,'node.succeeded','find_sender',1,1000000.0,'{"fields":["sender"]}');
INSERT INTO "events" VALUES(6,1,2,'node.succeeded','find_customer',1,1000000.0,'{"fields":["customer"]}');
INSERT INTO "events" VALUES(7,1,2,'node.succeeded','find_sender + find_customer',1,1000000.0,'{"fields":["sender","customer"]}');
INSERT INTO "events" VALUES(8,1,2,'decided',NULL,0,1000000.0,'{"rule":"no reply","reads":["sender","customer","reply"],"step":"draft"}');
INSERT INTO "events" VALUES(9,1,3,'node.succeeded','draft',1,1000000.0,'{"fields":["reply"]}');
INSERT INTO "events" VALUES(10,1,3,'decided',NULL,0,1000000.0,'{"rule":"open","reads":["sender","customer","reply","approval"],"step":"approval"}');
INSERT INTO "events" VALUES(11,1,3,'paused','approval',0,1000000.0,'{"shows":["reply"],"digest":"d6cedafe72144489e585239bbf23d9acf1f38d8a05eec72217678b9a4dd7306a"}');
INSERT INTO "events" VALUES(12,3,1,'accepted',NULL,0,1000000.0,'{"fields":["message"]}');
INSERT INTO "events" VALUES(13,3,1,'decided',NULL,0,1000000.0,'{"rule":"facts are missing","reads":["sender"],"step":"find_sender + find_customer"}');
INSERT INTO "events" VALUES(14,2,2,'node.succeeded','find_sender',1,1000000.0,'{"fields":["sender"]}');
INSERT INTO "events" VALUES(15,2,2,'node.succeeded','find_customer',1,1000000.0,'{"fields":["customer"]}');
INSERT INTO "events" VALUES(16,2,2,'node.succeeded','find_sender + find_customer',1,1000000.0,'{"fields":["sender","customer"]}');
INSERT INTO "events" VALUES(17,2,2,'decided',NULL,0,1000000.0,'{"rule":"no reply","reads":["sender","customer","reply"],"step":"draft"}');
INSERT INTO "events" VALUES(18,2,3,'node.succeeded','draft',1,1000000.0,'{"fields":["reply"]}');
INSERT INTO "events" VALUES(19,2,3,'decided',NULL,0,1000000.0,'{"rule":"open","reads":["sender","customer","reply","approval"],"step":"approval"}');
INSERT INTO "events" VALUES(20,2,3,'paused','approval',0,1000000.0,'{"shows":["reply"],"digest":"b9fa769bd84ee5f0960b23759838a6d22b2570e07a046d50bf0c02a714bd665d"}');
INSERT INTO "events" VALUES(21,4,1,'accepted',NULL,0,1000000.0,'{"fields":["message"]}');
INSERT INTO "events" VALUES(22,4,1,'decided',NULL,0,1000000.0,'{"rule":"facts are missing","reads":["sender"],"step":"find_sender + find_customer"}');
INSERT INTO "events" VALUES(23,3,2,'node.succeeded','find_sender',1,1000000.0,'{"fields":["sender"]}');
INSERT INTO "events" VALUES(24,3,2,'node.succeeded','find_customer',1,1000000.0,'{"fields":["customer"]}');
INSERT INTO "events" VALUES(25,3,2,'node.succeeded','find_sender + find_customer',1,1000000.0,'{"fields":["sender","customer"]}');
INSERT INTO "events" VALUES(26,3,2,'decided',NULL,0,1000000.0,'{"rule":"no reply","reads":["sender","customer","reply"],"step":"draft"}');
INSERT INTO "events" VALUES(27,3,3,'node.failed','draft',1,1000000.0,'{"error":"ValueError","message":"the model makes no sense"}');
INSERT INTO "events" VALUES(28,3,3,'parked',NULL,0,1000000.0,'{"reason":"''draft'' failed after 1 attempt: the model makes no sense"}');
INSERT INTO "events" VALUES(29,5,1,'accepted',NULL,0,1000000.0,'{"fields":["message"]}');
INSERT INTO "events" VALUES(30,5,1,'decided',NULL,0,1000000.0,'{"rule":"facts are missing","reads":["sender"],"step":"find_sender + find_customer"}');
INSERT INTO "events" VALUES(31,4,2,'node.succeeded','find_sender',1,1000000.0,'{"fields":["sender"]}');
INSERT INTO "events" VALUES(32,4,2,'node.succeeded','find_customer',1,1000000.0,'{"fields":["customer"]}');
INSERT INTO "events" VALUES(33,4,2,'node.succeeded','find_sender + find_customer',1,1000000.0,'{"fields":["sender","customer"]}');
INSERT INTO "events" VALUES(34,4,2,'decided',NULL,0,1000000.0,'{"rule":"no reply","reads":["sender","customer","reply"],"step":"draft"}');
INSERT INTO "events" VALUES(35,6,1,'accepted',NULL,0,1000000.0,'{"fields":["message"]}');
INSERT INTO "events" VALUES(36,6,1,'decided',NULL,0,1000000.0,'{"rule":"facts are missing","reads":["sender"],"step":"find_sender + find_customer"}');
INSERT INTO "events" VALUES(37,5,2,'node.succeeded','find_sender',1,1000000.0,'{"fields":["sender"]}');
INSERT INTO "events" VALUES(38,5,2,'node.succeeded','find_customer',1,1000000.0,'{"fields":["customer"]}');
INSERT INTO "events" VALUES(39,5,2,'node.succeeded','find_sender + find_customer',1,1000000.0,'{"fields":["sender","customer"]}');
INSERT INTO "events" VALUES(40,5,2,'decided',NULL,0,1000000.0,'{"rule":"no reply","reads":["sender","customer","reply"],"step":"draft"}');
INSERT INTO "events" VALUES(41,4,3,'node.succeeded','draft',1,1000000.0,'{"fields":["reply"]}');
INSERT INTO "events" VALUES(42,4,3,'decided',NULL,0,1000000.0,'{"rule":"open","reads":["sender","customer","reply","approval"],"step":"approval"}');
INSERT INTO "events" VALUES(43,4,3,'paused','approval',0,1000000.0,'{"shows":["reply"],"digest":"833782b646e4da1cb6000d4b8253b7a08287a8b6250f3f0d2d6c2db8612723f1"}');
INSERT INTO "events" VALUES(44,5,3,'node.failed','draft',1,1000000.0,'{"error":"ConnectionError","message":"the model does not answer"}');
INSERT INTO "events" VALUES(45,5,3,'node.retried','draft',1,1000000.0,'{"at":1000060.0}');
INSERT INTO "events" VALUES(46,7,1,'accepted',NULL,0,1000000.0,'{"fields":["message"]}');
INSERT INTO "events" VALUES(47,7,1,'decided',NULL,0,1000000.0,'{"rule":"facts are missing","reads":["sender"],"step":"find_sender + find_customer"}');
INSERT INTO "events" VALUES(48,6,2,'node.succeeded','find_sender',1,1000000.0,'{"fields":["sender"]}');
INSERT INTO "events" VALUES(49,8,1,'accepted',NULL,0,1000000.0,'{"fields":["message"]}');
INSERT INTO "events" VALUES(50,8,1,'decided',NULL,0,1000000.0,'{"rule":"facts are missing","reads":["sender"],"step":"find_sender + find_customer"}');
INSERT INTO "events" VALUES(51,7,2,'node.succeeded','find_sender',1,1000000.0,'{"fields":["sender"]}');
INSERT INTO "events" VALUES(52,7,2,'node.succeeded','find_customer',1,1000000.0,'{"fields":["customer"]}');
INSERT INTO "events" VALUES(53,7,2,'node.succeeded','find_sender + find_customer',1,1000000.0,'{"fields":["sender","customer"]}');
INSERT INTO "events" VALUES(54,7,2,'decided',NULL,0,1000000.0,'{"rule":"no reply","reads":["sender","customer","reply"],"step":"draft"}');
INSERT INTO "events" VALUES(55,7,3,'node.succeeded','draft',1,1000000.0,'{"fields":["reply"]}');
INSERT INTO "events" VALUES(56,7,3,'decided',NULL,0,1000000.0,'{"rule":"open","reads":["sender","customer","reply","approval"],"step":"approval"}');
INSERT INTO "events" VALUES(57,7,3,'paused','approval',0,1000000.0,'{"shows":["reply"],"digest":"c4003cfc5af2f424d68a411b322e94e16dc6a4c27f1c9ce7fa22363150e9d516"}');
INSERT INTO "events" VALUES(58,8,2,'node.succeeded','find_sender',1,1000000.0,'{"fields":["sender"]}');
INSERT INTO "events" VALUES(59,8,2,'node.succeeded','find_customer',1,1000000.0,'{"fields":["customer"]}');
INSERT INTO "events" VALUES(60,8,2,'node.succeeded','find_sender + find_customer',1,1000000.0,'{"fields":["sender","customer"]}');
INSERT INTO "events" VALUES(61,8,2,'decided',NULL,0,1000000.0,'{"rule":"no reply","reads":["sender","customer","reply"],"step":"draft"}');
INSERT INTO "events" VALUES(62,2,4,'cancelled',NULL,0,1000000.0,'{"by":"anna","why":"no longer wanted"}');
INSERT INTO "events" VALUES(63,1,4,'resumed','approval',0,1000000.0,'{"by":"anna","fields":["approval"]}');
INSERT INTO "events" VALUES(64,1,4,'decided',NULL,0,1000000.0,'{"rule":"not sent","reads":["sender","customer","reply","approval","receipt"],"step":"send"}');
INSERT INTO "events" VALUES(65,1,4,'effect.intended','send',0,1000000.0,'{"key":"8e7da020848832f6d3463dc56d61dff0d587d8db","deadline":1000030.0}');
INSERT INTO "events" VALUES(66,1,5,'effect.settled','send',1,1000000.0,'{"key":"8e7da020848832f6d3463dc56d61dff0d587d8db","how":"called","fields":["receipt"]}');
INSERT INTO "events" VALUES(67,1,5,'decided',NULL,0,1000000.0,'{"rule":"otherwise","reads":["sender","customer","reply","approval","receipt"],"step":"finish(''sent'')"}');
INSERT INTO "events" VALUES(68,1,5,'finished',NULL,0,1000000.0,'{"outcome":"sent"}');
INSERT INTO "events" VALUES(69,7,4,'resumed','approval',0,1000000.0,'{"by":"anna","fields":["approval"]}');
INSERT INTO "events" VALUES(70,7,4,'decided',NULL,0,1000000.0,'{"rule":"not sent","reads":["sender","customer","reply","approval","receipt"],"step":"send"}');
INSERT INTO "events" VALUES(71,7,4,'effect.intended','send',0,1000000.0,'{"key":"4026a1cf518f25c5e5b35a37b785cad02adfb39d","deadline":1000030.0}');
CREATE TABLE fields (
  case_id  INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  field    TEXT    NOT NULL,
  value    TEXT,
  writer   TEXT    NOT NULL,
  PRIMARY KEY (case_id, revision, field)
) STRICT, WITHOUT ROWID;
INSERT INTO "fields" VALUES(1,1,'message','"done"','');
INSERT INTO "fields" VALUES(1,2,'customer','"customer of done"','find_customer');
INSERT INTO "fields" VALUES(1,2,'sender','"sender of done"','find_sender');
INSERT INTO "fields" VALUES(1,3,'reply','"dear done"','draft');
INSERT INTO "fields" VALUES(1,4,'approval','true','approval');
INSERT INTO "fields" VALUES(1,5,'receipt','"posted dear done"','send');
INSERT INTO "fields" VALUES(2,1,'message','"cancelled"','');
INSERT INTO "fields" VALUES(2,2,'customer','"customer of cancelled"','find_customer');
INSERT INTO "fields" VALUES(2,2,'sender','"sender of cancelled"','find_sender');
INSERT INTO "fields" VALUES(2,3,'reply','"dear cancelled"','draft');
INSERT INTO "fields" VALUES(3,1,'message','"parked"','');
INSERT INTO "fields" VALUES(3,2,'customer','"customer of parked"','find_customer');
INSERT INTO "fields" VALUES(3,2,'sender','"sender of parked"','find_sender');
INSERT INTO "fields" VALUES(4,1,'message','"waiting"','');
INSERT INTO "fields" VALUES(4,2,'customer','"customer of waiting"','find_customer');
INSERT INTO "fields" VALUES(4,2,'sender','"sender of waiting"','find_sender');
INSERT INTO "fields" VALUES(4,3,'reply','"dear waiting"','draft');
INSERT INTO "fields" VALUES(5,1,'message','"later"','');
INSERT INTO "fields" VALUES(5,2,'customer','"customer of later"','find_customer');
INSERT INTO "fields" VALUES(5,2,'sender','"sender of later"','find_sender');
INSERT INTO "fields" VALUES(6,1,'message','"halved"','');
INSERT INTO "fields" VALUES(7,1,'message','"unknown"','');
INSERT INTO "fields" VALUES(7,2,'customer','"customer of unknown"','find_customer');
INSERT INTO "fields" VALUES(7,2,'sender','"sender of unknown"','find_sender');
INSERT INTO "fields" VALUES(7,3,'reply','"dear unknown"','draft');
INSERT INTO "fields" VALUES(7,4,'approval','true','approval');
INSERT INTO "fields" VALUES(8,1,'message','"hanging"','');
INSERT INTO "fields" VALUES(8,2,'customer','"customer of hanging"','find_customer');
INSERT INTO "fields" VALUES(8,2,'sender','"sender of hanging"','find_sender');
CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES('clock','1000000.0');
INSERT INTO "meta" VALUES('epoch','1');
INSERT INTO "meta" VALUES('incarnation','86f085e34b6bcdf6e10dc7f4f35a6028');
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
INSERT INTO "pauses" VALUES(1,3,'approval','9a7691ca6302b17dc009','d6cedafe72144489e585239bbf23d9acf1f38d8a05eec72217678b9a4dd7306a',1000000.0,'answered','anna',1000000.0);
INSERT INTO "pauses" VALUES(2,3,'approval','f5a1887f762e6cc3f02d','b9fa769bd84ee5f0960b23759838a6d22b2570e07a046d50bf0c02a714bd665d',1000000.0,'void',NULL,1000000.0);
INSERT INTO "pauses" VALUES(4,3,'approval','5f1ba912ec56365a6042','833782b646e4da1cb6000d4b8253b7a08287a8b6250f3f0d2d6c2db8612723f1',1000000.0,NULL,NULL,NULL);
INSERT INTO "pauses" VALUES(7,3,'approval','c61ad66ac5cada023b9e','c4003cfc5af2f424d68a411b322e94e16dc6a4c27f1c9ce7fa22363150e9d516',1000000.0,'answered','anna',1000000.0);
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
