"""A session over any byte channel to a supervisor: cells, files, checkpoints. The host's deadlines are here."""

import asyncio
import itertools
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any, Literal, Protocol

import anyio

from sandbox import frames
from sandbox.api import (
    Checkpoint,
    Damaged,
    Egress,
    Ended,
    File,
    FileRefused,
    Limits,
    Loss,
    Output,
    Part,
    Raised,
    Restored,
    SandboxLost,
    Saved,
    Sink,
    Started,
    Variable,
)
from sandbox.egress import Gateway
from sandbox.frames import Frames, ProtocolError, State
from sandbox.media import media_type
from sandbox.packages import Packages
from sandbox.runner import wire

_ANSWER = 30.0
"""Seconds without any sign of life before a sandbox that owes an answer is given up."""
_LOADED = 90.0
"""Seconds that a cell may wait for the libraries it needs; a cold, busy machine needs some."""
_STUCK = 10.0
"""Seconds that one variable may take to be kept or brought back."""
_TRIES = 5
"""How often the variables of a checkpoint are tried while one of them ends Python."""
_QUEUE = 8 << 20
_PIECES = 10_000
"""Pieces that one part of a checkpoint may have."""
_CELLS = 100_000
"""Characters of code that are looked through for what was lost."""
_GONE = "The sandbox of this thread is gone; ask again to go on in a new one."
_SILENT = "The sandbox of this thread no longer answers; ask again to go on in a new one."


class Channel(Protocol):
    """Bytes to and from a supervisor."""

    async def read(self) -> bytes:
        """The next bytes; b"" when the supervisor has gone."""
        ...

    async def write(self, data: bytes) -> None:
        """Send; returns when more may be sent. Raises `SandboxLost`."""
        ...

    async def close(self) -> None:
        """Let go of the channel; what runs behind it goes on. Never raises."""
        ...


class Inbox:
    """Frames that wait for whoever asked for them, bounded."""

    def __init__(self) -> None:
        self._frames: asyncio.Queue[wire.Frame | None] = asyncio.Queue()
        self._size = 0

    def put(self, frame: wire.Frame | None) -> None:
        """Add a frame, None for the end. Raises `ProtocolError` when a sandbox sends what nobody let it."""
        self._size += len(frame.payload) + 64 if frame else 0
        if self._size > _QUEUE:
            raise ProtocolError("more than was asked for")
        self._frames.put_nowait(frame)

    async def get(self, until: float | None = None) -> wire.Frame:
        """The next frame. Raises `SandboxLost`, or TimeoutError at `until` on the loop's clock."""
        async with asyncio.timeout_at(until):
            frame = await self._frames.get()
        if frame is None:
            self._frames.put_nowait(None)
            raise SandboxLost(_GONE)
        self._size -= len(frame.payload) + 64
        return frame


