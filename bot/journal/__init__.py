"""The journal on SQLAlchemy Core: SQLite, or PostgreSQL by URL."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Row, Select, Update, delete, event, func, insert, make_url, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from bot.errors import ConfigError, JournalError
from bot.journal import forms
from bot.journal.failures import sentence
from bot.journal.migrate import NewerJournal, load_steps, migrate
from bot.journal.schema import INSTALLATION, ITEMS, KEYS, THREADS, TURNS
from bot.types import Blob, Item, Question, Receipt, ThreadRef, Turn
from sandbox import Saved

__all__ = ["SqlJournal", "connect"]

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
_BUSY_SECONDS = 15
"""How long one transaction waits for another process's before it gives up."""


@asynccontextmanager
async def connect(url: str) -> AsyncIterator["SqlJournal"]:
    """Open the journal at `url` (`sqlite:////absolute/path`, `postgresql://user:password@host/name`), bring its tables up to
    date, and close it at the end. A SQLite file and its folders are made when missing.

    Raises `ConfigError` when it cannot be opened.
    """
    where = _parse(url)
    engine = None
    try:
        engine = await asyncio.to_thread(_engine, where)
        steps = await asyncio.to_thread(load_steps)
        async with engine.begin() as connection:
            await connection.run_sync(migrate, steps)
    except BaseException as problem:
        if engine is not None:
            await engine.dispose()
        if isinstance(problem, Exception):
            raise ConfigError(_why_not_open(where, problem)) from problem
        raise
    try:
        yield SqlJournal(engine)
    finally:
        await engine.dispose()


