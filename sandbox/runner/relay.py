"""The sandbox's end of its way out: a door on the loopback, every connection through it carried to the host as frames.

Started only where the host says so. PID 1 reads nothing of what passes: who may be reached is the host's to say.
"""

import os
import socket
from collections.abc import Callable

from . import wire
from .reactor import Reactor

_READ = 64 << 10

Send = Callable[[int, int, bytes], None]


class Relay:
    """The door and what has come in by it."""

    def __init__(self, reactor: Reactor, send: Send) -> None:
        """`send` takes a frame's type, the connection's number and a payload. Raises OSError where there is no loopback."""
        self._reactor, self._send = reactor, send
        self._lines: dict[int, Line] = {}
        self._dialled = int.from_bytes(os.urandom(3)) << 4
        self._door = socket.create_server(("127.0.0.1", 0), backlog=wire.CONNECTIONS)
        self._door.setblocking(False)
        self.port: int = self._door.getsockname()[1]
        reactor.watch(self._door.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._door.accept()
        except OSError:
            return
        if len(self._lines) >= wire.CONNECTIONS:
            connection.close()
            return
        self._dialled = (self._dialled + 1) & 0xFFFFFFFF
        number = self._dialled
        self._send(wire.DIAL, number, b"")
        self._lines[number] = Line(self._reactor, connection, number, self._send, lambda: self._lines.pop(number, None))

    def take(self, frame: wire.Frame) -> None:
        """A frame of a connection from the host; one that has ended meanwhile is none of its business."""
        if line := self._lines.get(frame.op):
            line.take(frame)

    def close(self) -> None:
        """Shut the door and end every connection."""
        self._reactor.watch(self._door.fileno(), None)
        self._door.close()
        for line in list(self._lines.values()):
            line.close()


class Line:
    """One connection: bytes of the code's as CARRY frames, and back."""

    def __init__(
        self, reactor: Reactor, connection: socket.socket, number: int, send: Send, gone: Callable[[], object]
    ) -> None:
        connection.setblocking(False)
        self._reactor, self._socket, self._number, self._send, self._gone = reactor, connection, number, send, gone
        self._credit = wire.REACH
        self._pending = bytearray()
        self._ending = False
        self._watch()

    def take(self, frame: wire.Frame) -> None:
        """What the host sends."""
        if frame.type == wire.CARRY:
            self._pending += frame.payload
            self._write()
        elif frame.type == wire.CARRIED:
            self._credit += int.from_bytes(frame.payload)
            self._watch()
        elif frame.type == wire.HANG_UP:
            self._ending = True
            self._write()

    def close(self) -> None:
        """End it; the host is not told."""
        self._reactor.watch(self._socket.fileno(), None)
        self._socket.close()
        self._gone()

    def _watch(self) -> None:
        readable = self._read if self._credit > 0 and not self._ending else None
        self._reactor.watch(self._socket.fileno(), readable, self._write if self._pending else None)

    def _read(self) -> None:
        try:
            data = self._socket.recv(min(_READ, self._credit))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._send(wire.HANG_UP, self._number, b"")
            self.close()
            return
        self._credit -= len(data)
        self._send(wire.CARRY, self._number, data)
        self._watch()

    def _write(self) -> None:
        try:
            sent = self._socket.send(self._pending) if self._pending else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self._send(wire.HANG_UP, self._number, b"")
            self.close()
            return
        del self._pending[:sent]
        if sent:
            self._send(wire.CARRIED, self._number, sent.to_bytes(4))
        if self._ending and not self._pending:
            self.close()
        else:
            self._watch()
