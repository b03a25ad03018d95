-- Who may sign in, with which role; the tokens of programs; who is signed in; and what each of them did.
CREATE TABLE IF NOT EXISTS users (
  name TEXT PRIMARY KEY,
  role TEXT NOT NULL,
  password TEXT NOT NULL, -- an argon2id hash (RFC 9106), or "" for a person who signs in elsewhere
  created_at REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS tokens (
  name TEXT PRIMARY KEY,
  digest TEXT NOT NULL UNIQUE, -- SHA-256 of the token, which is random, so nobody can guess it from its digest
  scopes TEXT NOT NULL,
  created_at REAL NOT NULL,
  expires_at REAL
) STRICT;
CREATE TABLE IF NOT EXISTS sessions (
  digest TEXT PRIMARY KEY,
  user TEXT NOT NULL,
  role TEXT NOT NULL,
  expires_at REAL NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS sessions_by_user ON sessions (user);
CREATE TABLE IF NOT EXISTS audit (
  number INTEGER PRIMARY KEY,
  at REAL NOT NULL,
  who TEXT NOT NULL,
  did TEXT NOT NULL,
  about TEXT NOT NULL, -- JSON
  digest TEXT NOT NULL -- SHA-256 of the digest before and of this row
) STRICT;
