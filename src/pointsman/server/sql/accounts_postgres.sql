-- name: take_turns
-- Wait for others who write here, until the end of the transaction: an entry of the audit log has the digest of the one before. 1347240259 is "PMAC".
SELECT pg_advisory_xact_lock(1347240259, hashtext('pointsman.audit'))
-- name: user
SELECT name, role, password, created_at FROM pointsman.users WHERE name = %s
-- name: users
SELECT name, role, password, created_at FROM pointsman.users ORDER BY name
-- name: put_user
INSERT INTO pointsman.users (name, role, password, created_at) VALUES (%s, %s, %s, %s)
ON CONFLICT (name) DO UPDATE SET role = excluded.role, password = excluded.password
-- name: delete_user
DELETE FROM pointsman.users WHERE name = %s RETURNING name
-- name: token
SELECT name, scopes, created_at, expires_at FROM pointsman.tokens WHERE digest = %s
-- name: tokens
SELECT name, scopes, created_at, expires_at FROM pointsman.tokens ORDER BY name
-- name: put_token
INSERT INTO pointsman.tokens (name, digest, scopes, created_at, expires_at) VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING name
-- name: delete_token
DELETE FROM pointsman.tokens WHERE name = %s RETURNING name
-- name: session
SELECT person, role, expires_at FROM pointsman.sessions WHERE digest = %s
-- name: put_session
INSERT INTO pointsman.sessions (digest, person, role, expires_at) VALUES (%s, %s, %s, %s)
-- name: delete_session
DELETE FROM pointsman.sessions WHERE digest = %s
-- name: delete_sessions_of
DELETE FROM pointsman.sessions WHERE person = %s
-- name: delete_expired_sessions
DELETE FROM pointsman.sessions WHERE expires_at <= %s
-- name: last_entry
SELECT number, digest FROM pointsman.audit ORDER BY number DESC LIMIT 1
-- name: put_entry
INSERT INTO pointsman.audit (number, at, who, did, about, digest) VALUES (%s, %s, %s, %s, %s, %s)
-- name: entries
SELECT number, at, who, did, about, digest FROM pointsman.audit WHERE number > %s ORDER BY number LIMIT %s
