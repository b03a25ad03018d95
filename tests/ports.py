"""Ports for the servers that tests start as programs."""

import random
import socket
from contextlib import suppress

PORTS = range(20_000, 32_000)  # below the ports that Linux gives to clients, one of which could else take the port of a server that is down


def free_ports(count: int) -> list[int]:
    """Loopback ports on which nobody listens. Runs side by side, each of which asks, hardly ever get the same."""
    found: list[int] = []
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError(f"no {count} ports are free between {PORTS.start} and {PORTS.stop}")
