"""The page's own memory: threads, questions and the newest card of each turn, in one SQLite file.

Bytes are not in it: files are named by their digest and lie in the files store.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiosqlite
from pydantic import TypeAdapter

from bot.types import Attachment, Card, Question

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS threads (id TEXT PRIMARY KEY, title TEXT NOT NULL, changed REAL NOT NULL);
CREATE TABLE IF NOT EXISTS messages (
    position INTEGER PRIMARY KEY, turn TEXT NOT NULL UNIQUE, thread TEXT NOT NULL, at REAL NOT NULL, question TEXT, card TEXT
);
CREATE INDEX IF NOT EXISTS messages_of_a_thread ON messages (thread, position);
CREATE TABLE IF NOT EXISTS uploads (id TEXT PRIMARY KEY, attachment TEXT NOT NULL);
"""
_QUESTION, _CARD, _ATTACHMENT = TypeAdapter(Question), TypeAdapter(Card), TypeAdapter(Attachment)


@dataclass(frozen=True, slots=True)
class Thread:
    """A line of the list."""

    id: str
    title: str
    changed: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A question with its answer so far; without a question, something Cellmate said by itself."""

    turn: str
    thread: str
    at: float
    question: Question | None
    card: Card | None


@asynccontextmanager
async def open_store(path: Path) -> AsyncIterator["Store"]:
    """The store in this file, which is made if need be. Its folder exists."""
    async with aiosqlite.connect(path, isolation_level=None) as db:
        await db.executescript(_SCHEMA)
        yield Store(db)


class Store:
    """Every call that writes is durable when it returns. Raises `sqlite3.Error` when the disk does not serve."""

    def __init__(self, db: aiosqlite.Connection) -> None:
        self._db = db
        self._writing = asyncio.Lock()

    async def threads(self) -> list[Thread]:
        """All threads, the one with the newest question first."""
        return [Thread(*row) for row in await self._db.execute_fetchall("SELECT * FROM threads ORDER BY changed DESC")]

    async def thread(self, thread: str) -> Thread | None:
        """One thread."""
        rows = await self._db.execute_fetchall("SELECT * FROM threads WHERE id = ?", (thread,))
        return next((Thread(*row) for row in rows), None)

    async def entries(self, thread: str) -> list[Entry]:
        """A thread's messages in their order."""
        return await self._entries("thread = ? ORDER BY position", thread)

    async def entry(self, turn: str) -> Entry | None:
        """One message."""
        return next(iter(await self._entries("turn = ?", turn)), None)

    async def unanswered(self) -> list[Entry]:
        """Questions for which nothing was ever shown, in the order they were asked."""
        return await self._entries("card IS NULL ORDER BY position")

    async def ask(self, question: Question, title: str) -> None:
        """Keep a question; its thread begins with it where there is none. A question known already is left alone."""
        thread, now = question.thread.thread, time.time()
        await self._write(
            (
                "INSERT INTO threads VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET changed = excluded.changed",
                (thread, title, now),
            ),
            (
                "INSERT OR IGNORE INTO messages (turn, thread, at, question) VALUES (?, ?, ?, ?)",
                (question.id, thread, now, _QUESTION.dump_json(question).decode()),
            ),
        )

    async def reword(self, turn: str, question: Question) -> None:
        """Put another wording in the place of a question."""
        await self._write(("UPDATE messages SET question = ? WHERE turn = ?", (_QUESTION.dump_json(question).decode(), turn)))

    async def show(self, thread: str, card: Card) -> None:
        """Keep the card as its turn's newest."""
        await self._write(
            (
                "INSERT INTO messages (turn, thread, at, card) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (turn) DO UPDATE SET card = excluded.card",
                (card.turn, thread, time.time(), _CARD.dump_json(card).decode()),
            )
        )

    async def keep_upload(self, upload: str, attachment: Attachment) -> None:
        """Remember a file that a question may name."""
        await self._write(("INSERT INTO uploads VALUES (?, ?)", (upload, _ATTACHMENT.dump_json(attachment).decode())))

    async def upload(self, upload: str) -> Attachment | None:
        """A file that was uploaded."""
        rows = await self._db.execute_fetchall("SELECT attachment FROM uploads WHERE id = ?", (upload,))
        return next((_ATTACHMENT.validate_json(row[0]) for row in rows), None)

    async def _entries(self, which: str, *values: str) -> list[Entry]:
        rows = await self._db.execute_fetchall(f"SELECT turn, thread, at, question, card FROM messages WHERE {which}", values)
        return [
            Entry(
                turn,
                thread,
                at,
                _QUESTION.validate_json(question) if question else None,
                _CARD.validate_json(card) if card else None,
            )
            for turn, thread, at, question, card in rows
        ]

    async def _write(self, *statements: tuple[str, Sequence[str | float]]) -> None:
        async with self._writing:
            await self._db.execute("BEGIN IMMEDIATE")
            try:
                for statement, values in statements:
                    await self._db.execute(statement, values)
                await self._db.execute("COMMIT")
            except BaseException:
                await self._db.execute("ROLLBACK")
                raise
