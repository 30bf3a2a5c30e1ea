"""Variables out and in, one pickle each. Runs in the kernel, which is the person's: nothing of this is opened outside."""

import contextlib
import importlib
import io
import os
import pickle
import platform
import signal
import socket
import symtable
import sys
import types
import warnings
from typing import Any, NoReturn

from IPython.core.inputtransformer2 import TransformerManager

from . import libraries, processes, wire
from .channel import Cancelled, Channel
from .pieces import Damaged, Pieces, Source, Write

namespace: dict[str, Any] = {}
"""The person's namespace; restored functions live in it, so that they see later changes."""

_PYTHON = platform.python_version()
_ONE, _ALL = 512 << 20, 1 << 30
_SECONDS = 8


def serve(channel: socket.socket, op: int, request: dict[str, Any], variables: dict[str, Any]) -> None:
    """Carry out one operation of PID 1's."""
    ours = Channel(channel)
    ours.open(op)
    if request["what"] == "variables":
        _tell_variables(ours, variables)
        ours.tell(wire.DONE, {})
    elif request["what"] == "save_variables":
        _save_aside(ours, variables, request["known"])
    else:
        importlib.invalidate_caches()  # the files that came back may hold packages which these variables are made of
        gone = [name for name in _assigned(request["cells"]) if name not in variables]
        for at in range(0, len(gone), 200):
            ours.tell(wire.NOTE, {"gone": gone[at : at + 200]})
        there = frozenset(name for name, value in variables.items() if not isinstance(value, types.ModuleType))
        _Loader(ours, set(request["skip"]), there).load()
        ours.tell(wire.DONE, {})


# -- what there is


def _tell_variables(channel: Channel, variables: dict[str, Any]) -> None:
    found = [
        [name, type(value).__name__, _summary(value)]
        for name, value in sorted(variables.items())
        if not isinstance(value, types.ModuleType)
    ]
    for at in range(0, len(found), 50):
        channel.tell(wire.NOTE, {"variables": found[at : at + 50]})


def _summary(value: Any) -> str:
    """A few words, made without running any code of the value's own."""
    kind = type(value)
    if kind in (bool, int, float, complex, type(None)):
        return repr(value)[:80] if kind is not int or value.bit_length() < 256 else "a large number"
    if kind in (str, bytes):
        return repr(value[:60]) + (f" … {len(value):,} long" if len(value) > 60 else "")
    if kind in (list, tuple, dict, set, frozenset):
        return f"{len(value):,} items"
    if kind.__module__.partition(".")[0] in ("numpy", "pandas") and hasattr(kind, "shape"):
        return " × ".join(f"{size:,}" for size in value.shape)  # noqa: RUF001
    return f"{kind.__module__}.{kind.__qualname__}"[:80]


# -- out


def _save_aside(channel: Channel, variables: dict[str, Any], known: list[str]) -> None:
    """Pickle in a forked copy: whatever happens to it, the live variables are not touched."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    try:
        processes.prefer_for_oom(1000)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        _save(channel, variables, known)
        channel.tell(wire.DONE, {})
    finally:
        os._exit(0)


class _TooLarge(Exception):
    pass


class _Slow(Exception):
    pass


class _Sink:
    """Where pickle writes: a file of bounded size."""

    def __init__(self, write: Write, room: int) -> None:
        self._write, self._room = write, room

    def write(self, data: Any) -> None:
        """Pass it on."""
        self._room -= memoryview(data).nbytes
        if self._room < 0:
            raise _TooLarge
        self._write(data)


def _save(channel: Channel, variables: dict[str, Any], known: list[str]) -> None:
    names = sorted(variables)
    for at in range(0, len(names), 200):
        channel.tell(wire.NOTE, {"plan": names[at : at + 200]})
    signal.signal(signal.SIGALRM, _slow)
    pieces = Pieces(channel, known)
    pieces.put({"versions": _versions()}, lambda write: None)
    room = _ALL
    for name in names:
        value = variables[name]
        module = isinstance(value, types.ModuleType)
        try:
            signal.setitimer(signal.ITIMER_REAL, _SECONDS)
            room -= _save_one(pieces, name, value, min(room, _ONE))
        except BaseException as error:
            signal.setitimer(signal.ITIMER_REAL, 0)
            channel.tell(wire.NOTE, {"lost": [(name, _why(value, error))]})
        else:
            signal.setitimer(signal.ITIMER_REAL, 0)
            channel.tell(wire.NOTE, {"kept": name, "module": module})
    pieces.flush()


def _save_one(pieces: Pieces, name: str, value: Any, room: int) -> int:
    if isinstance(value, types.ModuleType):
        return pieces.put({"name": name, "module": value.__name__}, lambda write: None)
    return pieces.put({"name": name}, lambda write: _dump(value, _Sink(write, room)))


def _versions() -> dict[str, str]:
    """Of Python and of every library that is imported. Looked up without running any code of a module's own."""
    libraries = {
        name: vars(module).get("__version__")
        for name, module in list(sys.modules.items())
        if "." not in name and isinstance(module, types.ModuleType)
    }
    return {"Python": _PYTHON} | {name: version for name, version in libraries.items() if isinstance(version, str)}


def _slow(*_: object) -> NoReturn:
    raise _Slow


def _why(value: Any, error: BaseException) -> str:
    if isinstance(error, _TooLarge):
        return "it is too large to keep"
    if isinstance(error, _Slow):
        return f"keeping it took longer than {_SECONDS} seconds"
    if isinstance(value, io.IOBase):
        return "an open file cannot be kept"
    try:
        text = str(error).partition("\n")[0][:160]
    except BaseException:
        text = type(error).__name__
    return f"a {type(value).__name__} cannot be kept ({text})"


