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
from bot.journal.schema import CHECKPOINTS, INSTALLATION, ITEMS, KEYS, PIECES, TURNS
from bot.types import Blob, Item, Kept, Piece, Question, Receipt, ThreadRef, Turn

__all__ = ["SqlJournal", "connect"]

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
_BUSY_SECONDS = 15
"""How long one transaction waits for another process's before it gives up."""
KEPT = 5
"""Checkpoints of a thread that a question can be answered again from."""


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

    async def save(self, thread: ThreadRef, kept: Kept) -> list[Blob]:
        """See `Journal.save`."""
        of_thread = CHECKPOINTS.c.thread == str(thread)
        newest = select(CHECKPOINTS.c.id).where(of_thread, CHECKPOINTS.c.gone.is_(None)).order_by(CHECKPOINTS.c.id.desc())
        row = {
            "files": forms.SAVED.write(kept.files),
            "variables": forms.SAVED.write(kept.variables),
            "saved_at": datetime.now(UTC),
        }
        async with self._writing() as connection:
            same = newest.where(CHECKPOINTS.c.turn == kept.turn).limit(1)
            if await connection.scalar(same) is None:
                await connection.execute(insert(CHECKPOINTS).values(thread=str(thread), turn=kept.turn, **row))
            id = (await connection.execute(same)).scalar_one()
            await connection.execute(update(CHECKPOINTS).where(CHECKPOINTS.c.id == id).values(**row))
            before = await _drop_pieces(connection, [id])
            await _add_pieces(connection, id, kept.pieces)
            old = list((await connection.scalars(newest.offset(KEPT))).all())
            await connection.execute(update(CHECKPOINTS).where(CHECKPOINTS.c.id.in_(old)).values(gone="old"))
            return await _unneeded(connection, [*before, *await _drop_pieces(connection, old)])

    async def checkpoint(self, thread: ThreadRef, before: str | None = None) -> Kept | None:
        """See `Journal.checkpoint`."""
        found = select(CHECKPOINTS).where(CHECKPOINTS.c.thread == str(thread)).order_by(CHECKPOINTS.c.id.desc()).limit(1)
        if before is not None:
            found = found.where(CHECKPOINTS.c.id.not_in(_since(thread, before)))
        async with self._reading() as connection:
            if (row := (await connection.execute(found)).one_or_none()) is None:
                return None
            of_row = select(PIECES).where(PIECES.c.checkpoint == row.id).order_by(PIECES.c.n)
            rows = (await connection.execute(of_row)).all()
        pieces = tuple(Piece(p.part, p.name, Blob(p.digest, p.size), p.nonce) for p in rows)
        return Kept(row.turn, pieces, forms.SAVED.read(row.files), forms.SAVED.read(row.variables), row.gone or "")

    async def rewind(self, thread: ThreadRef, before: str) -> list[Blob]:
        """See `Journal.rewind`."""
        async with self._writing() as connection:
            return await _drop(connection, list((await connection.scalars(_since(thread, before))).all()))

    async def forget(self, thread: ThreadRef) -> list[Blob]:
        """See `Journal.forget`."""
        async with self._writing() as connection:
            return await _drop(connection, list((await connection.scalars(_of(thread))).all()))

    async def expire(self, thread: ThreadRef) -> list[Blob]:
        """See `Journal.expire`."""
        async with self._writing() as connection:
            ids = list((await connection.scalars(_of(thread).where(CHECKPOINTS.c.gone.is_(None)))).all())
            await connection.execute(update(CHECKPOINTS).where(CHECKPOINTS.c.id.in_(ids)).values(gone="expired"))
            return await _unneeded(connection, await _drop_pieces(connection, ids))

    async def asleep(self, since: datetime) -> list[ThreadRef]:
        """See `Journal.asleep`."""
        newest = func.max(CHECKPOINTS.c.saved_at)
        threads = select(CHECKPOINTS.c.thread).where(CHECKPOINTS.c.gone.is_(None)).group_by(CHECKPOINTS.c.thread)
        async with self._reading() as connection:
            rows = await connection.scalars(threads.having(newest < since).order_by(newest))
            return [ThreadRef.parse(thread) for thread in rows.all()]

    async def weight(self) -> int:
        """See `Journal.weight`."""
        distinct = select(PIECES.c.digest, PIECES.c.size).distinct().subquery()
        async with self._reading() as connection:
            return int(await connection.scalar(select(func.coalesce(func.sum(distinct.c.size), 0))) or 0)

    async def key(self) -> bytes:
        """See `Journal.key`."""
        async with self._reading() as connection:
            return bytes.fromhex((await connection.execute(select(INSTALLATION.c.key))).scalar_one())

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


def _of(thread: ThreadRef) -> Select[Any]:
    return select(CHECKPOINTS.c.id).where(CHECKPOINTS.c.thread == str(thread))


def _since(thread: ThreadRef, turn: str) -> Select[Any]:
    """The checkpoints of answers to this turn and to later ones."""
    asked = select(TURNS.c.seq).where(TURNS.c.id == turn).scalar_subquery()
    return _of(thread).join(TURNS, TURNS.c.id == CHECKPOINTS.c.turn).where(TURNS.c.seq >= asked)


async def _add_pieces(connection: AsyncConnection, id: int, pieces: Sequence[Piece]) -> None:
    rows = [
        {
            "checkpoint": id,
            "n": n,
            "part": piece.part,
            "name": piece.name,
            "digest": piece.blob.digest,
            "size": piece.blob.size,
            "nonce": piece.nonce,
        }
        for n, piece in enumerate(pieces)
    ]
    if rows:
        await connection.execute(insert(PIECES), rows)


async def _drop(connection: AsyncConnection, ids: Sequence[int]) -> list[Blob]:
    blobs = await _drop_pieces(connection, ids)
    await connection.execute(delete(CHECKPOINTS).where(CHECKPOINTS.c.id.in_(ids)))
    return await _unneeded(connection, blobs)


async def _drop_pieces(connection: AsyncConnection, ids: Sequence[int]) -> list[Blob]:
    of_these = PIECES.c.checkpoint.in_(ids)  # no RETURNING: SQLite has it since 3.35
    rows = (await connection.execute(select(PIECES.c.digest, PIECES.c.size).where(of_these))).all()
    await connection.execute(delete(PIECES).where(of_these))
    return [Blob(row.digest, row.size) for row in rows]


async def _unneeded(connection: AsyncConnection, blobs: Sequence[Blob]) -> list[Blob]:
    """Those that no checkpoint has any more."""
    distinct = list({blob.digest: blob for blob in blobs}.values())
    held: set[str] = set()
    for at in range(0, len(distinct), 500):
        some = select(PIECES.c.digest).where(PIECES.c.digest.in_([blob.digest for blob in distinct[at : at + 500]]))
        held.update((await connection.scalars(some)).all())
    return [blob for blob in distinct if blob.digest not in held]


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
