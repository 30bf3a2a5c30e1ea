"""The three processes PID 1 keeps: the zygote (imports once), the kernel (runs code, forked from it) and the file helper."""

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from . import files, network, processes, wire
from .reactor import Peer, Reactor

_ENVIRONMENT = {
    "HOME": "/workspace",
    "TMPDIR": "/tmp",
    "XDG_CACHE_HOME": "/tmp/.cache",
    "IPYTHONDIR": "/tmp/.ipython",
    "MPLBACKEND": "Agg",
    "PYTHONUNBUFFERED": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    **network.ENVIRONMENT,
}
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "MPLCONFIGDIR", "MATPLOTLIBRC", "FONTCONFIG_FILE", "FONTCONFIG_PATH")


class Helper:
    """PID 1's end of the file helper; started again whenever it ends."""

    def __init__(
        self, reactor: Reactor, uid: int, limit: int, frame: Callable[[wire.Frame], None], gone: Callable[[], None]
    ) -> None:
        self._reactor, self._uid, self._limit, self._frame, self._gone = reactor, uid, limit, frame, gone
        self.pid = 0
        self.start()

    def start(self) -> None:
        """Fork it, from PID 1 itself: nothing is imported."""
        ours, theirs = socket.socketpair()
        try:
            self.pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            self._reactor.later(0.2, self.start)
            return
        if not self.pid:
            _run_helper(theirs, self._uid, self._limit)
        theirs.close()
        again = hasattr(self, "peer")
        self.peer = Peer(self._reactor, ours, wire.LOCAL, self._frame, self.end)
        if again:
            self._gone()

    def ask(self, type: int, op: int, payload: bytes = b"") -> None:
        """Send it a request; code may have stopped it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)
        self.peer.send(type, op, payload)

    def end(self) -> None:
        """Kill it; the reaper starts another."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def ended(self) -> None:
        """It has been reaped."""
        self.peer.close()
        self.start()


def _run_helper(channel: socket.socket, uid: int, limit: int) -> None:
    status = 1
    try:
        processes.become_user(uid)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        keep = channel.fileno()
        os.closerange(3, keep)
        os.closerange(keep + 1, 1024)
        channel.setblocking(True)
        files.serve(channel, limit)
        status = 0
    finally:
        os._exit(status)


class Zygote:
    """PID 1's end of the zygote; started again whenever it ends."""

    def __init__(self, reactor: Reactor, uid: int, frame: Callable[[wire.Frame], None], gone: Callable[[], None]) -> None:
        self._reactor, self._uid, self._frame, self._gone = reactor, uid, frame, gone
        self.pid = 0
        self.warm = False
        self._asked = False
        self._born = 0.0
        self.start()

    def start(self) -> None:
        """Start a fresh interpreter under the code's user: it shares no memory with PID 1."""
        ours, theirs = socket.socketpair()
        self._born = time.monotonic()
        self.warm = self._asked = False
        try:
            self.pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            self._reactor.later(0.2, self.start)
            return
        if not self.pid:
            _run_zygote(theirs, self._uid)
        theirs.close()
        again = hasattr(self, "peer")
        self.peer = Peer(self._reactor, ours, wire.LOCAL, self._frame, self.end)
        if again:
            self._gone()

    def warm_up(self) -> None:
        """Have it load the heavy libraries, once; it says when it has."""
        if not self._asked:
            self._asked = True
            self.peer.send(wire.WARM)

    def fork(self, descriptors: list[int]) -> bool:
        """Ask for a kernel with these descriptors: control, stdout, stderr."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)
        return self.peer.send_with(descriptors, wire.FORK)

    def end(self) -> None:
        """Kill it; the reaper starts another."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def ended(self) -> None:
        """It has been reaped. One that dies at once is started again a little later."""
        self.peer.close()
        if time.monotonic() - self._born > 3:
            self.start()
        else:
            self._reactor.later(0.5, self.start)


def _run_zygote(channel: socket.socket, uid: int) -> None:
    try:
        processes.become_user(uid)
        signal.set_wakeup_fd(-1)
        os.dup2(channel.fileno(), 0)
        os.dup2(2, 1)
        os.closerange(3, 1024)
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | _ENVIRONMENT
        os.execve(sys.executable, [sys.executable, "-I", str(Path(__file__).resolve().parent), "zygote"], environment)
    finally:
        os._exit(1)


class Kernel:
    """PID 1's end of one kernel process. Everything it says is data."""

    def __init__(
        self,
        reactor: Reactor,
        zygote: Zygote,
        frame: Callable[[wire.Frame], None],
        printed: Callable[[str, bytes], None],
    ) -> None:
        self.pid = 0
        self.ready = False
        self.fresh = True
        """Nothing has run in it, so there is nothing to lose."""
        self.warm = zygote.warm
        """It comes with the heavy libraries loaded."""
        self.joined = False
        """It knows of the way out."""
        self.oom_kills = processes.oom_kills()
        self._reactor, self._printed = reactor, printed
        self._paused = True
        ours, theirs = socket.socketpair()
        out, err = os.pipe(), os.pipe()
        self._pipes = {"stdout": out[0], "stderr": err[0]}
        asked = zygote.fork([theirs.fileno(), out[1], err[1]])
        theirs.close()
        os.close(out[1])
        os.close(err[1])
        self.control = Peer(reactor, ours, wire.LOCAL, frame, lambda: None)
        for fd in self._pipes.values():
            os.set_blocking(fd, False)
        self.pause(False)
        if not asked:
            zygote.end()

    def run(self, number: int, cell: dict[str, Any]) -> None:
        """Start a cell; what it says at its end carries the number."""
        self.fresh = False
        self.control.send(wire.CELL, number, wire.pack(cell))

    def join(self, way: bytes) -> None:
        """Tell it of the way out, once."""
        if not self.joined:
            self.joined = True
            self.control.send(wire.NETWORK, 0, way)

    def signal(self, number: int) -> None:
        """Send a signal, if there is a process yet."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def pause(self, paused: bool) -> None:
        """Stop, or go on, reading what it writes."""
        if paused == self._paused:
            return
        self._paused = paused
        for stream, fd in self._pipes.items():
            self._reactor.watch(fd, None if paused else partial(self._readable, stream))
        self.control.pause(paused)

    def _readable(self, stream: str) -> None:
        self._read(stream)

    def _read(self, stream: str) -> bool:
        if stream not in self._pipes:
            return False
        try:
            data = os.read(self._pipes[stream], 64 << 10)
        except BlockingIOError:
            return False
        if not data:
            fd = self._pipes.pop(stream)
            self._reactor.watch(fd, None)
            os.close(fd)
            return False
        self._printed(stream, data)
        return True

    def drain(self) -> None:
        """Read what has been printed; bounded, for a process left behind may print for ever."""
        for stream in list(self._pipes):
            for _ in range(64):
                if not self._read(stream):
                    break

    def close(self) -> None:
        """Let go of a kernel that has ended."""
        self.control.close()
        for fd in self._pipes.values():
            self._reactor.watch(fd, None)
            os.close(fd)
        self._pipes = {}
