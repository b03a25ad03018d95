"""Other durable engines, each a program with the protocol of `benchmarks.systems`, in an environment of their own (`make bench`)."""
