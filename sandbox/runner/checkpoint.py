"""Variables out and in, one pickle each. Runs in the kernel, which is the person's: nothing of this is opened outside."""

import importlib
import io
import os
import pickle
import signal
import socket
import struct
import sys
import types
import warnings
import zlib
from typing import Any, NoReturn

from . import libraries, processes, wire
from .channel import Cancelled, Channel

namespace: dict[str, Any] = {}
"""The person's namespace; restored functions live in it, so that they see later changes."""

_LENGTH = struct.Struct(">I")
_END, _ABANDONED = 0, 0xFFFFFFFF
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
        _save_aside(ours, variables)
    else:
        _load(ours, set(request.get("skip", ())))
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


def _save_aside(channel: Channel, variables: dict[str, Any]) -> None:
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
        _save(channel, variables)
        channel.tell(wire.DONE, {})
    finally:
        os._exit(0)


class _TooLarge(Exception):
    pass


class _Slow(Exception):
    pass


class _Writer:
    """Where pickle writes: length-prefixed pieces of one record, compressed."""

    def __init__(self, channel: Channel, packer: Any, room: int) -> None:
        self._channel, self._packer, self._room = channel, packer, room
        self.size = 0

    def write(self, data: Any) -> int:
        """Pass a piece on."""
        view = memoryview(data).cast("B")
        self.size += len(view)
        if self.size > self._room:
            raise _TooLarge
        for at in range(0, len(view), 1 << 20):
            piece = view[at : at + (1 << 20)]
            self._channel.write(self._packer.compress(_LENGTH.pack(len(piece))) + self._packer.compress(piece))
        return len(view)

    def end(self, mark: int) -> None:
        """Finish the record."""
        self._channel.write(self._packer.compress(_LENGTH.pack(mark)))


def _save(channel: Channel, variables: dict[str, Any]) -> None:
    names = sorted(variables)
    for at in range(0, len(names), 200):
        channel.tell(wire.NOTE, {"plan": names[at : at + 200]})
    signal.signal(signal.SIGALRM, _slow)
    packer = zlib.compressobj(1)
    room = _ALL
    for name in names:
        head = name.encode("utf-8", "replace")
        channel.write(packer.compress(_LENGTH.pack(len(head)) + head))
        writer = _Writer(channel, packer, min(room, _ONE))
        try:
            signal.setitimer(signal.ITIMER_REAL, _SECONDS)
            _dump(variables[name], writer)
        except BaseException as error:
            signal.setitimer(signal.ITIMER_REAL, 0)
            writer.end(_ABANDONED)
            channel.tell(wire.NOTE, {"lost": [(name, _why(variables[name], error))]})
        else:
            signal.setitimer(signal.ITIMER_REAL, 0)
            writer.end(_END)
            channel.tell(wire.NOTE, {"kept": name, "module": isinstance(variables[name], types.ModuleType)})
        room -= writer.size
    channel.write(packer.flush())


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


def _dump(value: Any, writer: _Writer) -> None:
    libraries.load("cloudpickle")
    import cloudpickle

    if isinstance(value, io.IOBase):
        raise TypeError("an open file")
    if isinstance(value, types.ModuleType):
        pickle.dump(("module", value.__name__), writer, protocol=5)
        return

    class Pickler(cloudpickle.Pickler):
        """cloudpickle, with functions of the namespace bound to it instead of to a copy of what they use."""

        def __init__(self) -> None:
            super().__init__(writer, protocol=5)
            self.globals_ref[id(namespace)] = _Namespace()

        def _dynamic_function_reduce(self, function: Any) -> Any:
            reduced = list(super()._dynamic_function_reduce(function))
            if function.__globals__ is namespace:
                state, slots = reduced[2]
                reduced[2] = state, slots | {"__globals__": {}}
            return tuple(reduced)

    Pickler().dump(("value", value))


# -- in


class _Reader:
    """What pickle reads from: the pieces of one record after another."""

    def __init__(self, channel: Channel) -> None:
        self._channel, self._inflate = channel, zlib.decompressobj()
        self._plain = bytearray()
        self._left = 0
        self.mark: int | None = _END
        self._pieces = bytearray()

    def _exactly(self, size: int) -> bytes:
        while len(self._plain) < size:
            data = self._inflate.unconsumed_tail or self._channel.read()
            if not data:
                raise EOFError
            self._plain += self._inflate.decompress(data, 1 << 20)
        data = bytes(memoryview(self._plain)[:size])
        del self._plain[:size]
        return data

    def name(self) -> str | None:
        """The next record's name; None at the end."""
        try:
            head = self._exactly(4)
        except EOFError:
            if not self._inflate.eof:
                raise
            return None
        (length,) = _LENGTH.unpack(head)
        if length > 4096:
            raise ValueError("damaged")
        self.mark = None
        self._pieces.clear()
        return self._exactly(length).decode()

    def _more(self) -> bool:
        if self.mark is None:
            (length,) = _LENGTH.unpack(self._exactly(4))
            if length in (_END, _ABANDONED):
                self.mark = length
            elif length > 1 << 20:
                raise ValueError("damaged")
            else:
                self._pieces += self._exactly(length)
        return self.mark is None

    def read(self, size: int = -1) -> bytes:
        """As a file's."""
        while (size < 0 or len(self._pieces) < size) and self._more():
            pass
        data = bytes(memoryview(self._pieces)[:size]) if size >= 0 else bytes(self._pieces)
        del self._pieces[: len(data)]
        return data

    def readinto(self, target: Any) -> int:
        """As a file's."""
        data = self.read(len(target))
        target[: len(data)] = data
        return len(data)

    def readline(self) -> bytes:
        """As a file's."""
        while (at := self._pieces.find(b"\n")) < 0 and self._more():
            pass
        return self.read(at + 1 if at >= 0 else len(self._pieces))

    def skip(self) -> int:
        """To the end of the record; how it ended."""
        while self._more():
            self._pieces.clear()
        assert self.mark is not None
        return self.mark


def _load(channel: Channel, skip: set[str]) -> None:
    reader = _Reader(channel)
    try:
        while (name := reader.name()) is not None:
            if name not in skip:
                _load_one(channel, reader, name)
            reader.skip()
    except (EOFError, ValueError, zlib.error):
        channel.tell(wire.NOTE, {"lost": [("variables", "what was kept of them is damaged from here on")]})
        while channel.read():
            pass


def _load_one(channel: Channel, reader: _Reader, name: str) -> None:
    channel.tell(wire.NOTE, {"trying": name})
    try:
        kind, value = pickle.load(reader)
        if kind == "module":
            value = importlib.import_module(value)
    except (Cancelled, OSError):
        raise
    except BaseException as error:
        if reader.skip() == _END:  # an abandoned record was named when it was saved
            why = (
                "bringing it back took too long"
                if isinstance(error, KeyboardInterrupt)
                else f"it could not be brought back ({_first(error)})"
            )
            channel.tell(wire.NOTE, {"lost": [(name, why)]})
        return
    if reader.skip() == _END:
        namespace[name] = value
        channel.tell(wire.NOTE, {"kept": name, "module": kind == "module"})


def _first(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:160]}"
    except BaseException:
        return type(error).__name__


assert sys.version_info >= (3, 11)
