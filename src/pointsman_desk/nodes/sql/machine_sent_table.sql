-- The automatic replies that were sent or about to be sent, with a row for each mail that they answer.
CREATE TABLE IF NOT EXISTS desk_machine_sent (
  address BLOB NOT NULL,
  case_id INTEGER NOT NULL,
  mail BLOB NOT NULL,
  at REAL NOT NULL,
  PRIMARY KEY (address, case_id, mail)
) WITHOUT ROWID;
