"""The journal keeps its promises, on SQLite and on PostgreSQL alike."""

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.runtime.environment import EnvironmentContext
from blockbuster import BlockBuster
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from bot.errors import ConfigError, JournalError
from bot.journal import KEPT, SqlJournal, connect, forms
from bot.journal.migrate import load_steps
from bot.journal.schema import METADATA
from bot.types import (
    Asker,
    Attachment,
    Blob,
    Called,
    CardFile,
    CellError,
    Item,
    Kept,
    Piece,
    Place,
    Question,
    Receipt,
    Returned,
    Said,
    ThreadRef,
    turn_id,
)
from sandbox import Loss, Saved, Table
from tests.fakes import postgres as pg
from tests.fakes.disk import fill, small_disk

THREAD = ThreadRef("slack", "T1.C1", "1700000000.000100")
OTHER = ThreadRef("discord", "9", "10")


def question(key: str, *more: str, thread: ThreadRef = THREAD, words: str = "plot it") -> Question:
    return Question(turn_id(key), (key, *more), thread, Asker("U1", "ada"), Place("T1", "C1"), words)


@pytest.fixture(scope="module")
def server() -> Iterator[pg.Postgres]:
    if reason := pg.missing():
        pytest.skip(reason)
    with pg.postgres() as running:
        yield running


@pytest.fixture(autouse=True)
def _driver_looks_for_files(_no_blocking_calls: BlockBuster) -> None:
    """asyncpg looks for a password file and certificates in the home folder each time it connects; nothing can be done here."""
    for function in _no_blocking_calls.functions.values():
        function.can_block_in("asyncpg/connect_utils.py", "_parse_connect_arguments")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state/journal.db"
    server: pg.Postgres = request.getfixturevalue("server")
    return server.database()


@pytest.fixture
async def journal(url: str) -> AsyncIterator[SqlJournal]:
    async with connect(url) as opened:
        yield opened


# --- Turns ----------------------------------------------------------------------------------------------------------


async def test_a_question_is_given_back_as_it_was_accepted(journal: SqlJournal) -> None:
    asked = replace(
        question("slack:1", "slack:2"),
        attachments=(Attachment("a.csv", 3, "text/csv", {"url": "x", "n": [1, None, {"b": True}]}),),
        asker=Asker("U1", "ada", ("admin",), guest=True),
        follows="before",
    )
    assert await journal.accept(asked)
    turn = await journal.turn(asked.id)
    assert turn is not None
    assert (turn.question, turn.items, turn.receipt, turn.state) == (asked, (), None, "open")


@pytest.mark.parametrize("again", [("k:1",), ("k:2",), ("k:3", "k:1")])
async def test_a_key_seen_before_records_nothing(journal: SqlJournal, again: tuple[str, ...]) -> None:
    assert await journal.accept(question("k:1", "k:2"))
    assert not await journal.accept(question(*again, words="other"))
    assert [turn.question.text for turn in await journal.unfinished()] == ["plot it"]
    assert await journal.locate("k:3") is None


async def test_twins_over_two_connections_become_one_turn(url: str) -> None:
    async with connect(url) as one, connect(url) as two:
        for n in range(20):
            keys = (f"k:{n}:message", f"k:{n}:mention")
            taken = await asyncio.gather(one.accept(question(*keys)), two.accept(question(*keys[::-1])))
            assert sorted(taken) == [False, True]
        assert len(await one.unfinished()) == 20


async def test_many_questions_at_once_are_all_kept(url: str) -> None:
    async with connect(url) as one, connect(url) as two:
        taken = await asyncio.gather(*(j.accept(question(f"{i}:{n}")) for n in range(20) for i, j in enumerate((one, two))))
        assert all(taken)
        assert len(await two.unfinished()) == 40