class Link:
    """Frames over a channel: one reader task that gives every frame to whoever waits for its operation."""

    def __init__(self, channel: Channel, token: bytes) -> None:
        self._channel, self._token = channel, token
        self._operations = itertools.count(secrets.randbelow(1 << 30) + 1)
        self._inboxes: dict[int, Inbox] = {}
        self._states = asyncio.Condition()
        self._nonce = secrets.token_hex(8)
        self._writing = asyncio.Lock()
        self.state: State | None = None
        self.gateway: Gateway | None = None
        """Takes the connections of the code's; without one they are refused."""
        self.lost = False
        self._reader = asyncio.create_task(self._read(), name="sandbox link")

    @property
    def loop_time(self) -> float:
        """The loop's clock."""
        return asyncio.get_running_loop().time()

    async def hello(self, first: bool, seconds: float) -> State:
        """Resynchronise both ways and learn the sandbox's state. Raises `SandboxLost` when it does not answer in time."""
        self._nonce = secrets.token_hex(8)
        try:
            async with asyncio.timeout(seconds):  # one that does not read may stand in the way of the very first bytes
                await self._write(self._token if first else bytes(wire.PADDING))
        except TimeoutError as error:
            raise SandboxLost(_SILENT) from error
        return await self._ask(wire.HELLO, {"nonce": self._nonce}, lambda state: True, seconds)

    async def ping(self, seconds: float) -> State:
        """Hello on a link that is in step."""
        self._nonce = secrets.token_hex(8)
        return await self._ask(wire.HELLO, {"nonce": self._nonce}, lambda state: True, seconds)

    async def ready(self, seconds: float) -> State:
        """Wait until a cell can run."""
        return await self._until(lambda state: state.ready, seconds)

    async def warm_up(self, seconds: float) -> State:
        """Have it load the heavy libraries, and wait until a cell can run with them."""
        return await self._ask(wire.WARM, {}, lambda state: state.warm, seconds)

    async def claim(self, key: str, seconds: float) -> State:
        """Make the sandbox `key`'s own."""
        return await self._ask(wire.CLAIM, {"key": key}, lambda state: state.key == key, seconds)

    async def _ask(self, type: int, value: dict[str, Any], holds: Callable[[State], bool], seconds: float) -> State:
        self.state = None
        await self.send(type, 0, wire.pack(value))
        return await self._until(holds, seconds)

    async def _until(self, holds: Callable[[State], bool], seconds: float) -> State:
        try:
            async with asyncio.timeout(seconds), self._states:
                await self._states.wait_for(lambda: self.lost or (self.state is not None and holds(self.state)))
        except TimeoutError as error:
            raise SandboxLost(_SILENT) from error
        if self.lost or self.state is None:
            raise SandboxLost(_GONE)
        return self.state

    async def send(self, type: int, op: int, payload: bytes = b"") -> None:
        """Send one frame. Raises `SandboxLost`."""
        await self._write(wire.encode(self._token, type, op, payload))

    async def _write(self, data: bytes) -> None:
        if self.lost:
            raise SandboxLost(_GONE)
        async with self._writing:
            await self._channel.write(data)

    @asynccontextmanager
    async def operation(self) -> AsyncGenerator[tuple[int, Inbox], None]:
        """A fresh operation number and the inbox of its frames."""
        op, inbox = next(self._operations) & 0xFFFFFFFF, Inbox()
        if self.lost:
            raise SandboxLost(_GONE)
        self._inboxes[op] = inbox
        try:
            yield op, inbox
        finally:
            del self._inboxes[op]

    async def _read(self) -> None:
        parser = Frames(self._token)
        try:
            while data := await self._channel.read():
                for frame in parser.feed(data):
                    await self._take(frame)
        except (SandboxLost, ProtocolError, OSError):
            pass  # lost, as those who wait are told
        finally:
            self.lost = True
            for inbox in self._inboxes.values():
                inbox.put(None)
            if self.gateway:
                await self.gateway.close()
            async with self._states:
                self._states.notify_all()

    async def _take(self, frame: wire.Frame) -> None:
        if frame.type == wire.STATE:
            state = frames.state(frame.payload)
            if state.nonce == self._nonce:
                async with self._states:
                    self.state = state
                    self._states.notify_all()
        elif frame.type in wire.CONNECTION:
            if self.gateway:
                self.gateway.take(frame)
            elif frame.type == wire.DIAL:
                await self.send(wire.HANG_UP, frame.op)
        elif frame.op in self._inboxes:
            self._inboxes[frame.op].put(frame)

    async def close(self) -> None:
        """Stop reading and let go of the channel."""
        self._reader.cancel()
        await asyncio.wait([self._reader])
        await self._channel.close()


