"""One sandbox session a thread: opened when needed, checkpointed when changed, closed when idle. A thread never forgets."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from weakref import WeakValueDictionary

import structlog

from bot.errors import CellmateError
from bot.ports import Files, Journal, Writer
from bot.seal import SealedWriter, nonce, opened
from bot.types import Blob, Kept, Piece, ThreadRef
from sandbox import (
    GIB,
    Checkpoint,
    Damaged,
    Egress,
    Engine,
    Loss,
    Part,
    Restored,
    SandboxError,
    SandboxLost,
    Saved,
    Session,
    Spec,
)

log = structlog.get_logger()

EVERY = 3600.0
"""Seconds between two looks at what is kept on disk."""
PARTS: tuple[Part, Part] = ("files", "variables")
NOT_IN_TIME = Loss("the newest variables", "they were lost before they could be saved")
EXPIRED = "Nobody had come to this thread for long, so its files and variables were removed; it starts afresh."
AT_RISK = (
    "The files and variables of the answer before could not all be saved outside the sandbox; they last only while it runs."
)
NAMES = 8
"""Names and losses that one sentence spells out."""


@dataclass(slots=True)
class _Held:
    session: Session
    changed: set[Part] = field(default_factory=set)
    used: float = field(default_factory=time.monotonic)
    users: int = 0
    turn: str = ""
    """The turn that used it last."""
    resting: bool = False
    news: str = ""
    """What whoever comes next has to be told."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long, how many, how much. Seconds and bytes."""

    idle: float = 900.0
    """Without use for so long, a session is checkpointed and closed."""
    pause: float = 60.0
    """Without use for so long, it is paused."""
    most: int = 16
    """Sessions that are open at once; for one more, the longest idle is closed."""
    memory: int = 0
    """Of all sessions together; over it, the longest idle is closed. 0: three quarters of what the engine's machine has."""
    disk: int = 20 * GIB
    """Of all checkpoints together; over it, those of the threads asleep for longest are removed."""
    keep: float = 30 * 86_400.0
    """Checkpoints of a thread that nobody has come to for so long are removed. 0: never."""


