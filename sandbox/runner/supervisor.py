"""PID 1: takes the host's frames, keeps the zygote, kernel and file helper alive, and owns what a cell may leave behind.

It runs under a user of its own, cannot be looked into or signalled by code, and trusts nothing the kernel says.
Standard library only, one thread.
"""

import contextlib
import fcntl
import os
import signal
import socket
import sys
import time
from typing import Any

from . import files, libraries, processes, wire
from .children import Helper, Kernel, Zygote
from .reactor import Peer, Reactor, Timer
from .relay import Relay
from .text import Progress, Transcript, clean, human, progress, shorten

_COALESCE = 0.02
_BRIEF = 0.002
"""Seconds after which a cell that has said nothing yet is said to have started: a shorter one is told whole, in one go."""
_PROGRESS = 0.2
"""Seconds between two words on how far a cell is."""
_SCAN_SECONDS = 10.0
_FIELD = 64 << 10
_WATCH = 0.025
_HAND_OVERS = 5
"""How many kernels may be lost before one begins a cell."""
_SAID = ("result", "raised", "exit", "interrupted", "figures", "alts", "figure", "notes")


class Cell:
    """One run and its outcome so far, kept so that a host that lost its place can have it again."""

    def __init__(self, op: int, request: dict[str, Any]) -> None:
        self.op = op
        self.id = str(request["id"])
        self.code = str(request["code"])
        self.files = int(request["files"])
        self.seconds = float(request["seconds"])
        self.grace = float(request["grace"])
        self.transcript = Transcript(int(request["output"]))
        self.began = time.monotonic()
        self.ticks = 0
        self.before: dict[str, list[Any]] = {}
        self.after: dict[str, list[Any]] | None = None
        self.op_of_kernel = 0
        self.phase = "before"
        self.begun = False
        self.tries = 0
        self.stopping = ""
        self.progress: Progress | None = None
        self.outcome: dict[str, Any] = {}
        self.events: list[dict[str, Any]] = []
        self.timers: list[Timer] = []
        self.unsaid: Timer | None = None
        """Its start is still to be told."""

    def started(self) -> dict[str, Any]:
        """The first event, also of a replay."""
        return {"t": "started", "elapsed": time.monotonic() - self.began}

    def changed(self) -> list[tuple[str, list[Any]]]:
        """Files that are new or changed since it began."""
        return [(name, entry) for name, entry in (self.after or {}).items() if self.before.get(name) != entry]

    def record(self, event: dict[str, Any]) -> None:
        """Keep an event; adjacent text becomes one."""
        last = self.events[-1] if self.events else {}
        if event["t"] == "printed" == last.get("t") and event["stream"] == last["stream"] and len(last["text"]) < _FIELD:
            last["text"] += event["text"]
        else:
            self.events.append(dict(event))


