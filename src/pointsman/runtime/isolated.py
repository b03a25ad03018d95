"""Isolated nodes: each call runs in a subprocess, which is killed when its time is over. A crash there is a failed attempt here.

The parent starts a Python subprocess, writes one line of JSON to it (which function, its arguments, its `ctx`) and reads one object of
JSON back: the result, or the error. Both directions go through the types of the function's own signature; nothing is
pickled. The child imports the function's module, keeps its answer apart from what the function prints, and ends itself
when its parent has gone. It leads a process group, so that what the function has started is killed with it.
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

AT_ONCE = max(2, os.cpu_count() or 2)  # subprocesses: more than there are processors only keep each other waiting
SIZE_DIGITS = 20  # before the answer: how many bytes it has, as this many decimal digits
_TOLD = [field.name for field in fields(Context) if not field.name.startswith("_")]
COMMAND = (sys.executable, "-X", "faulthandler", "-c", "from pointsman.runtime.isolated import answer; answer()")


class Isolation:
    """Runs functions in subprocesses, `AT_ONCE` at most; each caller holds one of the `places`."""

    def __init__(self) -> None:
        self.places = asyncio.Semaphore(AT_ONCE)

    async def call(self, node: AnyNode, arguments: Sequence[object], context: Context | None) -> object:
        """Call the node's function with these arguments, and kill it when this is cancelled.

        Raises what it raises, as far as this program knows the exception's type; SubprocessCrashed where its Python ended before it
        answered; ValueRefused where an argument or the result does not fit the function's own types.
        """
        types = _types_of(node.function)
        told = {
            "module": node.function.__module__,
            "name": node.function.__qualname__,
            "arguments": [encode_value(types[name], name, value) for name, value in zip(types, arguments, strict=False)],
            "context": context and {name: getattr(context, name) for name in _TOLD},
        }
        said = await _ask(node.name, json.dumps(told).encode())
        if "error" in said:
            raise _raised(said)
        return types["return"].validate_json(said["result"])


async def _ask(name: str, told: bytes) -> dict[str, Any]:
    """Start a subprocess, tell it what to call, and return its answer. Raises SubprocessCrashed."""
    pipe, environment = asyncio.subprocess.PIPE, {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = await asyncio.create_subprocess_exec(*COMMAND, stdin=pipe, stdout=pipe, env=environment, start_new_session=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with contextlib.suppress(ConnectionError):  # it may end before it has read
            process.stdin.write(told + b"\n")
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
    """The exception of the child, or of the nearest of its types that this program knows and can make of a text."""
    message, told = said["message"], f"{said['error'][0][1]}: {said['message']}"
    for position, (module, name) in enumerate(said["error"]):
        kind = getattr(sys.modules.get(module), name, None)
        if isinstance(kind, type) and issubclass(kind, Exception):
            with contextlib.suppress(Exception):
                error = kind(told if position else message)
                setattr(error, PLACE, said["raised_at"])
                return error
    return RuntimeError(told)


def _ended_with(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


@lru_cache(maxsize=256)  # as many isolated nodes as a program will have
def _types_of(function: Callable[..., Any]) -> Mapping[str, TypeAdapter[Any]]:
    """The types of the arguments, in their order, and of the result ("return")."""
    hints = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters.values()
    names = [parameter.name for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY]
    return {name: TypeAdapter(hints[name]) for name in [*names, "return"]}


# The child's half.


def answer() -> None:
    """Read what to call, call it, write what came out, and end."""
    reply, parent = os.fdopen(os.dup(1), "wb"), os.dup(0)
    os.dup2(2, 1)  # what the function prints is not the answer
    told = json.loads(_line(parent))
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a device
        os.dup2(nothing.fileno(), 0)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    said: dict[str, Any]
    try:
        said = {"result": _call(told)}
    except BaseException as error:
        kinds = [(kind.__module__, kind.__qualname__) for kind in type(error).__mro__]
        said = {"error": kinds, "message": message_of(error), "raised_at": raised_at(error)}
    with contextlib.suppress(BrokenPipeError):
        raw = json.dumps(said).encode()
        reply.write(b"%0*d" % (SIZE_DIGITS, len(raw)) + raw)
        reply.flush()
    sys.stdout.flush()
    os._exit(0)  # what the function has left behind must not hold up an answer that is there


def _call(told: Mapping[str, Any]) -> str:
    found = getattr(import_module(told["module"]), told["name"], None)
    if found is None:
        raise LookupError(f"module {told['module']!r} has no function {told['name']!r} at its top; define it there under its own name")
    function = found.function if isinstance(found, Node) else found
    types = _types_of(function)
    arguments = [types[name].validate_json(text) for name, text in zip(types, told["arguments"], strict=False)]
    context = {} if told["context"] is None else {"ctx": Context(**told["context"])}
    return encode_value(types["return"], "its result", function(*arguments, **context))


def _line(handle: int) -> bytes:
    """Read up to the end of the line, and nothing beyond it."""
    with open(handle, "rb", buffering=0, closefd=False) as stream:
        parts = [stream.read(65_536)]
        while parts[-1] and not parts[-1].endswith(b"\n"):
            parts.append(stream.read(65_536))
    return b"".join(parts)


def _end_with(parent: int) -> None:
    """Wait until the parent's end of the pipe is closed, and end with everything that was started here."""
    os.read(parent, 1)
    os.killpg(0, signal.SIGKILL)
