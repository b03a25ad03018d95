"""Where cases live."""
