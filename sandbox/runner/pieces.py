"""A checkpoint from inside: records in pieces, each named by its content, so that what the host has already is not sent again.

A record is `length (4) | JSON head | head["size"] bytes`. A piece on its way is chunks of `packed (1) | length (4) | bytes`.
"""

import struct
import zlib
from _blake2 import blake2b  # hashlib would load all of OpenSSL into PID 1
from collections.abc import Callable, Iterable
from typing import Any

from . import wire
from .channel import Channel

LARGE = 1 << 20
"""A record of so many bytes is a piece of its own; smaller ones share pieces of about this size."""
_CHUNK = 120 << 10
_CHUNK_HEAD = struct.Struct(">?I")
_LENGTH = struct.Struct(">I")
_PROBE = 8 << 10

Write = Callable[[Any], object]
Dump = Callable[[Write], object]
"""Gives a record's content to its argument, in any number of bytes-like parts."""


class Damaged(Exception):
    """What comes in is not what was given out."""


class Pieces:
    """What goes out. `known`: names of the pieces that the host has."""

    def __init__(self, channel: Channel, known: Iterable[str]) -> None:
        self._channel, self._known = channel, frozenset(known)
        self._small = bytearray()

    def put(self, head: dict[str, Any], dump: Dump) -> int:
        """Give out one record; its size. `dump` is called twice for one that is large and new to the host.

        What `dump` raises is passed on, and nothing of the record is kept.
        """
        probe = _Probe()
        dump(probe.write)
        record = _record(head | {"size": probe.size})
        if probe.content is not None:
            self._small += record + probe.content
            if len(self._small) >= LARGE:
                self.flush()
        elif (name := probe.name(record)) in self._known:
            self._channel.tell(wire.NOTE, {"piece": name})
        else:
            self._send(record, dump, probe.size)
        return probe.size

    def flush(self) -> None:
        """Give out the small records that are still waiting."""
        if not self._small:
            return
        content, self._small = bytes(self._small), bytearray()
        name = blake2b(content, digest_size=16).hexdigest()
        if name not in self._known:
            self._packed(content)
        self._channel.tell(wire.NOTE, {"piece": name})

    def _send(self, record: bytes, dump: Dump, size: int) -> None:
        """The name is that of what was really sent: a file may change between two looks."""
        sent, buffer = _Probe(), bytearray(record)

        def write(data: Any) -> None:
            sent.write(data)
            view = memoryview(data).cast("B")
            while view:
                room = _CHUNK - len(buffer)
                buffer.extend(view[:room])
                view = view[room:]
                if len(buffer) == _CHUNK:
                    self._packed(bytes(buffer))
                    buffer.clear()

        try:
            dump(write)
            if sent.size != size:
                raise ValueError("it changed while it was being kept")
        except BaseException:
            self._channel.tell(wire.NOTE, {"piece": ""})
            raise
        self._packed(bytes(buffer))
        self._channel.tell(wire.NOTE, {"piece": sent.name(record)})

    def _packed(self, content: bytes) -> None:
        for at in range(0, len(content), _CHUNK):
            plain = content[at : at + _CHUNK]
            # Most large data is either text, which shrinks to a fraction, or noise, which is not worth the time.
            worth = len(zlib.compress(plain[:_PROBE], 1)) < 0.9 * len(plain[:_PROBE])
            body = zlib.compress(plain, 1) if worth else plain
            self._channel.write(_CHUNK_HEAD.pack(worth, len(body)) + body)


class _Probe:
    """Counts and hashes a record's content, and holds it while it is small."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=16)
        self.size = 0
        self.content: bytearray | None = bytearray()

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._hash.update(view)
        self.size += len(view)
        if self.size >= LARGE:
            self.content = None
        elif self.content is not None:
            self.content += view
        return len(view)

    def name(self, record: bytes) -> str:
        whole = self._hash.copy()
        whole.update(record)
        return whole.hexdigest()


def _record(head: dict[str, Any]) -> bytes:
    data = wire.pack(head)
    return _LENGTH.pack(len(data)) + data


class Source:
    """Pieces as they come in, one after another. Raises `Damaged`."""

    def __init__(self, channel: Channel) -> None:
        self._channel, self._raw = channel, bytearray()
        self._plain = memoryview(b"")

    def head(self) -> dict[str, Any] | None:
        """The next record's head; None at the end."""
        if not self._plain and not self._more():
            return None
        (length,) = _LENGTH.unpack(self.exactly(_LENGTH.size))
        if length > wire.MAX_PAYLOAD:
            raise Damaged
        try:
            head = wire.unpack(self.exactly(length))
        except ValueError as error:
            raise Damaged from error
        if not isinstance(head.get("size"), int):
            raise Damaged
        return head

    def some(self, limit: int) -> memoryview:
        """1 to `limit` bytes."""
        if not self._plain and not self._more():
            raise Damaged
        data, self._plain = self._plain[:limit], self._plain[limit:]
        return data

    def exactly(self, size: int) -> bytes:
        """So many bytes."""
        data = bytearray()
        while len(data) < size:
            data += self.some(size - len(data))
        return bytes(data)

    def _more(self) -> bool:
        if (head := self._take(_CHUNK_HEAD.size)) is None:
            return False
        packed, length = _CHUNK_HEAD.unpack(head)
        if length > 2 * _CHUNK or (body := self._take(length)) is None:
            raise Damaged
        try:
            self._plain = memoryview(zlib.decompressobj().decompress(body, _CHUNK) if packed else body)
        except zlib.error as error:
            raise Damaged from error
        if not self._plain:
            raise Damaged
        return True

    def _take(self, size: int) -> bytes | None:
        while len(self._raw) < size:
            data = self._channel.read()
            if not data and self._raw:
                raise Damaged
            if not data:
                return None
            self._raw += data
        data = bytes(memoryview(self._raw)[:size])
        del self._raw[:size]
        return data