class Remote:
    """`sandbox.Session` over a link."""

    def __init__(
        self,
        key: str,
        link: Link,
        limits: Limits,
        remove: Callable[[], Awaitable[None]],
        pause: Callable[[bool], Awaitable[bool]],
    ) -> None:
        """`pause` freezes (or not) what is behind the link, and says whether it is frozen now."""
        self.key = key
        self.origin: Literal["fresh", "restored", "adopted"] = "fresh"
        self.restored: Restored | None = None
        self.emptied = False
        self._link, self._limits, self._remove, self._pause = link, limits, remove, pause
        self._turn = asyncio.Lock()
        self._cell: tuple[str, bool] | None = None
        """The id of the cell that a sandbox ran before we came, and whether it still runs."""
        self.busy = False
        """A cell runs."""
        self._resting = False
        self._grace = limits.grace

    @property
    def lost(self) -> bool:
        """The container has gone or no longer answers."""
        return self._link.lost

    def adopt(self, state: State) -> None:
        """The container was running for this key before."""
        self.origin = "adopted"
        if state.cell is not None and state.running:
            self._cell = state.cell, True

    async def open_way(self, egress: Egress, packages: Packages | None, authorities: str) -> None:
        """Let the code reach what `egress` names, from its next cell on; nothing: no more. Raises `SandboxLost`."""
        allowed = bool(egress.hosts or packages)
        if self._link.gateway:
            await self._link.gateway.close()
        self._link.gateway = Gateway(egress, packages, self._link.send) if allowed else None
        way = {"hosts": egress.hosts, "packages": packages is not None, "authorities": authorities}
        if allowed or self.origin == "adopted":
            await self._link.send(wire.NETWORK, 0, wire.pack(way))

    async def rest(self) -> None:
        """See `sandbox.Session.rest`."""
        async with self._turn:
            if not self._resting and not self._link.lost and self._cell is None:
                self._resting = await self._pause(True)

    async def wake(self) -> None:
        """Go on after a rest. Raises `SandboxLost`."""
        if self._resting:
            async with self._turn:
                await self._awake()

    async def _awake(self) -> None:
        if self._resting:
            self._resting = await self._pause(False)

    # -- cells

    async def run(self, id: str, code: str, limits: Limits | None = None) -> AsyncGenerator[Output, None]:
        """See `sandbox.Session.run`."""
        async with self._turn:
            await self._awake()
            await self._await_foreign(id)
            async with aclosing(self._run(id, code, limits or self._limits)) as outputs:
                async for output in outputs:
                    yield output

    async def _await_foreign(self, id: str) -> None:
        """A cell that was running when we adopted the container goes on to its end before another may start."""
        if self._cell is None or self._cell[0] == id:
            return
        foreign = self._cell[0]
        async with aclosing(self._run(foreign, "", self._limits)) as outputs:
            async for _ in outputs:
                pass

    async def _run(self, id: str, code: str, limits: Limits) -> AsyncGenerator[Output, None]:
        request = wire.pack(_request(id, code, limits))
        if len(request) > wire.MAX_PAYLOAD:
            for output in _too_long(len(request)):
                yield output
            return
        async with self._link.operation() as (op, inbox):
            self.busy, self._grace, ended = True, limits.grace, False
            try:
                await self._link.send(wire.RUN, op, request)
                async for output in self._events(inbox, limits):
                    if isinstance(output, Ended):
                        self.busy, self._cell, ended = False, None, True
                        self.emptied |= output.lost
                        if gateway := self._link.gateway:
                            output = replace(output, notes=(*output.notes, *gateway.notes()))
                    yield output
            finally:
                if not ended:
                    with anyio.CancelScope(shield=True):
                        await self._abandon(inbox, limits)
                self.busy = False

    async def _events(self, inbox: Inbox, limits: Limits) -> AsyncGenerator[Output, None]:
        """Outputs up to `Ended`; at the deadline the cell is stopped, and a sandbox that cannot even do that is given up."""
        due, stopped = self._link.loop_time + _LOADED, False
        while True:
            try:
                frame = await inbox.get(due)
            except TimeoutError:
                if stopped:
                    await self._give_up()
                stopped, due = True, self._link.loop_time + limits.grace + _ANSWER
                await self._interrupt("timeout", limits.grace)
                continue
            output = self._understand(frame)
            if isinstance(output, Started) and not stopped:
                due = self._link.loop_time + max(0.0, limits.seconds - frames.elapsed(frame.payload))
            yield output
            if isinstance(output, Ended):
                return

    def _understand(self, frame: wire.Frame) -> Output:
        try:
            if frame.type == wire.EVENT:
                return frames.output(frame.payload)
            raise ProtocolError(f"a frame of type {frame.type} during a cell")
        except ProtocolError as error:
            raise SandboxLost(_SILENT) from error

    async def _abandon(self, inbox: Inbox, limits: Limits) -> None:
        """Nobody wants the cell any more: stop it and wait until it has ended."""
        if self._link.lost:
            return
        try:
            await self._interrupt("interrupted", limits.grace)
            until = self._link.loop_time + limits.grace + _ANSWER
            while not isinstance(output := self._understand(await inbox.get(until)), Ended):
                pass
            self._cell = None
            self.emptied |= output.lost
        except TimeoutError:
            await self._remove()
        except SandboxLost:
            pass  # the next call says so

    async def _give_up(self) -> None:
        await self._remove()
        raise SandboxLost(_SILENT)

    async def interrupt(self) -> None:
        """See `sandbox.Session.interrupt`."""
        if self.busy or self._cell:
            await self._interrupt("interrupted", self._grace)

    async def _interrupt(self, why: str, grace: float) -> None:
        await self._link.send(wire.INTERRUPT, 0, wire.pack({"why": why, "grace": grace}))

    # -- operations

    @asynccontextmanager
    async def _operation(self, what: str, **arguments: Any) -> AsyncGenerator["_Operation", None]:
        async with self._turn:
            await self._awake()
            await self._await_foreign("")
            async with self._link.operation() as (op, inbox):
                operation = _Operation(self._link, op, inbox, self._give_up)
                try:
                    await self._link.send(wire.OPEN, op, wire.pack({"what": what} | arguments))
                    yield operation
                finally:
                    if not operation.over and not self._link.lost:
                        with anyio.CancelScope(shield=True):
                            await operation.cancel()

    async def put(self, name: str, size: int, chunks: AsyncIterator[bytes]) -> File:
        """See `sandbox.Session.put`."""
        async with self._operation("put", name=name[:4096], size=size) as operation:
            await operation.note()
            head = b""
            async for chunk in chunks:
                head += chunk[: wire.HEAD - len(head)]
                await operation.write(chunk)
            await operation.end()
            done = await operation.finish()
            try:
                stored = frames.files({"files": [[done.get("name"), done.get("size")]]})[0]
            except ProtocolError as error:
                raise SandboxLost(_SILENT) from error
            return File(stored.name, stored.size, media_type(stored.name, head))

    async def get(self, name: str) -> AsyncGenerator[bytes, None]:
        """See `sandbox.Session.get`."""
        async with self._operation("get", name=name) as operation:
            note = await operation.note()
            size, got = note.get("size"), 0
            async for data in operation.read():
                got += len(data)
                yield data
            if got != size:
                raise FileRefused(f"{name} could not be read whole.")

    async def list(self) -> tuple[File, ...]:
        """See `sandbox.Session.list`."""
        found: list[File] = []
        async with self._operation("list") as operation:
            async for note in operation.notes():
                found += operation.understood(frames.files, note)
        return tuple(sorted(found, key=lambda file: file.name))

    async def variables(self) -> tuple[Variable, ...]:
        """See `sandbox.Session.variables`."""
        found: list[Variable] = []
        async with self._operation("variables") as operation:
            async for note in operation.notes():
                found += operation.understood(frames.variables, note)
        return tuple(sorted(found, key=lambda variable: variable.name))

    # -- checkpoints

    async def checkpoint(self, part: Part, sink: Sink, known: Collection[str] = ()) -> Saved:
        """See `sandbox.Session.checkpoint`."""
        report, room, pieces, fresh = _Report(), self._limits.memory, 0, 0
        patience = _STUCK if part == "variables" else _ANSWER
        names = frozenset(itertools.islice(known, _PIECES))
        async with self._operation(f"save_{part}", known=sorted(names)) as operation:
            try:
                async for frame in operation.frames(patience):
                    if frame.type == wire.DATA:
                        room -= len(frame.payload)
                        fresh += len(frame.payload)
                        await sink.write(frame.payload)
                    elif (name := operation.understood(report.note, operation.value(frame))) is not None:
                        pieces += 1
                        if name and not fresh and name not in names:
                            raise SandboxLost(_SILENT)  # a piece of nothing
                        fresh = 0
                        await sink.piece(name)
                    if room < 0 or pieces > _PIECES:
                        raise SandboxLost(_SILENT)  # it gives more than it can hold
            except TimeoutError:
                await sink.piece("")  # the copy that pickles is stuck; what it had not finished is named below
            count = operation.result.get("files")
        if part == "files":
            if not isinstance(count, int):
                raise SandboxLost(_SILENT)
            return Saved(0, count, tuple(report.lost))
        self.emptied |= (await self._link.ping(_ANSWER)).emptied
        missing = report.missing("keeping it took too long or ended Python's copy")
        return Saved(len(report.kept), 0, (*report.lost, *missing))

    async def restore(self, checkpoint: Checkpoint) -> None:
        """Bring a checkpoint back into this fresh session; what cannot be brought back is named in `restored`."""
        self.origin = "restored"
        files, count = await self._restore_files(checkpoint)
        variables = await self._restore_variables(checkpoint, ())
        self.restored = Restored(len(variables.kept), count, (*files.lost, *variables.lost))

    async def reload(self, from_: Checkpoint | None, cells: Sequence[str] = ()) -> Restored:
        """See `sandbox.Session.reload`."""
        report = await self._restore_variables(from_, cells)
        self.emptied = False
        gone = [name for name in report.gone if name not in report.kept]
        return Restored(len(report.kept), 0, tuple(report.lost), tuple(gone))

    async def _restore_files(self, checkpoint: Checkpoint) -> tuple["_Report", int]:
        report = _Report()
        async with self._operation("load_files") as operation:
            await operation.pour(_whole(checkpoint.files(), "files", report), report.note)
            count = operation.result.get("files")
        report.settle("files", "workspace")
        return report, count if isinstance(count, int) else 0

    async def _restore_variables(self, checkpoint: Checkpoint | None, cells: Sequence[str]) -> "_Report":
        """A variable that ends Python while it is brought back is left out at the next try."""
        whole = _Report()
        cells = _fitting(cells)
        for attempt in range(_TRIES):
            report = _Report()
            chunks = _whole(checkpoint.variables(), "variables", report) if checkpoint else _nothing()
            skip = sorted(whole.suspects)
            async with self._operation("load_variables", skip=skip, cells=cells) as operation:
                stuck = await operation.pour(chunks, report.note, _STUCK, self._nudge)
            report.settle("variables", "variables")
            whole.merge(report)
            if "cut" not in operation.result and not stuck:
                return whole
            whole.kept.clear()
            if report.trying:
                whole.suspects.add(report.trying)
                whole.lost.append(Loss(report.trying, "bringing it back ended Python or took too long"))
            await self._link.ping(_ANSWER)
            await self._link.ready(_ANSWER)
            if attempt == _TRIES - 1:
                whole.lost.append(Loss("variables", "too many of them could not be brought back"))
        return whole

    async def _nudge(self) -> None:
        await self._interrupt("interrupted", self._limits.grace)

    async def close(self) -> None:
        """See `sandbox.Session.close`."""
        await self._remove()


