"""`Chat` on the page."""

import asyncio
import contextlib
import getpass
import os
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any
from urllib.parse import quote

import structlog
import uvicorn

from adapters.web import names, render
from adapters.web.guard import Guard, invitation, sign
from adapters.web.server import application
from adapters.web.store import Entry, Store
from bot.errors import ConfigError, Refused
from bot.ports import Files, Inbox, Setup
from bot.types import Attachment, Blob, Card, Question, Receipt, ThreadRef

log = structlog.get_logger()

PACE = 0.05
"""Seconds between two looks at what has changed: as fast as an eye follows."""
HEARTBEAT = 15.0
"""Seconds after which a browser that hears nothing is sent an empty line, so that either side notices a dead connection."""


class Web:
    """The page as a `Chat`."""

    name = names.NAME

    def __init__(self, store: Store, files: Files, key: bytes, port: int, most: int) -> None:
        """`most`: bytes of the largest upload."""
        self.store, self.files, self.most = store, files, most
        self._key, self._port = key, port
        self._live: dict[str, tuple[str, Card]] = {}
        self._watchers: set[_Watcher] = set()
        self._closing = asyncio.Event()
        self.setup: Setup | None = None

    # --- Chat ----------------------------------------------------------------------------------------------------------

    def attend(self, setup: Setup) -> None:
        """See `Chat`."""
        self.setup = setup

    async def listen(self, inbox: Inbox) -> None:
        """See `Chat.listen`. Raises `ConfigError` when the port is taken."""
        for entry in await self.store.unanswered():
            assert entry.question is not None, "what has no card has a question"
            await inbox.accept(entry.question)  # one that a crash kept from the inbox; the others are known there
        server = _Server(
            uvicorn.Config(
                Guard(application(self, inbox), self._key, self._port),
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=2,
            )
        )
        with _bound(self._port) as listening:
            host, user = socket.gethostname(), _user()
            print(invitation(self._port, self._key, user, host, os.environ), file=sys.stderr, flush=True)
            serving = asyncio.create_task(server.serve(sockets=[listening]), name="page")
            watching = asyncio.create_task(self._watch_setup(), name="set-up on the page")
            try:
                await asyncio.shield(serving)
            finally:
                watching.cancel()
                self._closing.set()
                server.should_exit = True
                await asyncio.wait({serving, watching})

    async def _watch_setup(self) -> None:
        if self.setup is not None:
            async for _ in self.setup.changes():
                for watcher in self._watchers:
                    watcher.wake()
                await asyncio.sleep(PACE)

    async def show(self, thread: ThreadRef, card: Card, receipt: Receipt | None) -> Receipt:
        """See `Chat.show`. A card is durable when it is the first or the last of its turn; those between are live."""
        first = card.turn not in self._live
        self._live[card.turn] = thread.thread, card
        if first or card.final:
            await self.store.show(thread.thread, card)
        if card.final:
            del self._live[card.turn]
        self.changed(thread.thread, card.turn)
        return Receipt(files={file.name: "delivered" for file in card.files} if card.final else {}, data={"shown": True})

    async def fetch(self, attachment: Attachment) -> AsyncGenerator[bytes, None]:
        """See `Chat.fetch`."""
        try:
            async with aclosing(self.files.open(Blob(attachment.locator["digest"], attachment.size))) as chunks:
                async for chunk in chunks:
                    yield chunk
        except FileNotFoundError:
            raise Refused(f"{attachment.name} is no longer there. Attach it again.") from None

    async def context(self, question: Question) -> Sequence[str]:
        """Nothing is said here but questions."""
        return ()

    # --- What the page sees --------------------------------------------------------------------------------------------

    def address(self, name: str, media_type: str, blob: Blob) -> str:
        """Where these bytes are served: an address that cannot be guessed, and that says all there is to know of them."""
        return f"/files/{self.seal(name, media_type, blob)}/{blob.digest}/{blob.size}/{media_type}?" + quote(name)

    def seal(self, name: str, media_type: str, blob: Blob) -> str:
        """The part of an address that only this page can have made."""
        return sign(self._key, "file", name, media_type, blob.digest, str(blob.size))

    def view(self, entry: Entry) -> dict[str, Any]:
        """A message as it is now."""
        _, card = self._live.get(entry.turn, (None, entry.card))
        return render.entry(entry, card, self.address)

    async def threads(self) -> list[dict[str, Any]]:
        """The list at the side, newest first."""
        busy = {thread for thread, _ in self._live.values()}
        return [{"id": t.id, "title": t.title, "busy": t.id in busy} for t in await self.store.threads()]

    async def thread(self, thread: str) -> dict[str, Any] | None:
        """A thread with everything in it."""
        if (found := await self.store.thread(thread)) is None:
            return None
        messages = [self.view(entry) for entry in await self.store.entries(thread)]
        return {"id": found.id, "title": found.title, "messages": messages}

    # --- What changes while somebody looks -----------------------------------------------------------------------------

    def changed(self, thread: str, turn: str) -> None:
        """Tell every browser that looks."""
        for watcher in self._watchers:
            watcher.tell(thread, turn)

    async def events(self) -> AsyncIterator[tuple[str, Any]]:
        """What changes, from now on, until the page closes: "hello" first; "setup", "threads", "message"; "" keeps it alive.

        Of several changes of one message that follow each other closely only the last is told.
        """
        watcher = _Watcher(self._closing)
        self._watchers.add(watcher)
        told: list[dict[str, Any]] = []
        stages: list[dict[str, Any]] = []
        try:
            yield "hello", {"most": self.most}
            while not self._closing.is_set():
                if (now := render.stages(self.setup)) != stages:
                    stages = now
                    yield "setup", stages
                changes = await watcher.wait()
                if changes is None:
                    yield "", None
                    continue
                if (threads := await self.threads()) != told:
                    told = threads
                    yield "threads", threads
                for turn, thread in changes.items():
                    if (entry := await self.store.entry(turn)) is not None:
                        yield "message", {"thread": thread, "message": self.view(entry)}
                await asyncio.sleep(PACE)
        finally:
            self._watchers.discard(watcher)


class _Watcher:
    """One browser's view of what it has not been told yet."""

    def __init__(self, closing: asyncio.Event) -> None:
        self._closing = closing
        self._changes: dict[str, str] = {}
        self._some = asyncio.Event()

    def tell(self, thread: str, turn: str) -> None:
        self._changes[turn] = thread
        self._some.set()

    def wake(self) -> None:
        """Look at once at what is not of a turn."""
        self._some.set()

    async def wait(self) -> Mapping[str, str] | None:
        """The changes, by turn; None when there was none for a while, or the page closes."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self._some, self._closing)]
        try:
            done, _ = await asyncio.wait(waits, timeout=HEARTBEAT, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._some.clear()
        changes, self._changes = self._changes, {}
        return changes if done else None


class _Server(uvicorn.Server):
    """uvicorn in somebody else's process: signals are the bot's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


@contextlib.contextmanager
def _bound(port: int) -> Iterator[socket.socket]:
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
            listening.listen()  # from here on nobody is turned away, though nobody is answered yet
        except OSError as problem:
            raise ConfigError(
                f"The page cannot have port {port}: {problem.strerror}. Set CELLMATE_WEB_PORT to another one."
            ) from None
        yield listening


def _user() -> str:
    with suppress(KeyError, OSError):  # a user id without a name, as containers have
        return getpass.getuser()
    return "user"