class Supervisor:
    """The state of one sandbox."""

    def __init__(self, uid: int, limits: dict[str, int], token: bytes) -> None:
        self._workspace = processes.open_folder_as(uid, files.ROOT)
        self.reactor = Reactor()
        self._limits = limits
        self._boot = os.urandom(8).hex()
        self._key: str | None = None
        self._current: Cell | None = None
        self._last: Cell | None = None
        self._figure = 1
        self._nonce = ""
        self._scan: tuple[int, Timer] | None = None
        self._scans = 0
        self._asked = b""
        self._entries = bytearray()
        self._files: dict[str, list[Any]] | None = {}
        """The workspace as it was last handed out; None when somebody else has written to it since."""
        self._missed = ""
        self._balancing = False
        self._overrun = False
        self._relay: Relay | None = None
        self._way = b""
        """What a kernel is told of the way out; empty: there is none."""
        self._op: tuple[int, str] | None = None
        self._kernel_op: Peer | None = None
        self._unsent: list[tuple[str, str]] = []
        self._flushed = 0.0
        self._flush_timer: Timer | None = None
        self._watch_children()
        self._host = Peer(self.reactor, (0, 1), token, self._from_host, lambda: os._exit(0))
        self._helper = Helper(self.reactor, uid, limits["file"], self._from_helper, self._helper_gone)
        self._zygote = Zygote(self.reactor, uid, self._from_zygote, self._zygote_gone)
        self._kernel = self._new_kernel()

    # -- processes

    def _watch_children(self) -> None:
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        self.reactor.watch(read, lambda: self._reap(read))

    def _reap(self, wakeup: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(wakeup, 4096)
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                if pid == self._helper.pid:
                    self._helper.ended()
                elif pid == self._zygote.pid:
                    self._zygote.ended()
                elif pid == self._kernel.pid:
                    self._kernel_ended(status)

    def _new_kernel(self) -> Kernel:
        return Kernel(self.reactor, self._zygote, self._from_kernel, self._printed)

    def _zygote_gone(self) -> None:
        """The zygote is a new one. A kernel that was asked of the old one will never come."""
        if not self._kernel.pid:
            self._kernel_ended(signal.SIGKILL)
        else:
            self._begin_waiting()

    def _from_zygote(self, frame: wire.Frame) -> None:
        if frame.type == wire.WARMED:
            self._warmed()
        elif frame.type == wire.FORKED and not self._kernel.pid:
            self._kernel.pid = frame.op
        elif frame.type == wire.EXITED and frame.op == self._kernel.pid:
            self._kernel_ended(int.from_bytes(frame.payload))

    def _warmed(self) -> None:
        """Kernels are warm from now on; one that has run nothing yet makes way for such a one."""
        self._zygote.warm = True
        if not self._kernel.pid:
            self._kernel.warm = True  # its turn with the zygote is still to come
            self._begin_waiting()
        elif self._kernel.fresh:
            self._kernel.signal(signal.SIGKILL)

    def _kernel_ended(self, status: int) -> None:
        """Take what it still said, clear up after it and have another."""
        kernel, restoring = self._kernel, self._op is not None and self._op[1] == "load_variables"
        kernel.control.drain()
        kernel.drain()
        kernel.close()
        oom = processes.oom_kills() > kernel.oom_kills or self._overrun
        self._overrun = False
        if not processes.sweep({1, self._zygote.pid, self._helper.pid}):
            processes.end_all()
        self._close_kernel_op("Python ended while it was at this")
        self._kernel = self._new_kernel()
        self._tell_loss(not kernel.fresh and not restoring, _epitaph(status, oom, self._limits["memory"]))

    def _tell_loss(self, had_state: bool, why: str) -> None:
        """Say it with the cell that was running, else with the next one."""
        cell = self._running
        if cell and cell.stopping and not had_state and not cell.tries:
            cell.outcome = {"reason": cell.stopping}
            self._close_cell(cell)
            return
        if cell and (cell.begun or cell.stopping or cell.tries == _HAND_OVERS):
            cell.outcome = {"reason": "died", "detail": why, "lost": True}
            if cell.stopping:
                detail = "The code did not stop when asked, so Python was started again: files are kept."
                cell.outcome = {"reason": cell.stopping, "detail": detail, "lost": True}
            self._close_cell(cell)
            return
        if had_state:
            self._missed = "Between two cells: " + why
        if cell:
            self._hand_over(cell)  # the kernel was gone before it had begun

    # -- the host

    def _send(self, type: int, op: int, value: dict[str, Any]) -> None:
        self._host.send(type, op, wire.pack(value))
        self._balance()

    def _balance(self) -> None:
        """While the host does not read, do not read what code writes."""
        full = self._host.full
        self._kernel.pause(full)
        if self._kernel_op:
            self._kernel_op.pause(full)
        if full and not self._balancing:
            self._balancing = True
            self.reactor.later(0.01, self._balance_again)

    def _balance_again(self) -> None:
        self._balancing = False
        self._balance()

    def _from_host(self, frame: wire.Frame) -> None:
        try:
            if frame.type in (wire.DATA, wire.CREDIT, wire.END):
                self._hand_on(frame)
            elif frame.type in wire.CONNECTION:
                if self._relay:
                    self._relay.take(frame)
            elif frame.type == wire.CANCEL:
                self._cancel(frame.op)
            else:
                self._command(frame, wire.unpack(frame.payload))
        except (ValueError, KeyError, TypeError) as error:
            print(f"frame {frame.type} not understood: {error!r}", file=sys.stderr)

    def _command(self, frame: wire.Frame, request: dict[str, Any]) -> None:
        if frame.type == wire.HELLO:
            self._nonce = str(request["nonce"])
            self._say_state()
        elif frame.type == wire.CLAIM:
            self._key = str(request["key"])
            self._say_state()
        elif frame.type == wire.WARM:
            self._zygote.warm_up()
            self._say_state()
        elif frame.type == wire.NETWORK:
            self._open_way(request)
        elif frame.type == wire.RUN:
            self._run(frame.op, request)
        elif frame.type == wire.INTERRUPT:
            self._interrupt(str(request["why"]), float(request["grace"]))
        elif frame.type == wire.OPEN:
            self._open(frame, request)

    def _say_state(self) -> None:
        cell = self._current or self._last
        state = {
            "nonce": self._nonce,
            "boot": self._boot,
            "key": self._key,
            "ready": self._kernel.ready,
            "warm": self._kernel.ready and self._kernel.warm,
            "cell": {"id": cell.id, "running": cell is self._current} if cell else None,
            "memory": processes.memory(),
            "emptied": bool(self._missed),
        }
        self._send(wire.STATE, 0, state)

    # -- the way out

    def _open_way(self, request: dict[str, Any]) -> None:
        """What an earlier host carried has ended with it. A kernel that is there already hears of the new door as well."""
        if self._relay:
            self._relay.close()
        self._relay, self._way = None, b""
        self._kernel.joined = False
        if request["hosts"] or request["packages"]:
            try:
                self._relay = Relay(self.reactor, self._host.send)
            except OSError as error:  # code of an earlier time may hold every port
                print(f"no way out: {error}", file=sys.stderr)
                return
            self._way = wire.pack(request | {"port": self._relay.port})

    # -- cells

    def _run(self, op: int, request: dict[str, Any]) -> None:
        for known in (self._current, self._last):
            if known and known.id == request["id"]:
                self._replay(known, op)
                return
        if self._current:
            self._send(wire.REFUSED, op, {"why": "another cell is running"})
            return
        cell = self._current = Cell(op, request)
        if self._files is None:
            self._ask_scan()
        else:
            self._begin(cell, self._files)

    def _replay(self, cell: Cell, op: int) -> None:
        self._flush()
        cell.op = op
        if cell.tries and not cell.unsaid:
            self._emit(cell, cell.started(), record=False)
        for event in cell.events:
            self._emit(cell, event, record=False)

    def _start(self, cell: Cell) -> None:
        """Its time begins now: the look at the workspace and the loading of libraries before it are not the code's."""
        cell.began = time.monotonic()
        cell.unsaid = self.reactor.later(_BRIEF, lambda: self._say_started(cell))
        cell.timers.append(self.reactor.later(cell.seconds, lambda: self._stop(cell, "timeout", cell.grace)))

    def _say_started(self, cell: Cell) -> None:
        if cell.unsaid:
            cell.unsaid.cancel()
            cell.unsaid = None
            self._send(wire.EVENT, cell.op, cell.started())

    def _emit(self, cell: Cell, event: dict[str, Any], record: bool = True) -> None:
        self._say_started(cell)
        if record:
            cell.record(event)
        self._send(wire.EVENT, cell.op, event)

    def _scanned(self, entries: dict[str, list[Any]] | None) -> None:
        cell = self._current
        if not cell:
            return
        if cell.phase == "before":
            self._begin(cell, entries or {})
        elif cell.phase == "after":
            cell.after = self._files = entries
            cell.phase = "heads"
            if names := [name for name, _ in self._handed(cell)]:
                self._ask_scan(names)
            else:
                self._end_cell(cell, {})
        elif cell.phase == "heads":
            self._end_cell(cell, entries or {})

    def _begin(self, cell: Cell, files: dict[str, list[Any]]) -> None:
        cell.before = files
        if cell.stopping:
            cell.outcome = {"reason": cell.stopping}
            cell.after = cell.before
            self._end_cell(cell, {})
            return
        self._kernel.drain()
        cell.phase = "running"
        cell.ticks = processes.ticks()
        self._begin_waiting()
        if self._limits["watched"]:
            self._watch_memory(cell)

    def _watch_memory(self, cell: Cell) -> None:
        """Where no cgroup ends only what takes too much: the kernel goes before the container has to."""
        if cell is not self._current or cell.phase != "running":
            return
        if processes.memory_in_use() > self._limits["memory"]:
            self._overrun = True
            self._kernel.signal(signal.SIGKILL)
        self.reactor.later(_WATCH, lambda: self._watch_memory(cell))

    @property
    def _running(self) -> Cell | None:
        return self._current if self._current and self._current.phase == "running" else None

    def _begin_waiting(self) -> None:
        """Hand the cell over; where it wants the heavy libraries and nothing has run yet, to the warm kernel that follows."""
        cell = self._running
        if not cell or cell.tries:
            return
        if self._kernel.fresh and not self._kernel.warm and libraries.wants_preloaded(cell.code):
            self._zygote.warm_up()
        else:
            self._hand_over(cell)

    def _hand_over(self, cell: Cell) -> None:
        if not cell.tries:
            self._start(cell)
        cell.tries += 1
        if self._way:
            self._kernel.join(self._way)
        cell.op_of_kernel = int.from_bytes(os.urandom(4))  # no earlier cell can have guessed it
        self._kernel.run(cell.op_of_kernel, {"code": cell.code, "figure": self._figure, "files": cell.files})

    def _printed(self, stream: str, data: bytes) -> None:
        cell = self._current
        if not cell or cell.phase != "running":
            return
        if bar := progress(data):
            self._note_progress(cell, bar)
        if text := cell.transcript.add(stream, data):
            self._say(stream, text)

    def _note_progress(self, cell: Cell, bar: Progress) -> None:
        """Say the newest a little later; what comes meanwhile takes its place. Not kept for a replay."""
        waiting, cell.progress = cell.progress is not None, bar
        if not waiting:
            self.reactor.later(_PROGRESS, lambda: self._say_progress(cell))

    def _say_progress(self, cell: Cell) -> None:
        bar, cell.progress = cell.progress, None
        if bar and cell is self._running:
            self._emit(cell, {"t": "progress"} | bar._asdict(), record=False)

    def _say(self, stream: str, text: str) -> None:
        """Send text at once when nothing was sent lately, else gather it for a moment."""
        if self._unsent and self._unsent[-1][0] == stream:
            text = self._unsent.pop()[1] + text
        self._unsent.append((stream, text))
        wait = self._flushed + _COALESCE - time.monotonic()
        if wait <= 0:
            self._flush()
        elif not self._flush_timer:
            self._flush_timer = self.reactor.later(wait, self._flush)

    def _flush(self) -> None:
        if self._flush_timer:
            self._flush_timer.cancel()
            self._flush_timer = None
        self._flushed = time.monotonic()
        unsent, self._unsent = self._unsent, []
        for stream, text in unsent:
            if self._current:
                self._emit(self._current, {"t": "printed", "stream": stream, "text": text})

    def _from_kernel(self, frame: wire.Frame) -> None:
        cell = self._current
        if frame.type == wire.BEGUN and cell and frame.op == cell.op_of_kernel:
            cell.begun = True
        elif frame.type == wire.READY:
            if not self._kernel.ready:
                self._kernel.ready = True
                self._say_state()
        elif frame.type == wire.FINISHED and cell and cell.phase == "running" and frame.op == cell.op_of_kernel:
            self._finished(cell, frame.payload)

    def _finished(self, cell: Cell, payload: bytes) -> None:
        """The kernel says that the code has ended. It may lie about its own output, and about nothing else."""
        self._kernel.drain()
        with contextlib.suppress(ValueError):
            said = wire.unpack(payload)
            cell.outcome = {name: said[name] for name in _SAID if name in said}
        cell.outcome["reason"] = "raised" if isinstance(cell.outcome.get("raised"), dict) else "ok"
        if isinstance(code := cell.outcome.get("exit"), int) and code:
            cell.outcome["detail"] = f"The code ended itself with exit({code}); variables are kept."
        if cell.stopping:
            if not processes.sweep({1, self._zygote.pid, self._helper.pid, self._kernel.pid}, cell.ticks):
                self._kernel.signal(signal.SIGKILL)
                return
            if cell.outcome.get("interrupted") is True:
                cell.outcome |= {"reason": cell.stopping, "detail": "Variables are kept.", "raised": None}
        self._close_cell(cell)

    def _interrupt(self, why: str, grace: float) -> None:
        if self._current:
            self._stop(self._current, "timeout" if why == "timeout" else "interrupted", grace)
        elif self._kernel_op:
            self._kernel.signal(signal.SIGINT)
            self.reactor.later(grace, self._kill_for(self._op))

    def _kill_for(self, op: tuple[int, str] | None) -> Any:
        return lambda: self._kernel.signal(signal.SIGKILL) if self._op == op and self._kernel_op else None

    def _stop(self, cell: Cell, why: str, grace: float) -> None:
        if cell is not self._current or cell.phase in ("after", "heads") or cell.stopping:
            return
        cell.stopping = why
        if cell.phase == "running":
            self._kernel.signal(signal.SIGINT)
        cell.timers.append(self.reactor.later(grace, lambda: self._kill(cell)))

    def _kill(self, cell: Cell) -> None:
        if cell is not self._current or cell.phase != "running":
            return
        if self._kernel.pid:
            self._kernel.signal(signal.SIGKILL)
        else:
            self._zygote.end()
        cell.timers.append(self.reactor.later(1.0, lambda: self._give_up(cell)))

    def _give_up(self, cell: Cell) -> None:
        """The zygote did not say that the kernel has ended: it was stopped or worse. Start from nothing."""
        if cell is self._current and cell.phase == "running":
            processes.end_all()
            self._kernel_ended(signal.SIGKILL)

    def _close_cell(self, cell: Cell) -> None:
        """The code has ended: what remains of its text, then see which files it made."""
        cell.phase = "after"
        for timer in cell.timers:
            timer.cancel()
        self._flush()
        for stream, text in cell.transcript.rest():
            for at in range(0, len(text), _FIELD):
                self._emit(cell, {"t": "printed", "stream": stream, "text": text[at : at + _FIELD]})
        if self._is_empty_still():
            self._scanned({})
        else:
            self._ask_scan()

    def _is_empty_still(self) -> bool:
        """There were no files to be seen in the workspace, and there are none: for that the helper need not be asked."""
        return self._files == {} and all(map(files.is_hidden, os.listdir(self._workspace)))  # noqa: PTH208 (of a descriptor)

    def _end_cell(self, cell: Cell, heads: dict[str, Any]) -> None:
        if not cell.tries:
            self._start(cell)  # it was stopped before: whoever waits hears of a beginning first
        outcome = cell.outcome
        if isinstance(outcome.get("result"), dict):
            self._emit(cell, {"t": "result"} | _result(outcome["result"]))
        if isinstance(outcome.get("raised"), dict):
            self._emit(
                cell, {"t": "raised"} | {name: _text(outcome["raised"].get(name)) for name in ("name", "message", "traceback")}
            )
        notes = [_text(note, 500) for note in _list(outcome.get("notes"))[:20]]
        if cell.transcript.dropped:
            notes.append(f"{cell.transcript.lines:,} lines dropped ({human(cell.transcript.dropped)})")
        if processes.oom_kills() > self._kernel.oom_kills and not outcome.get("lost"):
            self._kernel.oom_kills = processes.oom_kills()
            notes.append("a process that the code had started was ended for want of memory")
        notes += self._say_files(cell, heads)
        self._figure = max(self._figure, _integer(outcome.get("figure"), 1))
        reason = outcome.get("reason")
        ended = {
            "t": "ended",
            "reason": reason if reason in ("ok", "raised", "interrupted", "timeout", "died") else "ok",
            "seconds": time.monotonic() - cell.began,
            "detail": _text(outcome.get("detail") or self._missed, 500),
            "lost": outcome.get("lost") is True or bool(self._missed),
            "notes": notes,
        }
        self._missed = ""
        self._current, self._last = None, cell
        self._emit(cell, ended)

    def _handed(self, cell: Cell) -> list[tuple[str, list[Any]]]:
        """The new and changed files that this cell hands out: figures first, then the oldest."""
        drawn = _words(cell.outcome.get("figures"))
        changed = [item for item in cell.changed() if item[1][1] <= self._limits["file"]]
        return sorted(changed, key=lambda item: (item[0] not in drawn, item[1][2]))[: cell.files]

    def _say_files(self, cell: Cell, heads: dict[str, Any]) -> list[str]:
        if cell.after is None:
            return ["the files of the workspace could not be listed"]
        drawn = _words(cell.outcome.get("figures"))
        words = drawn | _words(cell.outcome.get("alts"))
        handed = self._handed(cell)
        for name, entry in handed:
            made = {"t": "made", "name": name, "size": entry[1], "figure": name in drawn, "head": heads.get(name)}
            alt, facts = words.get(name, ("", ""))
            self._emit(cell, made | {"alt": _text(alt, 1000), "facts": _text(facts, 5000)})
        left = [entry[1] for name, entry in cell.changed() if (name, entry) not in handed]
        if not left:
            return []
        noun = "file" if len(left) == 1 else "files"
        return [f"{len(left):,} more {noun}, largest {human(max(left))}, kept in the workspace"]

    # -- files and variables: PID 1 only passes frames on

    def _ask_scan(self, heads: list[str] | None = None) -> None:
        """Ask what there is in the workspace; `heads`: for these files' first bytes instead."""
        self._scans += 1
        number = self._scans
        self._entries.clear()
        self._scan = number, self.reactor.later(_SCAN_SECONDS, lambda: self._scan_done(number, None))
        self._asked = b"" if heads is None else wire.pack({"heads": heads})
        self._helper.ask(wire.SCAN, number, self._asked)

    def _scan_done(self, number: int, entries: dict[str, list[Any]] | None) -> None:
        if self._scan and self._scan[0] == number:
            self._scan[1].cancel()
            self._scan = None
            if entries is None:
                self._helper.end()
            self._scanned(entries)

    def _helper_gone(self) -> None:
        """A new helper is there: ask again what the old one has not answered."""
        if self._op and not self._kernel_op:
            self._finish_op(wire.REFUSED, {"why": "the files could not be reached for a moment; try again"})
        if self._scan:
            self._entries.clear()
            self._helper.peer.send(wire.SCAN, self._scan[0], self._asked)

    def _from_helper(self, frame: wire.Frame) -> None:
        if frame.type == wire.SCAN:
            if self._scan and self._scan[0] == frame.op:
                self._entries += frame.payload
        elif frame.type == wire.FINISHED:
            self._scan_done(frame.op, wire.unpack(bytes(self._entries)))
        elif self._op and frame.op == self._op[0]:
            self._pass_on(frame)

    def _open(self, frame: wire.Frame, request: dict[str, Any]) -> None:
        if self._op:
            self._cancel(self._op[0])
        what = str(request["what"])
        self._op = frame.op, what
        if what in ("variables", "save_variables", "load_variables"):
            self._open_kernel_op(frame)
        else:
            if what in ("put", "load_files"):
                self._files = None
            self._helper.ask(wire.OPEN, frame.op, frame.payload)

    def _open_kernel_op(self, frame: wire.Frame) -> None:
        self._kernel.fresh = False
        ours, theirs = socket.socketpair()
        self._kernel_op = Peer(self.reactor, ours, wire.LOCAL, self._from_kernel_op, self._kernel_op_gone)
        sent = self._kernel.control.send_with([theirs.fileno()], wire.OPEN, frame.op, frame.payload)
        theirs.close()
        if not sent:
            self._close_kernel_op("Python does not answer")

    def _from_kernel_op(self, frame: wire.Frame) -> None:
        if self._op and frame.op == self._op[0] and frame.type in (wire.DATA, wire.CREDIT, wire.NOTE, wire.DONE, wire.REFUSED):
            self._pass_on(frame)

    def _kernel_op_gone(self) -> None:
        """Its end of the line closed without a last word: the copy that pickles has ended, or the kernel itself is broken."""
        if self._op and self._op[1] == "save_variables":
            self._close_kernel_op("Python's copy ended while it was at this")
        else:
            self._kernel.signal(signal.SIGKILL)

    def _close_kernel_op(self, why: str) -> None:
        if self._kernel_op and self._op:
            self._finish_op(wire.DONE, {"cut": why})

    def _pass_on(self, frame: wire.Frame) -> None:
        self._host.send(frame.type, frame.op, frame.payload)
        self._balance()
        if frame.type in (wire.DONE, wire.REFUSED):
            self._forget_op()

    def _finish_op(self, type: int, value: dict[str, Any]) -> None:
        if self._op:
            self._send(type, self._op[0], value)
            self._forget_op()

    def _forget_op(self) -> None:
        self._op = None
        if self._kernel_op:
            self._kernel_op.close()
            self._kernel_op = None

    def _hand_on(self, frame: wire.Frame) -> None:
        if self._op and self._op[0] == frame.op:
            (self._kernel_op or self._helper.peer).send(frame.type, frame.op, frame.payload)

    def _cancel(self, op: int) -> None:
        if self._op and self._op[0] == op:
            if not self._kernel_op:
                self._helper.peer.send(wire.CANCEL, op)
            self._finish_op(wire.DONE, {"cut": "cancelled"})


def _epitaph(status: int, oom: bool, memory: int) -> str:
    kept = "files are kept."
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL and oom:
        return f"The code ran out of memory ({human(memory)}) and Python was started again: {kept}"
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name if os.WTERMSIG(status) in set(signal.Signals) else "a signal"
        crash = {"SIGSEGV": "crashed (segmentation fault)", "SIGABRT": "aborted", "SIGKILL": "was killed"}
        return f"Python {crash.get(name, f'was ended by {name}')} and was started again: {kept}"
    return f"The code ended Python itself (exit status {os.waitstatus_to_exitcode(status)}), so it was started again: {kept}"


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _words(value: object) -> dict[str, tuple[str, str]]:
    """Alt text and facts by a file's name."""
    items = (item for item in _list(value)[:1000] if isinstance(item, list) and len(item) == 3)
    return {str(name): (str(alt), str(facts)) for name, alt, facts in items}


def _integer(value: object, default: int) -> int:
    return value if isinstance(value, int) and 0 < value < 1_000_000 else default


def _text(value: object, limit: int = _FIELD) -> str:
    return clean(shorten(value, limit)) if isinstance(value, str) else ""


def _result(value: dict[str, Any]) -> dict[str, Any]:
    """A result in our own shape, whatever the kernel sent."""
    table = value.get("table")
    if not isinstance(table, dict):
        return {"text": _text(value.get("text")), "table": None}
    columns, types = ([_text(item, 200) for item in _list(table.get(name))[:21]] for name in ("columns", "types"))
    rows = [[_text(item, 200) for item in _list(row)[:21]] for row in _list(table.get("rows"))[:20]]
    total = table.get("total")
    known = isinstance(total, int) and 0 <= total < 1 << 62
    shape = {"columns": columns, "types": types, "rows": rows, "total": total if known else len(rows)}
    return {"text": _text(value.get("text")), "table": shape}


def main(arguments: list[str]) -> None:
    """`supervisor UID MEMORY FILE [PROCESSES]`: as root, with SETUID, SETGID and KILL. The token is the first 16 bytes of
    stdin. With PROCESSES it is for us to hold that limit, and the one on memory."""
    uid, memory, file, *watched = (int(argument) for argument in arguments)
    for processes_at_most in watched:
        processes.limit_processes(processes_at_most)
    for stream in (0, 1):
        with contextlib.suppress(OSError):
            fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, wire.WINDOW)  # fewer turns for large files
    processes.become_supervisor(uid)
    token = b""
    while len(token) < wire.TOKEN_SIZE:
        data = os.read(0, wire.TOKEN_SIZE - len(token))
        if not data:
            return
        token += data
    Supervisor(uid + 1, {"memory": memory, "file": file, "watched": len(watched)}, token).reactor.run()