class SqlJournal:
    """`bot.ports.Journal`. Any call raises `JournalError` when the database fails; then nothing of that call is recorded.

    A call about a turn that does not exist raises LookupError.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._reader = engine.execution_options(reads=True)
        self._insert = sqlite.insert if engine.dialect.name == "sqlite" else postgresql.insert

    async def accept(self, question: Question) -> bool:
        """See `Journal.accept`."""
        row = {
            "id": question.id,
            "thread": str(question.thread),
            "state": "open",
            "question": forms.QUESTION.write(question),
            "accepted_at": datetime.now(UTC),
        }
        try:
            async with self._writing() as connection:
                await connection.execute(insert(TURNS).values(row))
                # In one order everywhere: twins that name their keys in different orders must not wait for each other.
                keys = [{"key": key, "turn": question.id} for key in sorted(set(question.keys))]
                await connection.execute(insert(KEYS), keys)
        except IntegrityError:
            return False
        return True

    async def amend(self, turn: str, question: Question) -> None:
        """See `Journal.amend`. Raises LookupError also for a turn that has items. The earlier wording's keys are kept."""
        begun = select(ITEMS.c.n).where(ITEMS.c.turn == turn).exists()
        wording = forms.QUESTION.write(replace(question, id=turn))
        async with self._writing() as connection:
            await _update_one(connection, update(TURNS).where(TURNS.c.id == turn, ~begun).values(question=wording), turn)
            await self._add_keys(connection, turn, question.keys)

    async def append(self, turn: str, *items: Item) -> None:
        """See `Journal.append`."""
        if not items:
            return
        async with self._writing() as connection:
            await _must_exist(connection, turn)
            last = await connection.scalar(select(func.max(ITEMS.c.n)).where(ITEMS.c.turn == turn))
            start = 0 if last is None else last + 1
            forms_ = [forms.write_item(item) for item in items]
            rows = [{"turn": turn, "n": n, "kind": kind, "item": text} for n, (kind, text) in enumerate(forms_, start)]
            await connection.execute(insert(ITEMS), rows)

    async def receipt(self, turn: str, receipt: Receipt) -> None:
        """See `Journal.receipt`. A handle that belongs to a turn already stays with it."""
        async with self._writing() as connection:
            newest = update(TURNS).where(TURNS.c.id == turn).values(receipt=forms.RECEIPT.write(receipt))
            await _update_one(connection, newest, turn)
            await self._add_keys(connection, turn, receipt.handles)

    async def finish(self, turn: str, state: str) -> None:
        """See `Journal.finish`."""
        closed = update(TURNS).where(TURNS.c.id == turn).values(state=state, finished_at=datetime.now(UTC))
        async with self._writing() as connection:
            await _update_one(connection, closed, turn)

    async def turn(self, turn: str) -> Turn | None:
        """See `Journal.turn`."""
        found = await self._turns(select(TURNS).where(TURNS.c.id == turn))
        return found[0] if found else None

    async def unfinished(self) -> list[Turn]:
        """See `Journal.unfinished`."""
        return await self._turns(select(TURNS).where(TURNS.c.state == "open").order_by(TURNS.c.seq))

    async def before(self, turn: str, limit: int) -> list[Turn]:
        """See `Journal.before`."""
        this = select(TURNS.c.seq, TURNS.c.thread).where(TURNS.c.id == turn).subquery()
        earlier = select(TURNS).join(this, (TURNS.c.thread == this.c.thread) & (TURNS.c.seq < this.c.seq))
        return (await self._turns(earlier.order_by(TURNS.c.seq.desc()).limit(limit)))[::-1]

    async def latest(self, thread: ThreadRef) -> Turn | None:
        """See `Journal.latest`."""
        newest = select(TURNS).where(TURNS.c.thread == str(thread)).order_by(TURNS.c.seq.desc()).limit(1)
        found = await self._turns(newest)
        return found[0] if found else None

    async def locate(self, handle: str) -> tuple[str, ThreadRef] | None:
        """See `Journal.locate`."""
        owner = select(TURNS.c.id, TURNS.c.thread).join(KEYS, KEYS.c.turn == TURNS.c.id).where(KEYS.c.key == handle)
        async with self._reading() as connection:
            row = (await connection.execute(owner)).one_or_none()
        return None if row is None else (row.id, ThreadRef.parse(row.thread))

    async def save(self, thread: ThreadRef, blob: Blob, saved: Saved) -> Blob | None:
        """See `Journal.save`."""
        row = {"digest": blob.digest, "size": blob.size, "saved": forms.SAVED.write(saved)}
        async with self._writing() as connection:
            old = await _checkpoint(connection, thread)
            newest = self._insert(THREADS).values(thread=str(thread), **row)
            await connection.execute(newest.on_conflict_do_update(index_elements=[THREADS.c.thread], set_=row))
            return await _unneeded(connection, old)

    async def checkpoint(self, thread: ThreadRef) -> Blob | None:
        """See `Journal.checkpoint`."""
        async with self._reading() as connection:
            return await _checkpoint(connection, thread)

    async def forget(self, thread: ThreadRef) -> Blob | None:
        """See `Journal.forget`."""
        async with self._writing() as connection:
            old = await _checkpoint(connection, thread)
            await connection.execute(delete(THREADS).where(THREADS.c.thread == str(thread)))
            return await _unneeded(connection, old)

    async def installation(self) -> str:
        """See `Journal.installation`."""
        async with self._reading() as connection:
            return str((await connection.execute(select(INSTALLATION.c.id))).scalar_one())

    async def version(self) -> str:
        """Where it is (no password), and the newest step its tables have taken. Raises `JournalError` where it is read-only."""
        with suppress(LookupError):
            await self.finish("", "done")  # no turn has this id: all that is tried is whether a transaction may write
        async with self._reading() as connection:
            step = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one()
        return f"{self._engine.url.render_as_string(hide_password=True)}, version {step}"

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        """One transaction that is committed when the block ends, and rolled back when it raises."""
        try:
            async with self._engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except (SQLAlchemyError, OSError) as problem:
            raise JournalError(sentence(problem)) from problem

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        """One consistent look."""
        try:
            async with self._reader.connect() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as problem:
            raise JournalError(sentence(problem)) from problem

    async def _turns(self, query: Select[Any]) -> list[Turn]:
        async with self._reading() as connection:
            rows = (await connection.execute(query)).all()
            of_these = select(ITEMS).where(ITEMS.c.turn.in_([row.id for row in rows])).order_by(ITEMS.c.turn, ITEMS.c.n)
            item_rows = (await connection.execute(of_these)).all() if rows else []
        items: dict[str, list[Item]] = {row.id: [] for row in rows}
        for row in item_rows:
            items[row.turn].append(forms.read_item(row.kind, row.item))
        return [_turn(row, items[row.id]) for row in rows]

    async def _add_keys(self, connection: AsyncConnection, turn: str, keys: Iterable[str]) -> None:
        rows = [{"key": key, "turn": turn} for key in sorted(set(keys))]
        if rows:
            await connection.execute(self._insert(KEYS).on_conflict_do_nothing(), rows)