class _Operation:
    """One file or set of variables on the move."""

    def __init__(self, link: Link, op: int, inbox: Inbox, give_up: Callable[[], Awaitable[None]]) -> None:
        self._link, self._op, self._inbox, self._give_up = link, op, inbox, give_up
        self._credit = wire.WINDOW
        self.over = False
        self.result: dict[str, Any] = {}

    async def _next(self, seconds: float = _ANSWER) -> wire.Frame:
        try:
            frame = await self._inbox.get(self._link.loop_time + seconds)
        except TimeoutError:
            if seconds != _ANSWER:
                raise
            await self._give_up()
            raise
        if frame.type == wire.DONE:
            self.over = True
            self.result = self.understood(lambda value: value, self.value(frame))
        elif frame.type == wire.REFUSED:
            self.over = True
            raise FileRefused(str(self.value(frame).get("why", "the sandbox refused"))[:1000])
        elif frame.type == wire.CREDIT:
            self._credit += self.understood(lambda value: frames.count(frame.payload, "bytes"), {})
        return frame

    def value(self, frame: wire.Frame) -> dict[str, Any]:
        """The JSON object in a frame."""
        value: dict[str, Any] = self.understood(lambda _: frames.json_object(frame.payload), {})
        return value

    def understood(self, read: Callable[[dict[str, Any]], Any], value: dict[str, Any]) -> Any:
        """What `read` makes of it; a sandbox that talks nonsense is lost."""
        try:
            return read(value)
        except ProtocolError as error:
            raise SandboxLost(_SILENT) from error

    async def note(self) -> dict[str, Any]:
        """The one note that says the sandbox is ready for this."""
        while not self.over:
            frame = await self._next()
            if frame.type == wire.NOTE:
                return self.value(frame)
        raise FileRefused("The sandbox stopped this; try again.")

    async def notes(self) -> AsyncGenerator[dict[str, Any], None]:
        """All notes up to the end."""
        while not self.over:
            frame = await self._next()
            if frame.type == wire.NOTE:
                yield self.value(frame)

    async def frames(self, seconds: float = _ANSWER) -> AsyncGenerator[wire.Frame, None]:
        """Data, acknowledged as it is taken, and notes. Raises TimeoutError where `seconds` are not the usual ones."""
        while not self.over:
            frame = await self._next(seconds)
            if frame.type in (wire.DATA, wire.NOTE):
                yield frame
            if frame.type == wire.DATA:
                await self._link.send(wire.CREDIT, self._op, wire.pack({"bytes": len(frame.payload)}))

    async def read(self) -> AsyncGenerator[bytes, None]:
        """The bytes that come."""
        async for frame in self.frames():
            if frame.type == wire.DATA:
                yield frame.payload

    async def write(self, data: bytes) -> None:
        """Send bytes as credit allows."""
        view = memoryview(data)
        while view and not self.over:
            piece, view = view[: wire.CHUNK], view[wire.CHUNK :]
            while self._credit < len(piece) and not self.over:
                await self._next()
            self._credit -= len(piece)
            await self._link.send(wire.DATA, self._op, bytes(piece))

    async def end(self) -> None:
        """There are no more bytes."""
        await self._link.send(wire.END, self._op)

    async def finish(self) -> dict[str, Any]:
        """Wait for the end."""
        while not self.over:
            await self._next()
        return self.result

    async def pour(
        self,
        chunks: AsyncGenerator[bytes, None],
        note: Callable[[dict[str, Any]], object],
        seconds: float = _ANSWER,
        nudge: Callable[[], Awaitable[None]] | None = None,
    ) -> bool:
        """Send everything while notes come back; True when it had to be given up.

        `nudge` is called after `seconds` without a sign of life, up to 50 times.
        """
        nudges = 0

        async def step() -> bool:
            nonlocal nudges
            try:
                frame = await self._next(seconds)
            except TimeoutError:
                nudges += 1
                if nudge is None or nudges > 50:
                    return False
                await nudge()
                return True
            if frame.type == wire.NOTE:
                self.understood(note, self.value(frame))
            return True

        async with aclosing(chunks):
            async for chunk in chunks:
                while self._credit < len(chunk) and not self.over:
                    if not await step():
                        return True
                if self.over:
                    return False
                self._credit -= len(chunk)
                await self._link.send(wire.DATA, self._op, chunk)
        await self.end()
        while not self.over:
            if not await step():
                return True
        return False

    async def cancel(self) -> None:
        """Nobody wants it any more."""
        try:
            await self._link.send(wire.CANCEL, self._op)
            while not self.over:
                await self._next()
        except (FileRefused, SandboxLost, TimeoutError):
            pass  # over all the same