async def test_items_come_back_in_the_order_they_were_added(journal: SqlJournal) -> None:
    asked = question("k:1")
    await journal.accept(asked)
    items: list[Item] = [
        Said("user", "hi"),
        Called("c1", "1/0", "let me see"),
        Returned("c1", error=CellError("ZeroDivisionError", "division by zero", "Traceback"), seconds=0.5, notes=("cut",)),
        Called("c2", None, "{"),
        Returned(
            "c2",
            result="x",
            table=Table(("a",), (("1",),), 7),
            files=(CardFile("p.png", "image/png", Blob("0" * 64, 3), True, "a line"),),
        ),
        Said("note", "the bot restarted", shown=True),
        Said("assistant", "half a pair \ud83d and a NUL \0"),
    ]
    await journal.append(asked.id, *items[:3])
    await journal.append(asked.id)
    for item in items[3:]:
        await journal.append(asked.id, item)
    turn = await journal.turn(asked.id)
    assert turn is not None
    assert list(turn.items) == items


async def test_a_turn_that_does_not_exist_is_an_error(journal: SqlJournal) -> None:
    assert await journal.turn("nobody") is None
    for call in (
        journal.append("nobody", Said("user", "x")),
        journal.receipt("nobody", Receipt(("h",))),
        journal.finish("nobody", "done"),
        journal.amend("nobody", question("k:9")),
    ):
        with pytest.raises(LookupError):
            await call
    assert await journal.locate("h") is None


async def test_unfinished_turns_come_in_the_order_they_were_accepted(journal: SqlJournal) -> None:
    asked = [question(f"k:{n}", thread=THREAD if n % 2 else OTHER) for n in range(6)]
    for each in asked:
        await journal.accept(each)
        await journal.append(each.id, Said("user", each.id))
    await journal.finish(asked[1].id, "done")
    await journal.finish(asked[4].id, "failed")
    turns = await journal.unfinished()
    assert [turn.question for turn in turns] == [asked[0], asked[2], asked[3], asked[5]]
    assert all(turn.items == (Said("user", turn.question.id),) for turn in turns)
    closed = await journal.turn(asked[4].id)
    assert closed is not None and closed.state == "failed"


async def test_before_gives_the_last_turns_of_the_same_thread(journal: SqlJournal) -> None:
    asked = [question(f"k:{n}", thread=OTHER if n == 2 else THREAD) for n in range(6)]
    for each in asked:
        await journal.accept(each)
    assert [turn.question for turn in await journal.before(asked[4].id, 2)] == [asked[1], asked[3]]
    assert [turn.question for turn in await journal.before(asked[4].id, 9)] == [asked[0], asked[1], asked[3]]
    assert await journal.before(asked[0].id, 9) == []
    latest = await journal.latest(THREAD)
    assert latest is not None and latest.question == asked[5]
    assert await journal.latest(ThreadRef("a", "b", "c")) is None


async def test_amend_replaces_the_wording_until_something_was_done(journal: SqlJournal) -> None:
    first = question("k:1")
    await journal.accept(first)
    edited = replace(question("k:1:edit", words="a bar chart"), follows=first.id)
    await journal.amend(first.id, edited)
    turn = await journal.turn(first.id)
    assert turn is not None and turn.question == replace(edited, id=first.id)
    assert await journal.locate("k:1") == await journal.locate("k:1:edit") == (first.id, THREAD)
    await journal.append(first.id, Said("user", "a bar chart"))
    with pytest.raises(LookupError):
        await journal.amend(first.id, replace(edited, text="too late"))
    turn = await journal.turn(first.id)
    assert turn is not None and turn.question.text == "a bar chart"


async def test_keys_and_handles_lead_to_their_turn(journal: SqlJournal) -> None:
    one, two = question("k:1", "k:1b"), question("k:2", thread=OTHER)
    await journal.accept(one)
    await journal.accept(two)
    newest = Receipt(("h:1", "h:2"), {"p.png": "delivered", "t.csv": "fallback"}, {"ts": "1.2", "n": [1, {"x": None}]})
    await journal.receipt(one.id, Receipt(("h:1",)))
    await journal.receipt(one.id, newest)
    await journal.receipt(two.id, Receipt(("h:1", "h:3")))
    assert [await journal.locate(key) for key in ("k:1b", "h:1", "h:2", "h:3", "h:4")] == [
        (one.id, THREAD),
        (one.id, THREAD),
        (one.id, THREAD),
        (two.id, OTHER),
        None,
    ]
    turn = await journal.turn(one.id)
    assert turn is not None and turn.receipt == newest


