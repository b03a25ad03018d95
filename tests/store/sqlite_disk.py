"""A disk under SQLite that keeps a record of what was written and flushed, and that fails when it is told to.

The library that Python's own sqlite3 uses takes its file system from a table of functions (a "VFS", https://www.sqlite.org/vfs.html).
A copy of the usual table with a few functions of ours in it stands in front of real files here, so that the store under test
runs as it is: its own connections, its own locks and shared memory. From the record, `Platters` tells which contents a power
failure at any moment may leave behind.
"""

import _sqlite3
import ctypes
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, Structure, c_char, c_char_p, c_int, c_int64, c_void_p
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

SECTOR = 512  # the least that any disk writes whole
# SQLite's result codes (https://www.sqlite.org/rescode.html).
FULL, CANTOPEN, IOERR_READ, IOERR_WRITE, IOERR_FSYNC = 13, 14, 266, 778, 1034
IOERR_TRUNCATE, IOERR_FSTAT, IOERR_DELETE, IOERR_LOCK, IOERR_SHMMAP = 1546, 1802, 2570, 3850, 5386


class Entry(NamedTuple):
    """What was done to a file: "create", "write", "truncate", "sync", "delete", or "lost", a sync that failed."""

    what: str
    file: str
    place: int = 0
    content: bytes = b""


Fault = Callable[[str, str], int]
"""Asked before each "open", "read", "write", "truncate", "sync", "size", "lock", "map" (of shared memory) and "delete" of a file.

It answers 0, or the SQLite result code that the operation is to fail with."""


class Disk:
    """The record of one folder, and the fault that it has."""

    def __init__(self, fault: Fault | None = None) -> None:
        self.record: list[Entry] = []
        self.fault = fault

    def failing(self, what: str, file: str) -> int:
        """The result code that the operation is to fail with, or 0."""
        return self.fault(what, file) if self.fault else 0


class _Methods(Structure):
    _fields_ = (
        ("version", c_int), ("close", c_void_p), ("read", c_void_p), ("write", c_void_p), ("truncate", c_void_p), ("sync", c_void_p),
        ("size", c_void_p), ("lock", c_void_p), ("unlock", c_void_p), ("others", c_void_p * 4), ("map", c_void_p), ("more", c_void_p * 5),
    )  # fmt: skip


class _Vfs(Structure):
    _fields_ = (
        ("version", c_int), ("file_size", c_int), ("path_max", c_int), ("next", c_void_p), ("name", c_char_p), ("data", c_void_p),
        ("open", c_void_p), ("delete", c_void_p), ("access", c_void_p), ("full_path", c_void_p), ("dl", c_void_p * 4),
        ("randomness", c_void_p), ("others", c_void_p * 7),
    )  # fmt: skip


_OPEN = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
_DELETE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)
_RANDOMNESS = CFUNCTYPE(c_int, c_void_p, c_int, POINTER(c_char))
_READ = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_TRUNCATE = CFUNCTYPE(c_int, c_void_p, c_int64)
_SYNC = CFUNCTYPE(c_int, c_void_p, c_int)
_SIZE = CFUNCTYPE(c_int, c_void_p, c_void_p)
_MAP = CFUNCTYPE(c_int, c_void_p, c_int, c_int, c_int, c_void_p)