class _Report:
    """What came of each variable, gathered from notes."""

    def __init__(self) -> None:
        self.plan: list[str] = []
        self.kept: set[str] = set()
        self.modules: set[str] = set()
        self.lost: list[Loss] = []
        self.gone: list[str] = []
        self.damage: str = ""
        self.trying = ""
        self.suspects: set[str] = set()

    def note(self, value: dict[str, Any]) -> str | None:
        """Take one in; the name of the piece that it ends. Raises `ProtocolError`."""
        if "piece" in value:
            return frames.piece(value)
        if "plan" in value:
            self.plan += frames.names(value, "plan")[: 10_000 - len(self.plan)]
        elif "lost" in value:
            self.lost += frames.losses(value)[: 10_000 - len(self.lost)]
        elif "kept" in value and len(self.kept) < 10_000:
            (self.modules if value.get("module") is True else self.kept).add(frames.name(value, "kept"))
        elif "gone" in value:
            self.gone += frames.names(value, "gone")[: 1000 - len(self.gone)]
        elif "trying" in value:
            self.trying = frames.name(value, "trying")
        return None

    def missing(self, why: str) -> list[Loss]:
        """What was planned and of which nothing was heard."""
        heard = self.kept | self.modules | {loss.name for loss in self.lost}
        return [Loss(name, why) for name in self.plan if name not in heard]

    def settle(self, name: str, symptom: str) -> None:
        """A stream that was damaged on the host: its reason counts, not what the sandbox could see of it."""
        if self.damage:
            self.lost = [Loss(name, self.damage), *(loss for loss in self.lost if loss.name != symptom)]

    def merge(self, other: "_Report") -> None:
        """The last try counts for what was kept; what was lost stays named once."""
        self.kept, self.gone = other.kept, other.gone
        known = {loss.name for loss in self.lost}
        self.lost += [loss for loss in other.lost if loss.name not in known]


