-- How a branch failed, and what it read.

-- `failure` is the JSON of the `Failure` of a branch that has used up its attempts. `reads` is the digest of what the branch read: if
-- that changes, the branch runs again. Rows written before this migration have no digest, so those branches run again too.
ALTER TABLE branches ADD COLUMN failure TEXT;
ALTER TABLE branches ADD COLUMN reads TEXT NOT NULL DEFAULT '';
