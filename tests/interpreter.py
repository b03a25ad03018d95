"""Run Python programs in children of an interpreter that has imported the desk, its commands and what they stand on.

`run("-m", "pointsman_desk.cli.main", "cases")` is `python -m pointsman_desk.cli.main cases`: a process of its own, with its own
folder, environment and streams, that ends as any process does. Only the imports are done already; they take most of the time of
a command that does little. Use `subprocess` where a test sends signals, or where what is imported is the subject.
"""

import atexit
import gc
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NoReturn, Self

BOUND_SECONDS = 300.0  # far longer than any command takes
AT_THE_START = ("PYTHON", "LC_", "LANG")  # variables that an interpreter reads once, when it starts
COMMANDS = ("pointsman_desk.cli.main", "pointsman.cli.main")
IMPORTED = (
    *COMMANDS,
    "pointsman_desk.web",  # a command that works alone imports it late, and another user may not read the folder of Python
    "pointsman.testing.clock",
    "pointsman.testing.crash",
    "concurrent.futures.thread",
    "encodings.idna",
)
NEW, BEGUN = b"\n", 1


def run(
    *arguments: object, given: bytes = b"", cwd: Path | str | None = None, env: dict[str, str] | None = None, stdout: IO[Any] | None = None,
    timeout: float = BOUND_SECONDS, check: bool = False,
) -> "subprocess.CompletedProcess[str]":  # fmt: skip
    """Run `python ARGUMENTS` and return what `subprocess.run` does.

    The arguments begin with -c and code, -m and a module, or a file. `-W error` may stand before them.
    """
    words, settings = [str(argument) for argument in arguments], dict(os.environ if env is None else env)
    odd = [name for name, value in {**os.environ, **settings}.items() if name.startswith(AT_THE_START) and settings.get(name) != value]
    assert not odd, f"{odd} must be set before an interpreter starts: use subprocess"
    ours, theirs = socket.socketpair()
    with ours, theirs, tempfile.TemporaryFile() as stdin, _Output(stdout) as out, _Output() as err:
        stdin.write(given)
        stdin.seek(0)
        socket.send_fds(_interpreter(), [NEW], [stdin.fileno(), out.end, err.end, theirs.fileno()])
        theirs.close()
        ours.sendall(json.dumps([words, str(Path(cwd or Path.cwd()).absolute()), settings]).encode() + NEW)
        ours.settimeout(timeout)
        with ours.makefile("r") as told:
            number = int(told.readline())
            try:
                code = int(told.readline())
            except TimeoutError:
                os.kill(number, signal.SIGKILL)
                raise subprocess.TimeoutExpired(words, timeout) from None
    done = subprocess.CompletedProcess([sys.executable, *words], code, out.text, err.text)
    if check:
        done.check_returncode()
    return done


class _Output:
    """A pipe that a program writes to, read until its end; or a file that it writes to instead."""

    def __init__(self, file: IO[Any] | None = None) -> None:
        self.text = ""
        self._reads, self._pipe = (None, None) if file is not None else os.pipe()
        self.end = file.fileno() if file is not None else self._pipe
        self._reader = threading.Thread(target=self._read)

    def _read(self) -> None:
        with os.fdopen(self._reads) as pipe:
            self.text = pipe.read()

    def __enter__(self) -> Self:
        if self._reads is not None:
            self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._pipe is not None:
            os.close(self._pipe)
            self._reader.join()


@cache
def _interpreter() -> socket.socket:
    """The way to the interpreter of this test run, which ends with it."""
    ours, theirs = socket.socketpair()
    with theirs:
        command, pipe = [sys.executable, __file__, str(theirs.fileno())], subprocess.PIPE
        # Its own streams are pipes, as those of a command that a test runs.
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, pass_fds=[theirs.fileno()])

    def end() -> None:
        ours.close()
        process.communicate()

    atexit.register(end)
    return ours


