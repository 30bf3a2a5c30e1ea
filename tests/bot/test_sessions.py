"""The threads' sessions on a real engine, journal and disk: when they rest, sleep and wake, and what is told of it."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from bot import journal
from bot.files import open_folder
from bot.journal import KEPT, SqlJournal
from bot.sessions import EXPIRED, Bounds, Sessions
from bot.types import Asker, Place, Question, ThreadRef, turn_id
from sandbox import MIB, Engine, Limits, Spec
from tests.cells import run
from tests.engine import IMAGE, docker_engine, missing

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]
SPEC = Spec(IMAGE, Limits(seconds=20, memory=512 * MIB, workspace=64 * MIB))
THREAD, OTHER = ThreadRef("test", "w.c", "1"), ThreadRef("test", "w.c", "2")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[Engine]:
    if why := await missing():
        pytest.skip(why)
    async with docker_engine(spec=SPEC, pool=1) as opened:
        yield opened


class Threads:
    """Sessions that are tended, and what they keep."""

    def __init__(self, home: Path, engine: Engine, records: SqlJournal, bounds: Bounds) -> None:
        self.home, self.engine, self.records = home, engine, records
        self.sessions = Sessions(engine, SPEC, open_folder(home / "files"), records, bounds)

    async def run(self, code: str, thread: ThreadRef = THREAD, turn: str = "") -> str | None:
        async with self.sessions.use(thread, turn) as session:
            return (await run(session, code)).value

    async def running(self, thread: ThreadRef = THREAD) -> bool:
        return str(thread) in await self.engine.running()

    async def asleep(self, *threads: ThreadRef) -> None:
        async def sleeping() -> bool:
            return not any([await self.running(thread) for thread in threads])

        await until(sleeping)

    def stored(self) -> set[Path]:
        return {path for path in (self.home / "files").rglob("*") if path.is_file()}


@asynccontextmanager
async def threads(home: Path, engine: Engine, bounds: Bounds, *, tended: bool = True) -> AsyncIterator[Threads]:
    async with journal.connect(f"sqlite:///{home}/journal.db") as records:
        opened = Threads(home, engine, records, bounds)
        tending = asyncio.create_task(opened.sessions.tend() if tended else asyncio.sleep(0))
        try:
            yield opened
        finally:
            tending.cancel()
            await asyncio.wait({tending})
            assert await opened.sessions.close() == []


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(600):
        if await holds():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("not within 30 s")


def age(home: Path, by: timedelta) -> None:
    """As if the checkpoints had been made so long ago."""
    then = (datetime.now(UTC) - by).strftime("%Y-%m-%d %H:%M:%S.%f")
    with closing(sqlite3.connect(home / "journal.db")) as connection, connection:
        connection.execute("UPDATE checkpoints SET saved_at = ?", (then,))


async def test_an_idle_thread_is_paused_then_put_to_sleep_and_wakes(engine: Engine, tmp_path: Path) -> None:
    async with threads(tmp_path, engine, Bounds(pause=0.4, idle=3)) as these:
        async with these.sessions.engaged(THREAD):
            await until(these.running)  # claimed before it is needed
            await these.run("x = 41")
        held = these.sessions._held[THREAD]

        async def paused() -> bool:
            return held.resting

        await until(paused)
        assert await these.run("x += 1") is None, "a paused one goes on"
        await these.asleep(THREAD)
        assert await these.run("x") == "42"
        assert these.sessions.news(THREAD) == ""


async def test_a_thread_whose_model_thinks_is_not_put_to_sleep_for_another(engine: Engine, tmp_path: Path) -> None:
    async with threads(tmp_path, engine, Bounds(most=1, memory=1, idle=0.2, pause=0.2)) as these:
        async with these.sessions.engaged(THREAD):
            await these.run("x = 1")
            first = these.sessions._held[THREAD].session
            await these.run("x = 2", OTHER)
            await these.asleep(OTHER)
            assert await these.run("x") == "1"
            assert these.sessions._held[THREAD].session is first
        await these.asleep(THREAD)


async def test_the_longest_idle_sleep_when_all_use_too_much_memory(engine: Engine, tmp_path: Path) -> None:
    async with threads(tmp_path, engine, Bounds(memory=MIB, pause=1)) as these:
        await these.run("x = 1")
        await these.run("x = 2", OTHER)
        await these.asleep(THREAD, OTHER)
        assert [await these.run("x"), await these.run("x", OTHER)] == ["1", "2"]


async def test_what_nobody_came_back_to_is_removed_and_said(engine: Engine, tmp_path: Path) -> None:
    async with threads(tmp_path, engine, Bounds(), tended=False) as these:
        await these.run("x = 1")
    assert these.stored()
    await asyncio.to_thread(age, tmp_path, timedelta(days=31))
    async with threads(tmp_path, engine, Bounds()) as these:

        async def removed() -> bool:
            return not these.stored()

        await until(removed)
        assert await these.run("'x' in globals()") == "False"
        assert these.sessions.news(THREAD) == EXPIRED
        assert these.sessions.news(THREAD) == "", "it is said once"
    async with threads(tmp_path, engine, Bounds(), tended=False) as these:
        await these.run("1")
        assert these.sessions.news(THREAD) == "", "there is a newer checkpoint"


async def test_over_the_ceiling_on_disk_the_longest_asleep_are_removed(engine: Engine, tmp_path: Path) -> None:
    async with threads(tmp_path, engine, Bounds(), tended=False) as these:
        for thread in (THREAD, OTHER):
            await these.run("import random; x = random.randbytes(200_000)", thread)
            await these.sessions.save(thread)
    async with threads(tmp_path, engine, Bounds(disk=300_000)) as these:

        async def one_left() -> bool:
            return await these.records.asleep(datetime.now(UTC)) == [OTHER]

        await until(one_left)
        assert sum(path.stat().st_size for path in these.stored()) < 300_000
        assert await these.run("len(x)", OTHER) == "200000"


async def test_unchanged_variables_and_files_are_not_written_again(engine: Engine, tmp_path: Path) -> None:
    async with threads(tmp_path, engine, Bounds(), tended=False) as these:
        await these.run("big = np.random.bytes(5_000_000); n = open('big.bin', 'wb').write(big)")
        await these.sessions.save(THREAD)
        before = these.stored()
        await these.run("n = 0")
        await these.sessions.save(THREAD)
        new = these.stored() - before
        assert len(new) == 1 and sum(path.stat().st_size for path in new) < 10_000
        await these.run("big = n = 0", turn="")
        await these.sessions.save(THREAD)
        assert sum(path.stat().st_size for path in these.stored()) < 6_000_000, "what no checkpoint needs is removed"


async def test_a_thread_goes_back_to_before_a_question_while_that_is_kept(engine: Engine, tmp_path: Path) -> None:
    turns = [turn_id(f"k{n}") for n in range(KEPT + 2)]
    async with threads(tmp_path, engine, Bounds(), tended=False) as these:
        for n, turn in enumerate(turns):
            await these.records.accept(Question(turn, (f"k{n}",), THREAD, Asker("u"), Place("w", "c"), "?"))
            await these.run(f"x = {n}; y{n} = 1; open('f', 'w').write('{n}')", turn=turn)
            await these.sessions.save(THREAD)
        assert not await these.sessions.rewind(THREAD, turns[2]), "that is no longer kept"
        assert await these.run("x") == str(KEPT + 1), "and nothing has changed"
        assert await these.sessions.rewind(THREAD, turns[4])
        assert await these.run("x, open('f').read(), 'y4' in globals()") == "(3, '3', False)"
        assert await these.sessions.rewind(THREAD, turns[0])
        assert await these.run("import os; 'x' in globals(), os.listdir()") == "(False, [])"


async def test_variables_that_were_lost_before_they_were_saved_are_named(engine: Engine, tmp_path: Path) -> None:
    async with threads(tmp_path, engine, Bounds(), tended=False) as these:
        await these.run("x = 1; open('f', 'w').write('one')")
        await these.sessions.save(THREAD)
        await these.run("x = 2; open('f', 'w').write('two')")
        await these.sessions.save(THREAD, "files")
        await these.sessions._held[THREAD].session.close()  # the container goes before the variables are saved
        assert await these.run("x, open('f').read()") == "(1, 'two')"
        why = "they were lost before they could be saved"
        assert these.sessions.news(THREAD) == f"Restored 1 variable and 1 file; the newest variables could not be kept ({why})."


async def test_a_python_that_died_after_its_cell_does_not_take_the_kept_variables_with_it(
    engine: Engine, tmp_path: Path
) -> None:
    async with threads(tmp_path, engine, Bounds(), tended=False) as these:
        await these.run("x = 1")
        await these.sessions.save(THREAD)
        await these.run("import os, threading; threading.Timer(0.2, lambda: os._exit(1)).start()")
        await asyncio.sleep(0.6)
        await these.sessions.save(THREAD)
        assert these.sessions.news(THREAD) == "Variables are as they were at the end of the previous answer."
        kept = await these.records.checkpoint(THREAD)
        assert kept is not None and kept.variables.variables == 1
        assert await these.run("x") == "1"


async def test_a_piece_that_is_missing_is_a_loss_with_a_name(engine: Engine, tmp_path: Path) -> None:
    async with threads(tmp_path, engine, Bounds(), tended=False) as these:
        await these.run("x = 1; open('f', 'w').write('here')")
    async with threads(tmp_path, engine, Bounds(), tended=False) as these:
        kept = await these.records.checkpoint(THREAD)
        assert kept is not None
        for piece in kept.pieces:
            if piece.part == "variables":
                (tmp_path / "files" / piece.blob.digest[:2] / piece.blob.digest).unlink()
        assert await these.run("open('f').read()") == "'here'"
        assert these.sessions.news(THREAD) == (
            "Restored 0 variables and 1 file; variables could not be brought back (a part of it is missing on the disk)."
        )
        await these.run("x = 1")
    async with threads(tmp_path, engine, Bounds(), tended=False) as these:
        assert await these.run("x") == "1", "what has the same content is written again, for it is not there"