def kept(turn: str, *digests: str) -> Kept:
    """A checkpoint with these pieces, the first of which is files."""
    pieces = [Piece("variables" if n else "files", digest * 32, Blob(digest * 64, 10), "n") for n, digest in enumerate(digests)]
    return Kept(turn, tuple(pieces), Saved(0, 1, (Loss("s", "it is a socket"),)), Saved(2, 0))


def digests(blobs: list[Blob]) -> str:
    return "".join(sorted(blob.digest[0] for blob in blobs))


async def asked(journal: SqlJournal, *keys: str) -> list[str]:
    """Turns of one thread, in order."""
    for key in keys:
        assert await journal.accept(question(key))
    return [turn_id(key) for key in keys]


async def test_the_newest_checkpoint_of_a_turn_counts_and_what_nobody_needs_is_given_back(journal: SqlJournal) -> None:
    assert await journal.checkpoint(THREAD) is None
    assert await journal.save(THREAD, kept("t1", "a", "b")) == []
    assert await journal.checkpoint(THREAD) == kept("t1", "a", "b")
    assert digests(await journal.save(THREAD, kept("t1", "a", "c"))) == "b", "the same turn again"
    assert await journal.save(THREAD, kept("t2", "a", "d")) == []
    assert await journal.save(OTHER, kept("t3", "e")) == []
    assert await journal.checkpoint(THREAD) == kept("t2", "a", "d")
    assert await journal.weight() == 40, "what two checkpoints share is there once"
    assert digests(await journal.forget(THREAD)) == "acd"
    assert await journal.checkpoint(THREAD) is None
    assert await journal.checkpoint(OTHER) == kept("t3", "e")
    assert await journal.forget(THREAD) == []


async def test_the_last_checkpoints_of_a_thread_can_be_gone_back_to(journal: SqlJournal) -> None:
    turns = await asked(journal, *(f"k:{n}" for n in range(KEPT + 2)))
    pieces = "abcdefg"
    dropped = [digests(await journal.save(THREAD, kept(turn, *of))) for turn, of in zip(turns, pieces, strict=True)]
    assert dropped == ["", "", "", "", "", "a", "b"]
    assert await journal.checkpoint(THREAD, turns[0]) is None, "there was none before the first question"
    before_third = await journal.checkpoint(THREAD, turns[2])
    assert before_third is not None and (before_third.gone, before_third.pieces) == ("old", ())
    assert await journal.checkpoint(THREAD, turns[3]) == kept(turns[2], "c")
    assert digests(await journal.rewind(THREAD, turns[4])) == "efg"
    assert await journal.checkpoint(THREAD) == kept(turns[3], "d")
    assert digests(await journal.rewind(THREAD, turns[0])) == "cd"
    assert await journal.checkpoint(THREAD) is None


async def test_threads_asleep_for_long_lose_their_pieces_and_it_is_remembered(journal: SqlJournal) -> None:
    await journal.save(THREAD, kept("t1", "a"))
    between = datetime.now(UTC)
    await asyncio.sleep(0.002)
    await journal.save(OTHER, kept("t2", "b"))
    assert await journal.asleep(between) == [THREAD]
    assert await journal.asleep(datetime.now(UTC) + timedelta(1)) == [THREAD, OTHER]
    assert digests(await journal.expire(THREAD)) == "a"
    expired = await journal.checkpoint(THREAD)
    assert expired is not None and (expired.gone, expired.pieces) == ("expired", ())
    assert await journal.asleep(datetime.now(UTC) + timedelta(1)) == [OTHER]
    await journal.save(THREAD, kept("t3", "c"))
    assert await journal.checkpoint(THREAD) == kept("t3", "c")


# --- Life -----------------------------------------------------------------------------------------------------------


async def test_the_installation_keeps_its_id(url: str) -> None:
    async with connect(url) as journal:
        first = await journal.installation()
    async with connect(url) as journal:
        assert await journal.installation() == first
    assert len(first) == 12 and set(first) <= set("abcdefghijklmnopqrstuvwxyz234567")


async def test_the_installation_keeps_its_key(url: str) -> None:
    async with connect(url) as journal:
        key = await journal.key()
    async with connect(url) as journal:
        assert await journal.key() == key
    assert len(key) == 32 and len(set(key)) > 8


