"""One sandbox session a thread: opened when needed, checkpointed when changed, closed when idle. A thread never forgets."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import structlog

from bot.ports import Files, Journal
from bot.types import Blob, ThreadRef
from sandbox import Checkpoint, Engine, SandboxError, SandboxLost, Saved, Session, Spec

log = structlog.get_logger()


@dataclass(slots=True)
class _Held:
    session: Session
    changed: bool = False
    used: float = field(default_factory=time.monotonic)
    users: int = 0


class Sessions:
    """The threads' sessions. Calls about one thread wait for each other; threads do not."""

    def __init__(self, engine: Engine, spec: Spec, files: Files, journal: Journal, *, idle: float, most: int) -> None:
        """`idle`: seconds without use after which a session is checkpointed and closed; `most`: how many may be open."""
        self.spec = spec
        self._engine, self._files, self._journal = engine, files, journal
        self._idle, self._most = idle, most
        self._held: dict[ThreadRef, _Held] = {}
        self._locks: WeakValueDictionary[ThreadRef, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def use(self, thread: ThreadRef) -> AsyncIterator[Session]:
        """The thread's session, restored from its checkpoint if it is not running. It is not closed while in use.

        Raises `SandboxDown`. A block that ends with `SandboxLost` makes the next use open the session anew.
        """
        held = await self._open(thread)
        held.users += 1
        held.changed = True
        try:
            yield held.session
        except SandboxLost:
            await self._discard(thread, held)
            raise
        finally:
            held.users -= 1
            held.used = time.monotonic()

    async def save(self, thread: ThreadRef) -> Saved | None:
        """Checkpoint the thread if anything was done in it since; None when nothing was. Raises `SandboxError`, OSError."""
        async with self._lock(thread):
            held = self._held.get(thread)
            if held is None or not held.changed:
                return None
            async with self._files.writer() as writer:
                await writer.write(_header(thread))
                saved = await held.session.checkpoint(writer.write)
                blob = await writer.blob()
            await self._replace(blob, await self._journal.save(thread, blob, saved))
            held.changed = False
            return saved

    async def forget(self, thread: ThreadRef) -> None:
        """Drop the thread's files and variables, inside and out."""
        async with self._lock(thread):
            if held := self._held.pop(thread, None):
                await held.session.close()
            if old := await self._journal.forget(thread):
                await self._files.remove(old)

    async def take_over(self) -> None:
        """Hold what an earlier process left running, so that it is saved and put to sleep like the rest."""
        try:
            for key in await self._engine.running():
                await self._open(ThreadRef.parse(key))
        except SandboxError as problem:
            log.info("nothing taken over", problem=str(problem))

    async def tend(self) -> None:
        """Close what has been idle too long, until cancelled."""
        while True:
            await asyncio.sleep(min(self._idle / 4, 30.0))
            now = time.monotonic()
            for thread, held in list(self._held.items()):
                if not held.users and now - held.used > self._idle:
                    await self._hibernate(thread)

    async def close(self) -> list[ThreadRef]:
        """Checkpoint and close every session; returns the threads whose state could not be saved (they stay running)."""
        threads = list(self._held)
        await asyncio.gather(*map(self._hibernate, threads))
        return [thread for thread in threads if thread in self._held]

    async def _open(self, thread: ThreadRef) -> _Held:
        async with self._lock(thread):
            held = self._held.get(thread)
            if held is None:
                await self._make_room()
            blob = await self._journal.checkpoint(thread)
            source = self._source(thread, blob) if blob else None
            # Asked each time: a container that has gone since is replaced here, before anybody runs into it.
            session = await self._engine.session(str(thread), self.spec, source)
            if held is not None and held.session is session:
                return held
            log.info("session opened", thread=str(thread), origin=session.origin)
            held = self._held[thread] = _Held(session, changed=session.origin == "adopted")
            return held

    def _source(self, thread: ThreadRef, blob: Blob) -> Checkpoint:
        """The checkpoint in a blob of ours. Another thread's reads as empty, which a sandbox reports as a loss."""
        header = _header(thread)

        async def chunks() -> AsyncIterator[bytes]:
            head = b""
            async with aclosing(self._files.open(blob)) as stored:
                async for chunk in stored:
                    if head == header:
                        yield chunk
                        continue
                    need = len(header) - len(head)
                    head, rest = head + chunk[:need], chunk[need:]
                    if len(head) == len(header) and head != header:
                        log.error("checkpoint of another thread refused", thread=str(thread), digest=blob.digest)
                        return
                    if rest:
                        yield rest

        return Checkpoint(blob.size - len(header), chunks)

    async def _make_room(self) -> None:
        """Hibernate the longest idle session when the most are open; running ones are never ended for another's sake."""
        if len(self._held) < self._most:
            return
        idle = sorted((held.used, str(thread), thread) for thread, held in self._held.items() if not held.users)
        if idle:
            await self._hibernate(idle[0][2])

    async def _hibernate(self, thread: ThreadRef) -> None:
        try:
            await self.save(thread)
        except (SandboxError, OSError) as problem:
            log.warning("session not saved, left running", thread=str(thread), problem=str(problem))
            return
        async with self._lock(thread):
            if (held := self._held.get(thread)) and not held.users and not held.changed:
                del self._held[thread]
                await held.session.close()

    async def _discard(self, thread: ThreadRef, held: _Held) -> None:
        async with self._lock(thread):
            if self._held.get(thread) is held:
                del self._held[thread]
                await held.session.close()

    async def _replace(self, new: Blob, old: Blob | None) -> None:
        if old is not None and old.digest != new.digest:
            with suppress(OSError):
                await self._files.remove(old)

    def _lock(self, thread: ThreadRef) -> asyncio.Lock:
        return self._locks.setdefault(thread, asyncio.Lock())


def _header(thread: ThreadRef) -> bytes:
    """What every checkpoint begins with on disk: no two threads' blobs are alike, so none is removed or read for another's."""
    return f"{thread}\n".encode()