class _Shim:
    """The table of functions; there is one for the life of the process, because SQLite keeps pointers into it."""

    def __init__(self, library: Any) -> None:
        self.library = library
        library.sqlite3_vfs_find.restype = POINTER(_Vfs)
        self.usual = library.sqlite3_vfs_find(None)
        self.table = _Vfs.from_buffer_copy(self.usual.contents)
        self.table.name = b"pointsman-recorded"
        self.disk = Disk()
        self.chance = random.Random(0)
        self._files: dict[int, str] = {}
        self._methods: dict[int, _Methods] = {}
        self._kept: list[Any] = []  # SQLite knows only the addresses of the functions
        self._put(self.table, "open", _OPEN, self._open)
        self._put(self.table, "delete", _DELETE, self._delete)
        self._put(self.table, "randomness", _RANDOMNESS, self._randomness)

    def _put(self, table: Structure, name: str, kind: Any, function: Callable[..., int]) -> None:
        """Put a function of ours into the place of one, which it gets as its first argument."""
        if getattr(table, name) is None:
            return  # files that are never shared have no shared memory
        original = kind(getattr(table, name))
        ours = kind(lambda *arguments: function(original, *arguments))
        self._kept += [original, ours]
        setattr(table, name, ctypes.cast(ours, c_void_p))

    def _open(self, original: Any, vfs: int, path: int | None, file: int, flags: int, flags_out: int) -> int:
        if path is None:
            return int(original(vfs, self._temporary(), file, flags, flags_out))  # nobody looks for it after a crash
        place = Path(ctypes.string_at(path).decode())
        if code := self.disk.failing("open", place.name):
            c_void_p.from_address(file).value = None
            return code
        is_new = not place.exists()
        code = int(original(vfs, path, file, flags, flags_out))
        methods = c_void_p.from_address(file)
        if code == 0 and methods.value:
            self._files[file] = place.name
            methods.value = ctypes.addressof(self._methods_like(methods.value))
            if is_new and place.exists():
                self.disk.record.append(Entry("create", place.name))
        return code

    def _temporary(self) -> int:
        """Return the name of a new temporary file. SQLite would make it by the seeded chance, which gives another process the same name."""
        name = f"{tempfile.gettempdir()}/pointsman-{os.getpid()}-{len(self._kept)}".encode()
        self._kept.append(ctypes.create_string_buffer(name + bytes(2)))  # SQLite reads it until the file is closed
        return ctypes.addressof(self._kept[-1])

    def _methods_like(self, address: int) -> _Methods:
        if address not in self._methods:
            methods = self._methods[address] = _Methods.from_buffer_copy(_Methods.from_address(address))
            for name, kind in (("read", _READ), ("size", _SIZE), ("lock", _SYNC), ("map", _MAP)):
                self._put(methods, name, kind, partial(self._other, name))
            self._put(methods, "write", _READ, self._write)
            self._put(methods, "truncate", _TRUNCATE, self._truncate)
            self._put(methods, "sync", _SYNC, self._sync)
        return self._methods[address]

    def _other(self, what: str, original: Any, file: int, *arguments: int) -> int:
        return self.disk.failing(what, self._files[file]) or int(original(file, *arguments))

    def _write(self, original: Any, file: int, buffer: int, size: int, place: int) -> int:
        name = self._files[file]
        code = self.disk.failing("write", name)
        if code:
            size //= 2  # what fails has written a part
        written = int(original(file, buffer, size, place))
        if written == 0 and size:
            self.disk.record.append(Entry("write", name, place, ctypes.string_at(buffer, size)))
        return code or written

    def _truncate(self, original: Any, file: int, size: int) -> int:
        name = self._files[file]
        code = self.disk.failing("truncate", name) or int(original(file, size))
        if code == 0:
            self.disk.record.append(Entry("truncate", name, size))
        return code

    def _sync(self, original: Any, file: int, flags: int) -> int:
        name = self._files[file]
        code = self.disk.failing("sync", name) or int(original(file, flags))
        self.disk.record.append(Entry("lost" if code else "sync", name))
        return code

    def _delete(self, original: Any, vfs: int, path: int, and_sync: int) -> int:
        place = Path(ctypes.string_at(path).decode())
        if code := self.disk.failing("delete", place.name):
            return code
        existed = place.exists()
        code = int(original(vfs, path, and_sync))
        if code == 0 and existed:
            self.disk.record.append(Entry("delete", place.name, and_sync))
        return code

    def _randomness(self, original: Any, vfs: int, size: int, out: Any) -> int:
        ctypes.memmove(out, self.chance.randbytes(size), size)
        return size


@cache
def _shim() -> _Shim:
    """Reach the library through Python's own module, so that it is the very one that sqlite3 uses."""
    library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
    assert hasattr(library, "sqlite3_vfs_register"), (
        "this Python keeps its SQLite to itself: run these tests with one that links the library"
    )
    return _Shim(library)


