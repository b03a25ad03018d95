-- The accounts of `pointsman serve`. Who may sign in, with which role; the tokens of programs; who is signed in; what each of them did.

CREATE TABLE pointsman.users (
  name       text COLLATE "C" PRIMARY KEY,
  role       text NOT NULL,
  password   text NOT NULL, -- an argon2id hash (RFC 9106), or '' for a person who signs in elsewhere
  created_at double precision NOT NULL
);

CREATE TABLE pointsman.tokens (
  name       text COLLATE "C" PRIMARY KEY,
  digest     text NOT NULL UNIQUE, -- SHA-256 of the token, which is random, so nobody can guess it from its digest
  scopes     text NOT NULL,
  created_at double precision NOT NULL,
  expires_at double precision
);

CREATE TABLE pointsman.sessions (
  digest     text PRIMARY KEY,
  person     text NOT NULL,
  role       text NOT NULL,
  expires_at double precision NOT NULL
);
CREATE INDEX sessions_by_person ON pointsman.sessions (person);

CREATE TABLE pointsman.audit (
  number bigint PRIMARY KEY,
  at     double precision NOT NULL,
  who    text NOT NULL,
  did    text NOT NULL,
  about  text NOT NULL, -- JSON
  digest text NOT NULL -- SHA-256 of the digest before and of this row
);