async def _whole(chunks: AsyncGenerator[bytes, None], name: str, report: _Report) -> AsyncGenerator[bytes, None]:
    """The chunks, as long as they are what was given out; that they are not is noted."""
    async with aclosing(chunks):
        try:
            async for chunk in chunks:
                for at in range(0, len(chunk), wire.CHUNK):
                    yield chunk[at : at + wire.CHUNK]
        except Damaged as damage:
            report.damage = str(damage)


async def _nothing() -> AsyncGenerator[bytes, None]:
    for chunk in tuple[bytes, ...]():
        yield chunk


def _fitting(cells: Sequence[str]) -> list[str]:
    """The last of the cells, as many as a frame holds."""
    room, fitting = _CELLS, []
    for code in reversed(cells):
        room -= len(code)
        if room < 0:
            break
        fitting.append(code)
    return fitting[::-1]


def _request(id: str, code: str, limits: Limits) -> dict[str, Any]:
    """The supervisor's own deadline is a second later: it holds when no host is there to say so."""
    return {
        "id": id,
        "code": code,
        "seconds": limits.seconds + 1.0,
        "grace": limits.grace,
        "files": limits.files,
        "output": limits.output,
    }


def _too_long(size: int) -> tuple[Output, ...]:
    message = f"The code has {size:,} bytes; a cell may have {wire.MAX_PAYLOAD:,}. Put data into a file instead."
    return Started(), Raised("ValueError", message, f"ValueError: {message}"), Ended("raised", 0.0)