def make_first_version(url: str) -> None:
    """A journal as version 0001 left it, with a thread's checkpoint."""
    steps, engine = load_steps(), create_engine(url)
    with (
        engine.begin() as connection,
        EnvironmentContext(Config(), steps, fn=lambda revision, _: steps._upgrade_revs("0001", revision)) as environment,
    ):
        environment.configure(connection=connection)
        environment.run_migrations()
        row = {"thread": str(THREAD), "digest": "d" * 64, "size": 7, "saved": forms.SAVED.write(Saved(1, 1))}
        connection.execute(text("INSERT INTO threads VALUES (:thread, :digest, :size, :saved)"), row)
    engine.dispose()


async def test_a_checkpoint_of_the_first_version_is_carried_over_as_one_that_no_key_fits(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/journal.db"
    await asyncio.to_thread(make_first_version, url)
    async with connect(url) as journal:
        assert await journal.checkpoint(THREAD) == Kept(
            "", (Piece("files", "", Blob("d" * 64, 7), ""),), Saved(1, 1), Saved(1, 1)
        )


async def test_two_programs_may_open_an_empty_journal_at_once(url: str) -> None:
    async def identity() -> str:
        async with connect(url) as journal:
            return await journal.installation()

    assert len(set(await asyncio.gather(*(identity() for _ in range(4))))) == 1


async def test_the_steps_lead_to_the_tables_in_use(url: str) -> None:
    def differences(connection: Connection) -> Any:
        return compare_metadata(MigrationContext.configure(connection), METADATA)

    async with connect(url):
        engine = create_async_engine(_async(url))
        async with engine.connect() as connection:
            assert await connection.run_sync(differences) == []
        await engine.dispose()


async def test_a_journal_of_a_newer_version_is_left_alone(url: str) -> None:
    async with connect(url):
        pass
    engine = create_async_engine(_async(url))
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await engine.dispose()
    with pytest.raises(ConfigError, match="newer Cellmate"):
        async with connect(url):
            pass


async def test_a_call_that_is_cancelled_does_not_block_the_next(url: str) -> None:
    async with connect(url) as journal:
        for n in range(30):
            task = asyncio.ensure_future(journal.accept(question(f"k:{n}")))
            for _ in range(n):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert await journal.accept(question("last"))
        for turn in await journal.unfinished():
            assert await journal.locate(turn.question.keys[0]) == (turn.question.id, THREAD)


WRITER = """
import asyncio, sys
from bot.journal import connect
from bot.types import *
async def main(url):
    async with connect(url) as journal:
        q = Question("t1", ("k:1",), ThreadRef("a", "b", "c"), Asker("u"), Place("w", "c"), "hi")
        assert await journal.accept(q)
        await journal.append("t1", Called("c1", "1"))
        print("written", flush=True)
        await asyncio.sleep(60)
asyncio.run(main(sys.argv[1]))
"""


async def test_what_was_accepted_survives_kill_9(url: str) -> None:
    root = Path(__file__).parents[2]
    writer = await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, url, cwd=root, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    try:
        assert await writer.stdout.readline() == b"written\n"
    finally:
        writer.send_signal(signal.SIGKILL)
        await writer.communicate()
    async with connect(url) as journal:
        (turn,) = await journal.unfinished()
        assert turn.question.text == "hi" and turn.items == (Called("c1", "1"),)


def _async(url: str) -> str:
    name = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}[make_url(url).drivername]
    return make_url(url).set(drivername=name).render_as_string(hide_password=False)


# --- Failures -------------------------------------------------------------------------------------------------------


async def test_sqlite_commits_are_durable_and_private(tmp_path: Path) -> None:
    path = tmp_path / "new" / "home" / "journal.db"
    async with connect(f"sqlite:///{path}") as journal:
        await journal.accept(question("k:1"))
        async with journal._engine.connect() as connection:
            pragmas = [await connection.scalar(text(f"PRAGMA {p}")) for p in ("journal_mode", "synchronous", "foreign_keys")]
        assert pragmas == ["wal", 2, 1]
        assert {oct(p.stat().st_mode & 0o777) for p in path.parent.iterdir()} == {"0o600"}
        assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kib=1024) as disk:
        async with connect(f"sqlite:///{disk}/journal.db") as journal:
            kept = question("k:1")
            await journal.accept(kept)
            ballast = fill(disk)
            big = question("k:2", words="x" * 100_000)
            with pytest.raises(JournalError, match="disk is full"):
                await journal.accept(big)
            with pytest.raises(JournalError, match="disk is full"):
                await journal.append(kept.id, Said("user", "x" * 100_000))
            assert [turn.question.id for turn in await journal.unfinished()] == [kept.id]
            await asyncio.to_thread(ballast.unlink)
            assert await journal.accept(big), "the same question again, once there is room"
        async with connect(f"sqlite:///{disk}/journal.db") as journal:
            assert len(await journal.unfinished()) == 2


