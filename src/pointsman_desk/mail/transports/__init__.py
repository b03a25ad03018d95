"""Transports for replies."""