class Sessions:
    """The threads' sessions. Calls about one thread wait for each other; threads do not."""

    def __init__(
        self,
        engine: Engine,
        spec: Spec,
        files: Files,
        journal: Journal,
        bounds: Bounds,
        reach: Callable[[ThreadRef], Egress] = lambda thread: Egress(),
    ) -> None:
        """`reach`: what a thread's code may reach."""
        self.spec = spec
        self.reach = reach
        self._engine, self._files, self._journal, self._bounds = engine, files, journal, bounds
        self._held: dict[ThreadRef, _Held] = {}
        self._engaged: Counter[ThreadRef] = Counter()
        self._opening: set[asyncio.Task[None]] = set()
        self._locks: WeakValueDictionary[ThreadRef, asyncio.Lock] = WeakValueDictionary()
        self._damaged: set[ThreadRef] = set()
        """Threads of whose last checkpoint not every piece can be relied on."""
        self._key: bytes | None = None
        self._memory = bounds.memory

    @asynccontextmanager
    async def use(self, thread: ThreadRef, turn: str = "") -> AsyncIterator[Session]:
        """The thread's session, restored from its checkpoint if it is not running. It is not closed while in use.

        `turn` is whose checkpoint the next one will be. Raises `SandboxDown`. A block that ends with `SandboxLost` makes the
        next use open the session anew.
        """
        held = await self._open(thread)
        held.users += 1
        held.changed.update(PARTS)
        held.turn = turn or held.turn
        try:
            yield held.session
        except SandboxLost:
            await self._discard(thread, held)
            raise
        finally:
            held.users -= 1
            held.used = time.monotonic()

    @asynccontextmanager
    async def engaged(self, thread: ThreadRef) -> AsyncIterator[None]:
        """While a turn of the thread is carried out: its session is opened beside that, and neither paused nor closed.

        What fails here fails again where the session is needed, and is said there.
        """
        self._engaged[thread] += 1
        # Nobody waits for it at the end of a turn that needed no session: the next one has it.
        opening = asyncio.create_task(self._prepare(thread), name="session, beside the model")
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        try:
            yield
        finally:
            self._engaged[thread] -= 1
            if not self._engaged[thread]:
                del self._engaged[thread]

    async def _prepare(self, thread: ThreadRef) -> None:
        with suppress(SandboxError, CellmateError, OSError):
            await self._open(thread)

    def news(self, thread: ThreadRef) -> str:
        """What could not be kept or brought back since somebody was told; empty when there is nothing to tell."""
        held = self._held.get(thread)
        if held is None:
            return ""
        news, held.news = held.news, ""
        return news

    async def mend(self, thread: ThreadRef, cells: Sequence[str]) -> str:
        """Where the variables went with a kernel: bring back those of the last checkpoint. What to say of it, else empty.

        `cells`: the code that ran since that checkpoint. Raises `SandboxError`.
        """
        if thread not in self._held:
            return ""  # perhaps it is just being opened: nothing has been done in it
        async with self._lock(thread):
            held = self._held.get(thread)
            if held is None or not held.session.emptied:
                return ""
            return await self._reload(thread, held.session, cells)

    async def save(self, thread: ThreadRef, *parts: Part) -> None:
        """Checkpoint what has changed of these parts (none named: of both). Raises `SandboxError`, `CellmateError`, OSError."""
        if thread not in self._held:
            return
        async with self._lock(thread):
            held = self._held.get(thread)
            wanted = [part for part in parts or PARTS if held and part in held.changed]
            if held is None or not wanted:
                return
            held.changed.difference_update(wanted)
            try:
                if held.session.emptied:
                    held.news = await self._reload(thread, held.session, ())
                await self._checkpoint(thread, held, wanted)
            except BaseException:
                held.changed.update(wanted)
                held.news = AT_RISK
                raise

    async def forget(self, thread: ThreadRef) -> None:
        """Drop the thread's files and variables, inside and out."""
        async with self._lock(thread):
            await self._end(thread)
            await self._remove(await self._journal.forget(thread))

    async def rewind(self, thread: ThreadRef, before: str) -> bool:
        """Set files and variables back to what they were when the turn `before` was asked.

        False where that is no longer kept: then nothing has changed. Raises `SandboxError`, `CellmateError`.
        """
        async with self._lock(thread):
            kept = await self._journal.checkpoint(thread, before)
            if kept is not None and kept.gone:
                return False
            await self._end(thread)
            await self._remove(await self._journal.rewind(thread, before))
            return True

    async def take_over(self) -> None:
        """Hold what an earlier process left running, so that it is saved and put to sleep like the rest."""
        try:
            for key in await self._engine.running():
                await self._open(ThreadRef.parse(key))
        except SandboxError as problem:
            log.info("nothing taken over", problem=str(problem))

    async def tend(self) -> None:
        """Pause and close what is idle, and keep within the bounds, until cancelled."""
        bounds, cleared = self._bounds, -EVERY
        while True:
            now = time.monotonic()
            for thread, held in list(self._held.items()):
                if not self._idle(thread, held):
                    continue
                if now - held.used > bounds.idle:
                    await self._hibernate(thread)
                elif not held.resting and now - held.used > bounds.pause:
                    await self._rest(thread)
            try:
                await self._shed()
                if now - cleared > EVERY:
                    cleared = now
                    await self._clear()
            except (SandboxError, CellmateError) as problem:
                log.warning("bounds not looked at", problem=str(problem))
            await asyncio.sleep(min(bounds.idle / 4, bounds.pause / 4, 15.0))

    async def close(self) -> list[ThreadRef]:
        """Checkpoint and close every session; returns the threads whose state could not be saved (they stay running)."""
        for opening in (tasks := set(self._opening)):
            opening.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        threads = list(self._held)
        await asyncio.gather(*map(self._hibernate, threads))
        return [thread for thread in threads if thread in self._held]

    # --- Opening and closing -------------------------------------------------------------------------------------------

    async def _open(self, thread: ThreadRef) -> _Held:
        async with self._lock(thread):
            held = self._held.get(thread)
            if held is None:
                await self._make_room()
            kept = await self._journal.checkpoint(thread)
            # Asked each time: a container that has gone since is replaced here, before anybody runs into it.
            session = await self._engine.session(str(thread), self._spec(thread), await self._source(thread, kept))
            if held is None or held.session is not session:
                log.info("session opened", thread=str(thread), origin=session.origin)
                held = self._held[thread] = _Held(session, news=_news(kept, session))
                if session.origin == "adopted":
                    held.changed.update(PARTS)
            held.resting = False
            if session.emptied and not held.users:  # whoever has just run a cell in it mends it, and says so at once
                held.news = await self._reload(thread, session, ())
            return held

    async def _make_room(self) -> None:
        """Hibernate the longest idle session when the most are open; running ones are never ended for another's sake."""
        if len(self._held) >= self._bounds.most and (idle := self._longest_idle()):
            await self._hibernate(idle[0])

    async def _shed(self) -> None:
        """Hibernate the longest idle sessions while all of them use more memory than they may."""
        if not self._held:
            return
        self._memory = self._memory or (await self._engine.about()).memory * 3 // 4
        for thread in self._longest_idle():
            if await self._engine.memory() <= self._memory:
                return
            log.info("put to sleep for want of memory", thread=str(thread))
            await self._hibernate(thread)

    def _longest_idle(self) -> list[ThreadRef]:
        idle = [(held.used, str(thread), thread) for thread, held in self._held.items() if self._idle(thread, held)]
        return [thread for _, _, thread in sorted(idle)]

    def _idle(self, thread: ThreadRef, held: _Held) -> bool:
        return not held.users and thread not in self._engaged

    async def _rest(self, thread: ThreadRef) -> None:
        async with self._lock(thread):
            if (held := self._held.get(thread)) and self._idle(thread, held):
                held.resting = True
                await held.session.rest()

    async def _clear(self) -> None:
        """Remove checkpoints that nobody has come back to for too long, and the oldest of those that take too much room."""
        bounds, now = self._bounds, datetime.now(UTC)
        if bounds.keep:
            for thread in await self._journal.asleep(now - timedelta(seconds=bounds.keep)):
                await self._let_go(thread)
        for thread in await self._journal.asleep(now):
            if await self._journal.weight() <= bounds.disk:
                return
            await self._let_go(thread)

    async def _let_go(self, thread: ThreadRef) -> None:
        async with self._lock(thread):
            if thread not in self._held:
                log.info("checkpoints removed", thread=str(thread))
                await self._remove(await self._journal.expire(thread))

    async def _hibernate(self, thread: ThreadRef) -> None:
        try:
            await self.save(thread)
        except (SandboxError, CellmateError, OSError) as problem:
            log.warning("session not saved, left running", thread=str(thread), problem=str(problem))
            return
        async with self._lock(thread):
            if (held := self._held.get(thread)) and self._idle(thread, held) and not held.changed:
                del self._held[thread]
                await held.session.close()

    async def _discard(self, thread: ThreadRef, held: _Held) -> None:
        async with self._lock(thread):
            if self._held.get(thread) is held:
                del self._held[thread]
                await held.session.close()

    async def _end(self, thread: ThreadRef) -> None:
        """Close the thread's session, also one that an earlier process left running and nobody has asked for yet."""
        held = self._held.pop(thread, None)
        if held is not None:
            await held.session.close()
        elif str(thread) in await self._engine.running():
            await (await self._engine.session(str(thread), self.spec)).close()

    def _spec(self, thread: ThreadRef) -> Spec:
        return replace(self.spec, egress=self.reach(thread))

    def _lock(self, thread: ThreadRef) -> asyncio.Lock:
        return self._locks.setdefault(thread, asyncio.Lock())

    # --- Checkpoints ---------------------------------------------------------------------------------------------------

    async def _checkpoint(self, thread: ThreadRef, held: _Held, wanted: Sequence[Part]) -> None:
        before = await self._journal.checkpoint(thread) or Kept("", (), Saved(0, 0), Saved(0, 0))
        known = () if thread in self._damaged else before.pieces
        keeping = _Keeping(self._files, await self._secret(), thread, known)
        pieces = {part: [piece for piece in before.pieces if piece.part == part] for part in PARTS}
        saved = {"files": before.files, "variables": before.variables}
        async with aclosing(keeping):
            for part in wanted:
                saved[part] = await held.session.checkpoint(part, keeping, keeping.begin(part))
                if part == "variables" and held.session.emptied:  # between two cells, unnoticed until now
                    held.news = await self._reload(thread, held.session, ())
                    saved[part] = await held.session.checkpoint(part, keeping, keeping.begin(part))
                pieces[part] = keeping.pieces
            if "variables" in held.changed:
                saved["variables"] = replace(before.variables, lost=(NOT_IN_TIME,))
            kept = Kept(held.turn or before.turn, (*pieces["files"], *pieces["variables"]), saved["files"], saved["variables"])
            unneeded = await self._journal.save(thread, kept)
            keeping.new.clear()
        if "variables" in wanted:
            self._damaged.discard(thread)
        await self._remove(unneeded)

    async def _source(self, thread: ThreadRef, kept: Kept | None) -> Checkpoint | None:
        """A checkpoint as a sandbox takes it; each byte is checked before it is handed out."""
        if kept is None or kept.gone:
            return None
        key = await self._secret()

        def part(name: Part) -> Callable[[], AsyncGenerator[bytes, None]]:
            return lambda: self._part(key, thread, [piece for piece in kept.pieces if piece.part == name])

        return Checkpoint(part("files"), part("variables"))

    async def _part(self, key: bytes, thread: ThreadRef, pieces: Sequence[Piece]) -> AsyncGenerator[bytes, None]:
        for piece in pieces:
            try:
                async with aclosing(opened(self._files.open(piece.blob), key, thread, piece.nonce)) as chunks:
                    async for chunk in chunks:
                        yield chunk
            except FileNotFoundError:
                log.error("piece of a checkpoint missing", thread=str(thread), digest=piece.blob.digest)
                self._damaged.add(thread)
                raise Damaged("a part of it is missing on the disk") from None
            except Damaged:
                log.error("piece of a checkpoint refused", thread=str(thread), digest=piece.blob.digest)
                self._damaged.add(thread)
                raise

    async def _reload(self, thread: ThreadRef, session: Session, cells: Sequence[str]) -> str:
        kept = await self._journal.checkpoint(thread)
        source = await self._source(thread, kept)
        return _mended(await session.reload(source, cells), known=source is not None)

    async def _remove(self, blobs: Sequence[Blob]) -> None:
        for blob in blobs:
            with suppress(OSError):
                await self._files.remove(blob)

    async def _secret(self) -> bytes:
        self._key = self._key or await self._journal.key()
        return self._key