async def test_a_journal_held_by_another_program_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.journal._BUSY_SECONDS", 0.1)
    path = tmp_path / "journal.db"
    async with connect(f"sqlite:///{path}") as journal:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="another program"):
            await journal.accept(question("k:1"))
        other.close()
        assert await journal.accept(question("k:1"))


async def test_a_database_server_that_went_away_is_said_and_found_again() -> None:
    if reason := pg.missing():
        pytest.skip(reason)
    with pg.postgres() as server:
        url = server.database()
        async with connect(url) as journal:
            assert await journal.accept(question("k:1"))
            await asyncio.to_thread(server.disconnect)
            assert await journal.accept(question("k:2")), "a dead connection is replaced"
            await asyncio.to_thread(server.stop)
            with pytest.raises(JournalError, match="cannot be reached"):
                await journal.accept(question("k:3"))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "not understood"),
        ("mysql://u:hush@host/db", "not understood"),
        ("sqlite://", "names no file"),
        ("sqlite:////proc/no/such/place/journal.db", "cannot be opened"),
        ("postgresql://u:hush@127.0.0.1:1/db", "cannot be opened"),
        ("postgresql://u:hush@/db?host=/no/such/folder", "cannot be opened"),
    ],
)
async def test_a_journal_that_cannot_be_opened_is_said_in_one_line(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        async with connect(url):
            pass
    assert "hush" not in str(refused.value) and "\n" not in str(refused.value)


async def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(b"this is not a database, and it is long enough to be told from one" * 100)
    with pytest.raises(ConfigError, match="not a database"):
        async with connect(f"sqlite:///{path}"):
            pass


# --- Forms ----------------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=()), max_size=20)  # NUL and lone surrogates included
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
for annotated, strategy in ((str, TEXT), (float, st.floats(allow_nan=False, allow_infinity=False))):
    st.register_type_strategy(annotated, strategy)
PART = st.text(st.characters(exclude_characters=":", exclude_categories=["Cs"]), min_size=1, max_size=10)
st.register_type_strategy(ThreadRef, st.builds(ThreadRef, PART, PART, PART))
st.register_type_strategy(Attachment, st.builds(Attachment, locator=st.dictionaries(TEXT, JSON, max_size=3)))
OUTCOMES = st.dictionaries(TEXT, st.sampled_from(["delivered", "fallback"]), max_size=3)
st.register_type_strategy(Receipt, st.builds(Receipt, files=OUTCOMES, data=st.dictionaries(TEXT, JSON, max_size=3)))


@given(st.from_type(Question))
def test_a_question_survives_its_form(value: Question) -> None:
    assert forms.QUESTION.read(forms.QUESTION.write(value)) == value


@given(st.from_type(Receipt))
def test_a_receipt_survives_its_form(value: Receipt) -> None:
    assert forms.RECEIPT.read(forms.RECEIPT.write(value)) == value


@given(st.from_type(Saved))
def test_what_was_saved_survives_its_form(value: Saved) -> None:
    assert forms.SAVED.read(forms.SAVED.write(value)) == value


@given(st.from_type(Said) | st.from_type(Called) | st.from_type(Returned))
def test_an_item_survives_its_form(value: Item) -> None:
    kind, written = forms.write_item(value)
    assert written.isascii()
    assert forms.read_item(kind, written) == value


def test_a_form_grows_by_fields() -> None:
    older = json.dumps({"role": "note", "text": "hi"})
    newer = json.dumps({"role": "note", "text": "hi", "shown": True, "colour": "red"})
    assert forms.read_item("said", older) == Said("note", "hi")
    assert forms.read_item("said", newer) == Said("note", "hi", shown=True)
    with pytest.raises(ValueError, match="sung"):
        forms.read_item("sung", older)
