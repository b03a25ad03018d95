"""Mail as the desk meets it: read, compose, where it comes from, how it leaves."""
