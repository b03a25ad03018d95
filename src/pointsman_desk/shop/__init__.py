"""The shop: its orders and its policy."""
