"""Talk to a running engine over HTTP: what the API takes and returns, and the clients."""
