-- name: user
SELECT name, role, password, created_at FROM users WHERE name = ?
-- name: users
SELECT name, role, password, created_at FROM users ORDER BY name
-- name: put_user
INSERT INTO users (name, role, password, created_at) VALUES (?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET role = excluded.role, password = excluded.password
-- name: delete_user
DELETE FROM users WHERE name = ? RETURNING name
-- name: token
SELECT name, scopes, created_at, expires_at FROM tokens WHERE digest = ?
-- name: tokens
SELECT name, scopes, created_at, expires_at FROM tokens ORDER BY name
-- name: put_token
INSERT INTO tokens (name, digest, scopes, created_at, expires_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING name
-- name: delete_token
DELETE FROM tokens WHERE name = ? RETURNING name
-- name: session
SELECT user, role, expires_at FROM sessions WHERE digest = ?
-- name: put_session
INSERT INTO sessions (digest, user, role, expires_at) VALUES (?, ?, ?, ?)
-- name: delete_session
DELETE FROM sessions WHERE digest = ?
-- name: delete_sessions_of
DELETE FROM sessions WHERE user = ?
-- name: delete_expired_sessions
DELETE FROM sessions WHERE expires_at <= ?
-- name: last_entry
SELECT number, digest FROM audit ORDER BY number DESC LIMIT 1
-- name: put_entry
INSERT INTO audit (number, at, who, did, about, digest) VALUES (?, ?, ?, ?, ?, ?)
-- name: entries
SELECT number, at, who, did, about, digest FROM audit WHERE number > ? ORDER BY number LIMIT ?