def _serve(channel: socket.socket) -> tuple[list[str], str, dict[str, str]]:
    """Return in each child, with what it has to run; leave when the tests have ended."""
    attending = 0
    while True:
        asked, files, _, _ = socket.recv_fds(channel, BEGUN, 4)
        while attending and os.waitpid(-1, os.WNOHANG)[0]:
            attending -= 1
        if not asked:
            os._exit(0)
        attending += 1
        if os.fork() == 0:
            channel.close()
            return _attend(files)
        for file in files:
            os.close(file)


def _attend(files: list[int]) -> tuple[list[str], str, dict[str, str]]:
    """Return in a child that has these streams, and tell whoever asked its number and how it ended."""
    with socket.socket(fileno=files[3]) as answer:
        with answer.makefile("r") as lines:
            request: tuple[list[str], str, dict[str, str]] = json.loads(lines.readline())
        child = os.fork()
        if child != 0:
            answer.sendall(f"{child}\n".encode())
            for file in files[:3]:
                os.close(file)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            answer.sendall(f"{code}\n".encode())
            os._exit(0)
    for number, file in enumerate(files[:3]):
        os.dup2(file, number)
        os.close(file)
    return request


def _become(arguments: list[str], folder: str, environment: dict[str, str]) -> tuple[Any, dict[str, Any]]:
    """Set this process up as `python ARGUMENTS` would be, and return the code to run with its globals."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    if arguments[:2] == ["-W", "error"]:
        warnings.simplefilter("error")
        arguments = arguments[2:]
    kind, *rest = arguments
    main = ModuleType("__main__")
    if kind == "-c":
        sys.argv, place = ["-c", *rest[1:]], ""
        code = compile(rest[0], "<string>", "exec")
    elif kind == "-m":
        spec = importlib.util.find_spec(rest[0])
        assert spec is not None
        assert spec.origin is not None
        sys.argv, place = [spec.origin, *rest[1:]], folder
        code = spec.loader.get_code(rest[0])  # type: ignore[union-attr]
        main.__file__, main.__package__, main.__spec__ = spec.origin, spec.parent, spec
    else:
        sys.argv, place = [kind, *rest], str(Path(kind).resolve().parent)
        code = compile(Path(kind).read_bytes(), kind, "exec")
        main.__file__ = kind
    sys.path[:] = [place, *sys.path, str(Path(__file__).parent)]  # the last is for programs of the tests, as pytest does it
    sys.modules["__main__"] = main
    return code, vars(main)


def _end(code: Any, names: dict[str, Any]) -> NoReturn:
    """Run the code and end as Python does, but leave the modules alone: to take them apart copies every page that they are in."""
    ended = 0
    try:
        exec(code, names)
    except SystemExit as left:
        ended = left.code if isinstance(left.code, int) else int(left.code is not None)
        if isinstance(left.code, str):
            print(left.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        ended = 1
    threading._shutdown()  # type: ignore[attr-defined] # waits for threads
    atexit._run_exitfuncs()
    names.clear()
    gc.collect()  # tells of what was left open
    try:
        sys.stdout.flush()
    except OSError:
        sys.excepthook(*sys.exc_info())
        ended = 120  # as Python's own end has it
    sys.stderr.flush()
    os._exit(ended)


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this file
    for name in IMPORTED:
        import_module(name)
    for name in COMMANDS:
        main = sys.modules.pop(name)  # `-m` runs it anew
        for where in main.COMMANDS.values():
            import_module(f"{main.__package__}.{where.partition('.')[0]}")  # it imports the one that is called
    texts = import_module("pointsman.store.statements")
    texts.statements("sqlite")  # each reader would read them, and each engine with a new file would make its tables
    import_module("pointsman.store.sqlite_file").image(texts.migrations("sqlite"))
    gc.freeze()  # or each child copies the pages of what it looks through
    _end(*_become(*_serve(socket.socket(fileno=int(sys.argv[1])))))
