"""The nodes, in processing order: ingest (and correlate), classify, facts, identity, draft, validate, bounds, send."""
