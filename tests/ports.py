"""Ports for the servers that tests start as programs."""

import random
import socket
import sys
from contextlib import suppress

PORTS = range(20_000, 32_000)  # below the ports that Linux gives to clients, one of which could else take the port of a server that is down


def free_ports(count: int) -> list[int]:
    """Loopback ports on which nobody listens. No other run on this machine gets them before this one ends, also while their servers are down."""
    found: list[int] = []
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            claim(port)
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError(f"no {count} ports are free between {PORTS.start} and {PORTS.stop}")


def claim(port: int) -> None:
    """Take a name that goes with this process. Raises OSError if another one has it."""
    if sys.platform == "linux":  # elsewhere such a name is a file that stays
        name = socket.socket(socket.AF_UNIX)
        try:
            name.bind(f"\0pointsman-test-port-{port}")
        except OSError:
            name.close()
            raise
        name.detach()  # open until the process ends
