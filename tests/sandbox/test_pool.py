"""How many are kept ready, and what becomes of those that no longer work."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import SandboxDown, SandboxLost
from sandbox import pool as pool_module
from sandbox.pool import Demand, Pool


class Thing:
    """What a pool keeps, without a container."""

    def __init__(self, works: "Works", number: int) -> None:
        self.works, self.number = works, number
        self.lost = False
        self.silent = False
        self.removed = False
        self.warm = False

    async def check(self) -> None:
        if self.silent:
            raise SandboxLost("no answer")

    async def warm_up(self) -> None:
        await self.works.warm_up(self)

    async def remove(self) -> None:
        self.removed = True


class Works:
    """Makes things; can be closed for a while."""

    def __init__(self) -> None:
        self.made: list[Thing] = []
        self.at_once = 0
        self.most_at_once = 0
        self.closed = self.fails = False
        self.warm_up: Callable[[Thing], Awaitable[None]] = self._warm_up

    async def _warm_up(self, thing: Thing) -> None:
        await asyncio.sleep(0.001)
        thing.warm = True

    async def make(self) -> Thing:
        if self.closed:
            raise SandboxDown("closed")
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.02)
        self.at_once -= 1
        if self.fails:
            self.fails = False
            raise SandboxDown("failed")
        self.made.append(Thing(self, len(self.made)))
        return self.made[-1]


@asynccontextmanager
async def kept(works: Works, least: int, most: int = 0, busy: Callable[[], bool] = lambda: False) -> AsyncIterator[Pool[Thing]]:
    pool = Pool(works.make, least, most, busy)
    keeping = asyncio.create_task(pool.keep())
    try:
        yield pool
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
        await pool.close()
    assert pool.ready == []


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if holds():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("not within 10 s")


def test_a_burst_is_expected_again_and_forgotten_with_time() -> None:
    demand = Demand()
    assert demand.expected(0.0) == 0
    for n in range(8):
        demand.arrived(100.0 + n)
    assert demand.expected(107.0) == 8
    demand.arrived(500.0)
    assert 4 <= demand.expected(500.0) <= 6, "one alone is no reason to expect fewer at once"
    assert demand.expected(107.0 + 3_600) == 0


@given(st.lists(st.floats(0, 1e5)), st.floats(0, 1e5))
def test_no_more_are_expected_than_ever_came_at_once(times: list[float], later: float) -> None:
    demand, times = Demand(), sorted(times)
    for at in times:
        demand.arrived(at)
    at_once = max((sum(start <= at <= start + 10 for at in times) for start in times), default=0)
    assert 0 <= demand.expected(max(times, default=0) + later) <= at_once


async def test_the_least_is_kept_and_made_one_at_a_time() -> None:
    works = Works()
    async with kept(works, least=3) as pool:
        await until(lambda: len(pool.ready) == 3)
        first = pool.take()
        assert first is works.made[0]
        await until(lambda: len(pool.ready) == 3)
        assert works.most_at_once == 1 and first not in pool.ready


async def test_more_are_kept_when_more_come_at_once_up_to_the_most() -> None:
    works = Works()
    async with kept(works, least=1, most=4) as pool:
        for _ in range(3):
            pool.take()
        await until(lambda: len(pool.ready) == 3)
        for _ in range(9):
            pool.take()
        await until(lambda: len(pool.ready) == 4)
        assert pool.size == 4


async def test_who_finds_nothing_gets_what_is_being_made_and_nobody_else_does() -> None:
    works = Works()
    async with kept(works, least=1) as pool:
        await until(lambda: works.at_once == 1)
        first, second = asyncio.create_task(pool.coming()), asyncio.create_task(pool.coming())
        assert await second is None, "one makes one for itself"
        assert await first is works.made[0] and works.made[0] not in pool.ready
        await until(lambda: works.at_once == 1)
        given_up = asyncio.create_task(pool.coming())
        await asyncio.sleep(0)
        given_up.cancel()
        await until(lambda: len(pool.ready) == 1 and pool.ready == works.made[1:2])
        assert await pool.coming() is None, "nothing is being made"


async def test_one_that_came_just_as_nobody_wanted_it_any_more_is_the_next_ones() -> None:
    works = Works()

    async def make() -> Thing:
        made = await works.make()
        asyncio.get_running_loop().call_soon(waiting.cancel)  # runs before whoever waits has been told
        return made

    pool = Pool(make, 1, 1, lambda: False)
    adding = asyncio.create_task(pool._add())
    await asyncio.sleep(0)
    waiting = asyncio.create_task(pool.coming())
    await adding
    await asyncio.wait({waiting})
    assert waiting.cancelled() and pool.ready == works.made
    await pool.close()


async def test_who_waits_for_one_that_fails_is_not_left_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_RETRY", (0.01, 0.02))
    works = Works()
    async with kept(works, least=1) as pool:
        await until(lambda: works.at_once == 1)
        works.fails = True
        assert await pool.coming() is None


async def test_there_are_enough_before_any_is_warmed_and_the_warm_ones_go_first() -> None:
    works, warm_at = Works(), list[int]()
    async with kept(works, least=3) as pool:

        async def warm_up(thing: Thing) -> None:
            warm_at.append(len(pool.ready))
            thing.warm = thing.number == 1

        works.warm_up = warm_up
        await until(lambda: len(warm_at) == 3)
        assert warm_at == [3, 3, 3]
        assert pool.take() is works.made[1]


async def test_one_that_ends_over_being_warmed_is_replaced_a_little_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_RETRY", (0.01, 0.02))
    works = Works()

    async def freeze(thing: Thing) -> None:
        if thing.number == 0:
            raise SandboxLost("ended")
        thing.warm = True

    works.warm_up = freeze
    async with kept(works, least=1) as pool:
        await until(lambda: [thing.number for thing in pool.ready if thing.warm] == [1])
        assert works.made[0].removed


async def test_a_pool_of_none_makes_none() -> None:
    works = Works()
    async with kept(works, least=0, most=8) as pool:
        assert pool.take() is None
        await asyncio.sleep(0.05)
        assert works.made == []


async def test_nothing_is_made_while_cells_want_the_cores() -> None:
    works, busy = Works(), True
    async with kept(works, least=1, busy=lambda: busy) as pool:
        await asyncio.sleep(0.5)
        assert works.made == []
        busy = False
        await until(lambda: len(pool.ready) == 1)


async def test_what_no_longer_works_is_neither_given_nor_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_CHECK", 0.05)
    works = Works()
    async with kept(works, least=2) as pool:
        await until(lambda: len(pool.ready) == 2)
        broken, silent = pool.ready
        broken.lost = silent.silent = True
        assert pool.take() is silent, "one that is known to be broken is passed over"
        await until(lambda: len(pool.ready) == 2)
        pool.ready[0].silent = True
        dumb = pool.ready[0]
        await until(lambda: dumb.removed and broken.removed and len(pool.ready) == 2)
        assert dumb not in pool.ready
    assert [thing for thing in works.made if not thing.removed] == [silent], "what was taken is whose it is"


async def test_it_is_filled_once_the_engine_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_RETRY", (0.01, 0.02))
    works = Works()
    works.closed = True
    async with kept(works, least=1) as pool:
        await asyncio.sleep(0.1)
        works.closed = False
        await until(lambda: len(pool.ready) == 1)
