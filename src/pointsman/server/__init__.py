"""Serve an engine to people and programs: the HTTP API, who may do what, and the running program."""
