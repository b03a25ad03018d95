"""The nodes, one a file, in the order in which a mail meets them: ingest, classify, facts, identity, draft, validate, approve, send."""