def _turn(row: Row[Any], items: Sequence[Item]) -> Turn:
    receipt = forms.RECEIPT.read(row.receipt) if row.receipt is not None else None
    return Turn(forms.QUESTION.read(row.question), tuple(items), receipt, row.state)


async def _must_exist(connection: AsyncConnection, turn: str) -> None:
    if await connection.scalar(select(TURNS.c.seq).where(TURNS.c.id == turn)) is None:
        raise LookupError(f"the journal has no turn {turn}")


async def _update_one(connection: AsyncConnection, statement: Update, turn: str) -> None:
    if (await connection.execute(statement)).rowcount != 1:
        raise LookupError(f"the journal has no such turn that may be changed so: {turn}")


async def _checkpoint(connection: AsyncConnection, thread: ThreadRef) -> Blob | None:
    of_thread = select(THREADS.c.digest, THREADS.c.size).where(THREADS.c.thread == str(thread))
    row = (await connection.execute(of_thread)).one_or_none()
    return None if row is None else Blob(row.digest, row.size)


async def _unneeded(connection: AsyncConnection, blob: Blob | None) -> Blob | None:
    """The blob, unless a thread has it as its checkpoint."""
    if blob is None:
        return None
    holder = await connection.scalar(select(THREADS.c.thread).where(THREADS.c.digest == blob.digest).limit(1))
    return blob if holder is None else None


# --- Opening --------------------------------------------------------------------------------------------------------


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        driver = _DRIVERS[parsed.get_backend_name()]
    except (ArgumentError, KeyError) as problem:
        # Without the text itself: it may hold a password.
        raise ConfigError(
            "The journal's URL is not understood: write sqlite:////absolute/path/journal.db or postgresql://user:password@host/name."
        ) from problem
    if driver.startswith("sqlite") and parsed.database in (None, "", ":memory:"):
        raise ConfigError(
            "The journal's URL names no file, and nothing would be kept: write sqlite:////absolute/path/journal.db."
        )
    return parsed.set(drivername=driver)


def _make_file(path: Path) -> None:
    """An empty file is an empty database. Made here so that no one else can read it; SQLite's other two take its mode."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as connection:
        _write_ahead(connection)


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Turn on the write-ahead log, which the file remembers. Two programs that do it at once would wait for each other, so
    SQLite refuses one of them without waiting (sqlite.org/c3ref/busy_handler.html): that one tries again."""
    until = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as problem:
            if problem.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)


def _engine(url: URL) -> AsyncEngine:
    """Blocking: it imports the driver, and looks at the file."""
    if url.get_backend_name() != "sqlite":
        # A database server may restart while the bot runs: a dead connection is replaced before it is used.
        return create_async_engine(url, pool_pre_ping=True)
    _make_file(Path(url.database or ""))
    # isolation_level None: the driver's own implicit BEGIN comes too late to take the write lock before the first read.
    engine = create_async_engine(url, connect_args={"timeout": _BUSY_SECONDS, "isolation_level": None})
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes the lock at once: one that reads first could not get it later without starting over."""
    reads = connection.get_execution_options().get("reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _why_not_open(url: URL, problem: Exception) -> str:
    where = url.render_as_string(hide_password=True)
    if isinstance(problem, NewerJournal):
        return f"The journal {where} was written by a newer Cellmate: start that version, or name another journal."
    if isinstance(problem, ImportError):
        return f"The journal {where} needs a driver that is not installed: pip install 'cellmate[postgres]'."
    detail = getattr(problem, "orig", None) or problem
    return f"The journal {where} cannot be opened: {str(detail).strip() or type(detail).__name__}."
