"""The nodes, in the order in which a mail meets them: ingest (and correlate), classify, facts, identity, draft, validate, bounds, send."""
