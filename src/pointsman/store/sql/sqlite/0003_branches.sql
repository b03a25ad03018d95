-- How a branch ended, where it failed, and what it was computed from.

-- failure is the JSON of the Failure of a branch that has failed for good; reads the digest of what the branch read, so that
-- nothing of a branch outlives a change of that. Branches from before have none, and are run again.
ALTER TABLE branches ADD COLUMN failure TEXT;
ALTER TABLE branches ADD COLUMN reads TEXT NOT NULL DEFAULT '';
