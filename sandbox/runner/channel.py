"""The inner end of an operation (a file or variables on the move): blocking frames with credit, so that nobody buffers much."""

import socket
from collections import deque
from typing import Any

from . import wire


class Cancelled(Exception):
    """The other side does not want it any more."""


class Refused(Exception):
    """It cannot be done; the text is a sentence for a person."""


class Channel:
    """Frames over a blocking socket. One operation at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._parser = wire.Parser(wire.LOCAL)
        self._frames: deque[wire.Frame] = deque()
        self.op = 0
        self._credit = wire.WINDOW
        self._owed = 0
        self._ended = False

    def next(self) -> wire.Frame | None:
        """The next frame, None at the end of the stream."""
        while not self._frames:
            data = self._socket.recv(256 << 10)
            if not data:
                return None
            self._frames.extend(self._parser.feed(data))
        return self._frames.popleft()

    def open(self, op: int) -> None:
        """An operation begins."""
        self.op, self._credit, self._owed, self._ended = op, wire.WINDOW, 0, False

    def tell(self, type: int, value: dict[str, Any]) -> None:
        """Send a frame of this operation."""
        self._socket.sendall(wire.encode(wire.LOCAL, type, self.op, wire.pack(value)))

    def raw(self, type: int, op: int, payload: bytes = b"") -> None:
        """Send any frame."""
        self._socket.sendall(wire.encode(wire.LOCAL, type, op, payload))

    def write(self, data: bytes) -> None:
        """Send bytes, waiting for credit."""
        for at in range(0, len(data), wire.CHUNK):
            piece = data[at : at + wire.CHUNK]
            while self._credit < len(piece):
                self._take()
            self._credit -= len(piece)
            self.raw(wire.DATA, self.op, piece)

    def read(self) -> bytes:
        """The next bytes sent to us, b"" at the end."""
        if self._owed:
            self.tell(wire.CREDIT, {"bytes": self._owed})
            self._owed = 0
        while not self._ended:
            if data := self._take():
                self._owed = len(data)
                return data
        return b""

    def _take(self) -> bytes:
        frame = self.next()
        if frame is None:
            raise Cancelled
        if frame.op != self.op:
            return b""
        if frame.type == wire.CANCEL:
            raise Cancelled
        if frame.type == wire.CREDIT:
            self._credit += int(wire.unpack(frame.payload)["bytes"])
        self._ended = self._ended or frame.type == wire.END
        return frame.payload if frame.type == wire.DATA else b""
