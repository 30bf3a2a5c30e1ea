"""The line before the sandbox: fair, and everybody in it knows their place."""

import asyncio

from bot.turns import Line


async def test_places_are_given_in_the_order_of_asking_and_the_place_is_told() -> None:
    line, served, told = Line(1), [], {name: list[int]() for name in "abc"}
    gates = {name: asyncio.Event() for name in "abc"}

    async def turn(name: str) -> None:
        async with line.place(told[name].append):
            served.append(name)
            await gates[name].wait()

    tasks = [asyncio.create_task(turn(name)) for name in "abc"]
    await asyncio.sleep(0)
    assert (served, told) == (["a"], {"a": [], "b": [1], "c": [2]})
    gates["a"].set()
    await asyncio.wait({tasks[0]})
    await asyncio.sleep(0)
    assert served == ["a", "b"] and told["c"] == [2, 1]
    gates["b"].set()
    gates["c"].set()
    await asyncio.gather(*tasks)
    assert served == ["a", "b", "c"]


async def test_leaving_the_line_gives_nobody_elses_place_away() -> None:
    line, served = Line(1), []

    async def turn(name: str, gate: asyncio.Event) -> None:
        async with line.place(lambda ahead: None):
            served.append(name)
            await gate.wait()

    gates = [asyncio.Event() for _ in range(3)]
    tasks = [asyncio.create_task(turn(name, gate)) for name, gate in zip("abc", gates, strict=True)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.wait({tasks[1]})
    gates[0].set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert served == ["a", "c"]
    gates[2].set()
    await asyncio.gather(tasks[0], tasks[2])


async def test_one_cancelled_in_the_moment_it_is_admitted_passes_its_place_on() -> None:
    line, served = Line(1), []

    async def turn(name: str) -> None:
        async with line.place(lambda ahead: None):
            served.append(name)

    release = asyncio.Event()

    async def holder() -> None:
        async with line.place(lambda ahead: None):
            await release.wait()

    first = asyncio.create_task(holder())
    await asyncio.sleep(0)
    second, third = asyncio.create_task(turn("second")), asyncio.create_task(turn("third"))
    await asyncio.sleep(0)
    release.set()
    await asyncio.sleep(0)
    second.cancel()  # admitted, but not run yet
    await asyncio.wait({first, second, third})
    assert served == ["third"]