class _Keeping:
    """`sandbox.Sink` into the files store. Closed before `new` is cleared, it takes back what it has stored."""

    def __init__(self, files: Files, key: bytes, thread: ThreadRef, known: Sequence[Piece]) -> None:
        self._files, self._key, self._thread, self._known = files, key, thread, known
        self._part: Part = "files"
        self._names: dict[str, Piece] = {}
        self._open = AsyncExitStack()
        self._piece: tuple[Writer, SealedWriter, str] | None = None
        self.pieces: list[Piece] = []
        self.new: list[Blob] = []

    def begin(self, part: Part) -> list[str]:
        """Take this part next; the names of its pieces that are there already."""
        self._part, self.pieces = part, []
        self._names = {piece.name: piece for piece in self._known if piece.part == part}
        return list(self._names)

    async def write(self, data: bytes) -> None:
        """See `sandbox.Sink.write`. Raises OSError when the disk is full."""
        if self._piece is None:
            writer, number = await self._open.enter_async_context(self._files.writer()), nonce()
            self._piece = writer, SealedWriter(writer, self._key, self._thread, number), number
        await self._piece[1].write(data)

    async def piece(self, name: str) -> None:
        """See `sandbox.Sink.piece`. Raises OSError when the disk is full."""
        if self._piece is None:
            if name:
                self.pieces.append(self._names[name])
            return
        writer, sealed, number = self._piece
        if name:
            await sealed.end()
            blob = await writer.blob()
            self.new.append(blob)
            self.pieces.append(Piece(self._part, name, blob, number))
        await self._drop()

    async def _drop(self) -> None:
        self._piece = None
        await self._open.aclose()

    async def aclose(self) -> None:
        await self._drop()
        for blob in self.new:
            with suppress(OSError):
                await self._files.remove(blob)


