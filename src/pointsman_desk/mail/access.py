"""Secrets for the login at a mail server."""

import ipaddress
import os
import subprocess
from collections.abc import Sequence

from pointsman_desk.errors import SecretMissing


def read_secret(variable: str | None, command: Sequence[str], timeout_seconds: float) -> str:
    """Return a password or token: what `command` prints, or what the environment variable holds.

    It is read on each call and not stored. Waits up to `timeout_seconds` for the command. Raises SecretMissing.
    """
    if command:
        return _output_of(command, timeout_seconds)
    secret = os.environ.get(variable or "")
    if not secret:
        raise SecretMissing(f"the environment variable {variable} is not set; set it to the secret.")
    return secret


def _output_of(command: Sequence[str], timeout_seconds: float) -> str:
    program = command[0]
    try:
        done = subprocess.run(  # noqa: S603 - the owner of the configuration named the program, and no shell reads it
            command, capture_output=True, text=True, timeout=timeout_seconds, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        reason = "it took too long" if isinstance(error, subprocess.TimeoutExpired) else str(error)
        raise SecretMissing(f"the token_command {program} gave no token ({reason}); fix it.") from None
    token = done.stdout.strip()
    if done.returncode or not token:
        raise SecretMissing(f"the token_command {program} gave no token (code {done.returncode}); fix it.")
    return token


def is_loopback(host: str) -> bool:
    """Return whether `host` is this machine, so that nobody can listen to the connection."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