def _current_namespace() -> dict[str, Any]:
    return namespace


class _Namespace:
    """Stands for the person's namespace inside a pickle."""

    def __reduce__(self) -> Any:
        return _current_namespace, ()


def _dump(value: Any, sink: _Sink) -> None:
    libraries.load("cloudpickle")
    import cloudpickle

    if isinstance(value, io.IOBase):
        raise TypeError("an open file")

    class Pickler(cloudpickle.Pickler):
        """cloudpickle, with functions of the namespace bound to it instead of to a copy of what they use."""

        def __init__(self) -> None:
            super().__init__(sink, protocol=5)
            self.globals_ref[id(namespace)] = _Namespace()

        def _dynamic_function_reduce(self, function: Any) -> Any:
            reduced = list(super()._dynamic_function_reduce(function))
            if function.__globals__ is namespace:
                state, slots = reduced[2]
                reduced[2] = state, slots | {"__globals__": {}}
            return tuple(reduced)

    Pickler().dump(value)


# -- in


class _Record:
    """What pickle reads from: the bytes of one record, as a file."""

    def __init__(self, source: Source, size: int) -> None:
        self._source, self._left = source, size

    def read(self, size: int = -1) -> bytes:
        """As a file's."""
        size = self._left if size < 0 else min(size, self._left)
        self._left -= size
        return self._source.exactly(size)

    def readinto(self, target: Any) -> int:
        """As a file's."""
        view = memoryview(target).cast("B")[: self._left]
        size = len(view)
        while view:
            data = self._source.some(len(view))
            view[: len(data)] = data
            view = view[len(data) :]
        self._left -= size
        return size

    def readline(self) -> bytes:
        """As a file's."""
        line = bytearray()
        while not line.endswith(b"\n") and (byte := self.read(1)):
            line += byte
        return bytes(line)

    def skip(self) -> None:
        """To the end of the record."""
        while self._left:
            self._left -= len(self._source.some(self._left))


class _OtherPython(Exception):
    pass


class _Unpickler(pickle.Unpickler):
    """Remembers whose classes a pickle asks for. Code of another Python is not brought back: it would crash this one."""

    def __init__(self, record: _Record, versions: dict[str, str]) -> None:
        super().__init__(record)
        self._other = _minor(versions.get("Python", _PYTHON)) != _minor(_PYTHON)
        self.packages: list[str] = []

    def find_class(self, module: str, name: str) -> Any:
        """As pickle's."""
        self.packages.append(module.partition(".")[0])
        if self._other and (module, name) == ("cloudpickle.cloudpickle", "_make_function"):
            raise _OtherPython
        return super().find_class(module, name)


class _Loader:
    """Brings records back into the namespace."""

    def __init__(self, channel: Channel, skip: set[str], under: frozenset[str]) -> None:
        """`under`: names that are there already and stay as they are."""
        self._channel, self._skip, self._under = channel, skip, under
        self._versions: dict[str, str] = {}

    def load(self) -> None:
        source = Source(self._channel)
        try:
            while (head := source.head()) is not None:
                record = _Record(source, head["size"])
                if "versions" in head:
                    self._versions = head["versions"]
                elif head["name"] not in self._skip:
                    self._one(head, record)
                record.skip()
        except (Damaged, KeyError, TypeError, ValueError):
            self._channel.tell(wire.NOTE, {"lost": [("variables", "what was kept of them is damaged from here on")]})
            while self._channel.read():
                pass

    def _one(self, head: dict[str, Any], record: _Record) -> None:
        name, module = str(head["name"]), head.get("module")
        self._channel.tell(wire.NOTE, {"trying": name})
        unpickler = _Unpickler(record, self._versions)
        try:
            if module is None:
                value = unpickler.load()
            else:
                unpickler.packages.append(str(module).partition(".")[0])
                value = importlib.import_module(module)
        except (Cancelled, Damaged):
            raise
        except BaseException as error:
            self._channel.tell(wire.NOTE, {"lost": [(name, self._why_not(error, unpickler.packages))]})
            return
        if name not in self._under:
            namespace[name] = value
        self._channel.tell(wire.NOTE, {"kept": name, "module": module is not None})

    def _why_not(self, error: BaseException, packages: list[str]) -> str:
        if isinstance(error, KeyboardInterrupt):
            return "bringing it back took too long"
        if isinstance(error, _OtherPython):
            return f"it was kept with Python {self._versions['Python']}, here is {_PYTHON}"
        here = _versions()
        for package in dict.fromkeys(reversed(packages)):
            kept = self._versions.get(package)
            if kept and kept != here.get(package):
                there = f"here is {here[package]}" if package in here else "which is not here"
                return f"it was kept with {package} {kept}, {there}"
        return f"it could not be brought back ({_first(error)})"


def _assigned(cells: list[str]) -> list[str]:
    """The names that these cells give a value to, imports left out, as far as their text shows."""
    transform = TransformerManager().transform_cell
    names: dict[str, None] = {}
    for code in cells:
        with contextlib.suppress(Exception):
            symbols = symtable.symtable(transform(code), "cell", "exec").get_symbols()
            names |= {s.get_name(): None for s in symbols if s.is_assigned() and not s.is_imported()}
    return [name for name in names if not name.startswith("_")]


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


def _first(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:160]}"
    except BaseException:
        return type(error).__name__


assert sys.version_info >= (3, 11)