@contextmanager
def on_disk(disk: Disk, seed: int) -> Iterator[None]:
    """Let every connection that is opened meanwhile work on this disk, with SQLite's own chance taken from the seed.

    The connections must be closed before the end.
    """
    shim = _shim()
    shim.disk, shim.chance = disk, random.Random(seed)
    shim.library.sqlite3_vfs_register(ctypes.byref(shim.table), 1)
    shim.library.sqlite3_randomness(0, None)
    try:
        yield
    finally:
        shim.library.sqlite3_vfs_unregister(ctypes.byref(shim.table))
        shim.library.sqlite3_vfs_register(shim.usual, 1)
        shim.library.sqlite3_randomness(0, None)


@contextmanager
def on_network_drive() -> Iterator[None]:
    """Let every connection that is opened meanwhile work on files without shared memory."""
    shim = _shim()
    shim.library.sqlite3_vfs_register(shim.library.sqlite3_vfs_find(b"unix-none"), 1)
    try:
        yield
    finally:
        shim.library.sqlite3_vfs_register(shim.usual, 1)


# What a power failure leaves.


class _File:
    """One file on the disk: what surely is there, and what was written since the last flush."""

    def __init__(self, content: bytes = b"", *, named: bool = False) -> None:
        self.safe = bytearray(content)
        self.named = named  # whether the folder surely has it
        self.pending: list[Entry] = []

    def content(self, pending: list[Entry]) -> bytes:
        """What the file holds where these entries have reached the disk."""
        content = bytearray(self.safe)
        for entry in pending:
            _put_on(content, entry)
        return bytes(content)


class Platters:
    """The disk itself, behind every cache. Feed it the record entry by entry, and ask what a power failure leaves.

    What was written since a file's last flush may be there or not, each sector for itself; a file that was made or deleted
    since may be there or not. What a failed flush has not written is lost, even if a later flush succeeds: the cache takes it
    for written (https://www.postgresql.org/docs/current/wal-reliability.html and "fsyncgate").
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self._names: dict[str, list[_File | None]] = {name: [_File(content, named=True)] for name, content in files.items()}

    def take(self, entry: Entry) -> None:
        """Let the record go on by one entry."""
        if entry.what == "create":
            self._names.setdefault(entry.file, [None]).append(_File())
            return
        history = self._names[entry.file]
        if entry.what == "delete":
            history.append(None)
            if entry.place:
                self._keep_names()
            return
        file = history[-1]
        assert file is not None
        match entry.what:
            case "sync":
                file.safe = bytearray(file.content(file.pending))
                file.pending.clear()
                if not file.named:
                    self._keep_names()
            case "lost":
                file.pending.clear()
            case _:
                file.pending.append(entry)

    def _keep_names(self) -> None:
        """The folder is flushed: SQLite has that done with the first flush of a log, and where a deletion must stay."""
        for history in self._names.values():
            del history[:-1]
            for file in history:
                if file is not None:
                    file.named = True

    def nothing(self) -> dict[str, bytes]:
        """Nothing that was not flushed has reached the disk."""
        return {name: bytes(first.safe) for name, (first, *_) in self._names.items() if first is not None}

    def everything(self) -> dict[str, bytes]:
        """Everything has reached the disk."""
        return {name: last.content(last.pending) for name, (*_, last) in self._names.items() if last is not None}

    def something(self, chance: random.Random) -> dict[str, bytes]:
        """Any part of it has reached the disk."""
        entries, sectors = chance.choice((0.2, 0.5, 0.8, 0.97)), chance.choice((0.5, 0.9, 1.0))
        found = {}
        for name, history in self._names.items():
            file = chance.choice(history)
            if file is not None:
                kept = [entry for entry in file.pending if chance.random() < entries]
                found[name] = file.content([part for entry in kept for part in _torn(entry, sectors, chance)])
        return found


def _put_on(content: bytearray, entry: Entry) -> None:
    if entry.what == "truncate":
        del content[entry.place :]
        return
    end = entry.place + len(entry.content)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    content[entry.place : end] = entry.content


def _torn(entry: Entry, share: float, chance: random.Random) -> Iterator[Entry]:
    """The sectors of a write that reached the disk."""
    if entry.what != "write" or share == 1.0:
        yield entry
        return
    begin, end = entry.place, entry.place + len(entry.content)
    for sector in range(begin // SECTOR * SECTOR, end, SECTOR):
        if chance.random() < share:
            first, last = max(begin, sector), min(end, sector + SECTOR)
            yield Entry("write", entry.file, first, entry.content[first - begin : last - begin])