# --- What is said ---------------------------------------------------------------------------------------------------


def _news(kept: Kept | None, session: Session) -> str:
    """What a session that was opened anew has to tell: what could not be kept, and what could not be brought back."""
    if kept is not None and kept.gone:
        return EXPIRED if session.origin == "fresh" else ""
    restored = session.restored
    if kept is None or restored is None:
        return ""
    unkept = _losses((*kept.files.lost, *kept.variables.lost), "could not be kept")
    unrestored = _losses(restored.lost, "could not be brought back")
    if not unkept and not unrestored:
        return ""
    what = f"Restored {_number(restored.variables, 'variable')} and {_number(restored.files, 'file')}"
    return "; ".join((what, *unkept, *unrestored)) + "."


def _mended(restored: Restored, *, known: bool) -> str:
    gone = _list(restored.gone)
    if not known:
        return f"The variables are lost: {gone}." if gone else "The variables are lost."
    parts = ["Variables are as they were at the end of the previous answer"]
    if gone:
        parts.append(f"{gone} of this one {'is' if len(restored.gone) == 1 else 'are'} lost")
    return "; ".join((*parts, *_losses(restored.lost, "could not be brought back"))) + "."


def _losses(losses: Sequence[Loss], verb: str) -> list[str]:
    said = [f"{loss.name} {verb} ({loss.why})" for loss in losses[:NAMES]]
    if len(losses) > NAMES:
        said.append(f"{len(losses) - NAMES} more {verb}")
    return said


def _list(names: Sequence[str]) -> str:
    shown = [*names[:NAMES], *([f"{len(names) - NAMES} more"] if len(names) > NAMES else [])]
    return " and ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:])))


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
