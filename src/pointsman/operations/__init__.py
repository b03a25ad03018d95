"""Look at cases: their history, and why they are where they are."""
