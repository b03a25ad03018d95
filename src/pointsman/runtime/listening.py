"""Listen on an address, or say in one sentence why that is not possible."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from pointsman.errors import PointsmanError


class CannotListen(PointsmanError):
    """The address is taken, or is not one of this machine."""


@contextmanager
def bound(host: str, port: int, mend: str) -> Iterator[tuple[socket.socket, str]]:
    """Open a socket that listens there while the block runs, and yield it with its address. Raises CannotListen, which says how to `mend` it."""
    try:
        opened = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        why = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise CannotListen(f"{host}:{port} cannot be used ({why}); {mend}.") from None
    with opened:
        yield opened, f"http://{f'[{host}]' if ':' in host else host}:{opened.getsockname()[1]}"
