"""Run isolated nodes: each call runs in a subprocess, which is killed at its timeout. A crash of the subprocess is a failed attempt.

The parent starts a Python subprocess, writes one line of JSON to it (the function, its arguments and its `ctx`) and reads one JSON object
back: the result or the error. Both sides convert values by the types in the function's signature; nothing is pickled. The child imports the
function's module, sends what the function prints to stderr, and ends when its parent has died. It leads a process group, so that subprocesses
of the function are killed with it.
"""

import asyncio
import contextlib
import inspect
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from importlib import import_module
from typing import Any, cast, get_type_hints

from pydantic import TypeAdapter

from pointsman.definition.nodes import AnyNode, Context, Node
from pointsman.errors import SubprocessCrashed
from pointsman.kernel.codec import encode_value, message_of
from pointsman.kernel.evidence import PLACE, raised_at

AT_ONCE = max(2, os.cpu_count() or 2)  # subprocesses: more than there are processors would only wait for each other
SIZE_DIGITS = 20  # the answer begins with its size in bytes, in this many decimal digits
_CONTEXT_FIELDS = [field.name for field in fields(Context) if not field.name.startswith("_")]
COMMAND = (sys.executable, "-X", "faulthandler", "-c", "from pointsman.runtime.isolated import answer; answer()")


class Isolation:
    """Runs functions in subprocesses, at most `AT_ONCE` at a time. Each caller holds one of the `slots`."""

    def __init__(self) -> None:
        self.slots = asyncio.Semaphore(AT_ONCE)

    async def call(self, node: AnyNode, arguments: Sequence[object], context: Context | None) -> object:
        """Call the node's function with these arguments. Kill the subprocess if this call is cancelled.

        Raises what the function raises, if this program has imported the exception's type, else RuntimeError. Raises SubprocessCrashed if the
        subprocess ends before it answers, and ValueRefused if an argument or the result does not fit the function's types.
        """
        types = _types_of(node.function)
        request = {
            "module": node.function.__module__,
            "name": node.function.__qualname__,
            "arguments": [encode_value(types[name], name, value) for name, value in zip(types, arguments, strict=False)],
            "context": context and {name: getattr(context, name) for name in _CONTEXT_FIELDS},
        }
        said = await _ask(node.name, json.dumps(request).encode())
        if "error" in said:
            raise _raised(said)
        return types["return"].validate_json(said["result"])


async def _ask(name: str, request: bytes) -> dict[str, Any]:
    """Start a subprocess, send it the call, and return its answer. Raises SubprocessCrashed."""
    pipe, environment = asyncio.subprocess.PIPE, {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = await asyncio.create_subprocess_exec(*COMMAND, stdin=pipe, stdout=pipe, env=environment, start_new_session=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with contextlib.suppress(ConnectionError):  # it may end before it has read
            process.stdin.write(request + b"\n")
            await process.stdin.drain()
        size = int(await process.stdout.readexactly(SIZE_DIGITS))
        return cast("dict[str, Any]", json.loads(await process.stdout.readexactly(size)))
    except asyncio.IncompleteReadError:
        ended = _ended_with(await process.wait())
        raise SubprocessCrashed(f"the subprocess of {name!r} ended with {ended} before the function did") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        process.stdin.close()


def _raised(said: Mapping[str, Any]) -> Exception:
    """Return the child's exception, as the most specific of its types that this program has imported and can build from a text."""
    message, described = said["message"], f"{said['error'][0][1]}: {said['message']}"
    for position, (module, name) in enumerate(said["error"]):
        kind = getattr(sys.modules.get(module), name, None)
        if isinstance(kind, type) and issubclass(kind, Exception):
            with contextlib.suppress(Exception):
                error = kind(described if position else message)
                setattr(error, PLACE, said["raised_at"])
                return error
    return RuntimeError(described)


def _ended_with(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


@lru_cache(maxsize=256)  # as many isolated nodes as a program will have
def _types_of(function: Callable[..., Any]) -> Mapping[str, TypeAdapter[Any]]:
    """Return the types of the arguments, in order, and of the result ("return")."""
    hints = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters.values()
    names = [parameter.name for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY]
    return {name: TypeAdapter(hints[name]) for name in [*names, "return"]}


# In the child.


def answer() -> None:
    """Read the call from stdin, make it, write the result or the error, and exit."""
    reply, parent = os.fdopen(os.dup(1), "wb"), os.dup(0)
    os.dup2(2, 1)  # what the function prints must not mix with the answer
    request = json.loads(_line(parent))
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a device
        os.dup2(nothing.fileno(), 0)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    said: dict[str, Any]
    try:
        said = {"result": _call(request)}
    except BaseException as error:
        kinds = [(kind.__module__, kind.__qualname__) for kind in type(error).__mro__]
        said = {"error": kinds, "message": message_of(error), "raised_at": raised_at(error)}
    with contextlib.suppress(BrokenPipeError):
        raw = json.dumps(said).encode()
        reply.write(b"%0*d" % (SIZE_DIGITS, len(raw)) + raw)
        reply.flush()
    sys.stdout.flush()
    os._exit(0)  # threads that the function left running must not delay the exit


def _call(request: Mapping[str, Any]) -> str:
    found = getattr(import_module(request["module"]), request["name"], None)
    if found is None:
        raise LookupError(
            f"module {request['module']!r} has no function {request['name']!r} at its top; define it there under its own name"
        )
    function = found.function if isinstance(found, Node) else found
    types = _types_of(function)
    arguments = [types[name].validate_json(text) for name, text in zip(types, request["arguments"], strict=False)]
    context = {} if request["context"] is None else {"ctx": Context(**request["context"])}
    return encode_value(types["return"], "its result", function(*arguments, **context))


def _line(handle: int) -> bytes:
    """Read one line, and nothing beyond it."""
    with open(handle, "rb", buffering=0, closefd=False) as stream:
        parts = [stream.read(65_536)]
        while parts[-1] and not parts[-1].endswith(b"\n"):
            parts.append(stream.read(65_536))
    return b"".join(parts)


def _end_with(parent: int) -> None:
    """Wait until the parent closes its end of the pipe, then kill this process and every process started here."""
    os.read(parent, 1)
    os.killpg(0, signal.SIGKILL)
