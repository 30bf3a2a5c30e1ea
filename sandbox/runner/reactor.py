"""One thread, readiness callbacks and timers: what PID 1 runs on. Small and quick to start, which asyncio is not."""

import heapq
import itertools
import os
import selectors
import socket
import time
from collections.abc import Callable, Sequence

from . import wire

HIGH_WATER = 2 << 20


class Timer:
    """A call to come."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.act: Callable[[], None] | None = act

    def cancel(self) -> None:
        """Do not call."""
        self.act = None


class Reactor:
    """Calls back when a descriptor is ready or a timer is due. Runs until the process ends."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._soon: list[Callable[[], None]] = []

    def soon(self, act: Callable[[], None]) -> None:
        """Call `act` once, when what is ready now has been seen to."""
        self._soon.append(act)

    def later(self, seconds: float, act: Callable[[], None]) -> Timer:
        """Call `act` once, `seconds` from now."""
        timer = Timer(act)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), timer))
        return timer

    def watch(self, fd: int, readable: Callable[[], None] | None, writable: Callable[[], None] | None = None) -> None:
        """Replace what is called for `fd`; both None: stop watching."""
        events = (selectors.EVENT_READ if readable else 0) | (selectors.EVENT_WRITE if writable else 0)
        known = fd in self._selector.get_map()
        if not events:
            if known:
                self._selector.unregister(fd)
        elif known:
            self._selector.modify(fd, events, (readable, writable))
        else:
            self._selector.register(fd, events, (readable, writable))

    def run(self) -> None:
        """For ever."""
        while True:
            for key, events in self._selector.select(self._due()):
                readable, writable = key.data
                if events & selectors.EVENT_WRITE and writable:
                    writable()
                # the callback before may have stopped the watch of this very descriptor
                current = self._selector.get_map().get(key.fd)
                if events & selectors.EVENT_READ and readable and current is not None and current.data == key.data:
                    readable()

    def _act_soon(self) -> None:
        while self._soon:
            acts, self._soon = self._soon, []
            for act in acts:
                act()

    def _due(self) -> float | None:
        self._act_soon()
        while self._timers:
            when, _, timer = self._timers[0]
            wait = when - time.monotonic()
            if timer.act and wait > 0:
                return wait
            heapq.heappop(self._timers)
            if timer.act:
                act, timer.act = timer.act, None
                act()
                self._act_soon()
        return None


class Peer:
    """Frames to and from one process over non-blocking descriptors. `gone` is called once, never from within `send`."""

    def __init__(
        self,
        reactor: Reactor,
        ends: tuple[int, int] | socket.socket,
        token: bytes,
        frame: Callable[[wire.Frame], None],
        gone: Callable[[], None],
    ) -> None:
        self._reactor, self._frame, self._gone = reactor, frame, gone
        self._socket = ends if isinstance(ends, socket.socket) else None
        self._in, self._out = (ends.fileno(), ends.fileno()) if isinstance(ends, socket.socket) else ends
        self._token, self._parser = token, wire.Parser(token)
        self._pending = bytearray()
        self._paused = self._waits = False
        self.closed = False
        for fd in {self._in, self._out}:
            os.set_blocking(fd, False)
        self._watch()

    @property
    def full(self) -> bool:
        """More is waiting to be written than should be."""
        return len(self._pending) > HIGH_WATER

    def pause(self, paused: bool) -> None:
        """Stop, or go on, reading."""
        if paused != self._paused and not self.closed:
            self._paused = paused
            self._watch()

    def send(self, type: int, op: int = 0, payload: bytes = b"") -> None:
        """Queue a frame; those of one moment leave together."""
        if self.closed:
            return
        if not self._pending:
            self._reactor.soon(self._write)
        self._pending += wire.encode(self._token, type, op, payload)

    def send_with(self, descriptors: Sequence[int], type: int, op: int = 0, payload: bytes = b"") -> bool:
        """Send a small frame and descriptors at once; False when the peer does not read."""
        self._write()
        if self.closed or self._pending or self._socket is None:
            return False
        data = wire.encode(self._token, type, op, payload)
        try:
            return socket.send_fds(self._socket, [data], list(descriptors)) == len(data)
        except OSError:
            return False

    def drain(self) -> None:
        """Read what has already come."""
        while not self.closed and self._read():
            pass

    def close(self) -> None:
        """Stop; `gone` is not called."""
        if self.closed:
            return
        self.closed = True
        for fd in {self._in, self._out}:
            self._reactor.watch(fd, None)
        if self._socket is not None:
            self._socket.close()

    def _watch(self) -> None:
        readable = None if self._paused else self._readable
        if self._in == self._out:
            self._reactor.watch(self._in, readable, self._write if self._waits else None)
        else:
            self._reactor.watch(self._in, readable)
            self._reactor.watch(self._out, None, self._write if self._waits else None)

    def _readable(self) -> None:
        self._read()

    def _read(self) -> bool:
        try:
            data = os.read(self._in, 256 << 10)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._fail()
            return False
        for frame in self._parser.feed(data):
            if self.closed:
                break
            self._frame(frame)
        return True

    def _write(self) -> None:
        if self.closed:
            return
        try:
            while self._pending:
                sent = os.write(self._out, memoryview(self._pending)[: 256 << 10])
                del self._pending[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._pending.clear()
            self._reactor.later(0, self._fail)
        if self._waits != bool(self._pending):
            self._waits = not self._waits
            self._watch()

    def _fail(self) -> None:
        if not self.closed:
            self.close()
            self._gone()
