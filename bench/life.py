"""What a session's life costs: `python -m bench.life [ROUNDS] [ASLEEP]`. Times in milliseconds, median and 95th percentile.

State is 10 MB: a numpy array, a DataFrame with numbers and text, and a file. Everything goes through the bot's own sessions,
journal (SQLite) and files store, as a turn does; containers come from the pool. The baseline of a wake is what a person would
do by hand in the same kind of container: a fresh one by the engine's command line that unpickles the same state.

Threads asleep, ten thousand of them, are made by giving one real checkpoint to each, sealed anew as its own.
"""

import asyncio
import os
import random
import sys
import time
from collections.abc import Awaitable
from functools import partial
from pathlib import Path
from typing import cast

from bench.house import RUNTIME, cell, filled, house
from bench.measure import Table, percentile, timed
from bot.sessions import PARTS, Sessions, _Held
from bot.types import ThreadRef
from sandbox import MIB, Limits, Part, Saved, Session, Sink, Spec
from sandbox.docker import DockerEngine
from tests.engine import IMAGE

SPEC = Spec(IMAGE, Limits(seconds=60, memory=1024 * MIB), RUNTIME)
STATE = """
rng = np.random.default_rng(1)
array = rng.random(500_000)
frame = pd.DataFrame({"n": rng.random(300_000), "k": rng.integers(0, 9, 300_000), "name": ["abcdef"] * 300_000})
n = open("data.bin", "wb").write(rng.bytes(1_000_000))
"""
WAKE = "wake from the pool, to the end of a first cell"


async def lives(table: Table, engine: DockerEngine, sessions: Sessions, rounds: int, state: str, name: str) -> None:
    figures: dict[str, list[float]] = {}

    async def measured(what: str, act: Awaitable[object]) -> None:
        began = time.perf_counter()
        await act
        figures.setdefault(what, []).append(time.perf_counter() - began)

    for number in range(rounds):
        thread = ThreadRef("bench", name, str(number))
        await filled(engine)
        await cell(sessions, thread, state or "x = 1")
        await measured("first checkpoint", sessions.save(thread))
        await cell(sessions, thread, "y = 2")
        await measured("next checkpoint, one small variable changed", sessions.save(thread))
        await sessions._rest(thread)
        await measured("first cell after a pause", cell(sessions, thread, "y"))
        await cell(sessions, thread, "import os; os._exit(1)")
        await measured("variables back after Python was killed", sessions.mend(thread, ["y = 3"]))
        await measured("put to sleep, changed since the last checkpoint", sessions._hibernate(thread))
        await filled(engine)
        await measured(WAKE, cell(sessions, thread, "y"))
        await sessions.forget(thread)
    for what, seconds in figures.items():
        table.row(f"{name}: {what}", seconds, 150 if what == WAKE else None)


class Recorder:
    """A checkpoint as a session gives it (`sandbox.Sink`), and a session that gives the same again."""

    emptied = False

    def __init__(self) -> None:
        self._given: dict[Part, list[tuple[bytes, str]]] = {"files": [], "variables": []}
        self._saved: dict[Part, Saved] = {}
        self._part: Part = "files"

    async def write(self, data: bytes) -> None:
        self._given[self._part].append((data, ""))

    async def piece(self, name: str) -> None:
        self._given[self._part].append((b"", name))

    async def record(self, session: Session) -> None:
        for self._part in PARTS:
            self._saved[self._part] = await session.checkpoint(self._part, self)

    async def checkpoint(self, part: Part, sink: Sink, known: object = ()) -> Saved:
        for data, name in self._given[part]:
            await (sink.write(data) if data else sink.piece(name))
        return self._saved[part]


async def asleep(table: Table, engine: DockerEngine, sessions: Sessions, count: int, wakes: int) -> None:
    """So many threads asleep: what they take of this process, and how long some of them take to wake."""
    recorder, made = Recorder(), ThreadRef("bench", "asleep", "made")
    await cell(sessions, made, "x = list(range(1000)); n = open('notes.txt', 'w').write('kept')")
    async with sessions.use(made) as session:
        await recorder.record(session)
    await sessions.forget(made)
    threads = [ThreadRef("bench", "asleep", str(number)) for number in range(count)]
    before = _own_memory()
    for thread in threads:
        await sessions._checkpoint(thread, _Held(cast(Session, recorder)), PARTS)
    table.check(f"{count:,} threads asleep: MiB of this process for all", (_own_memory() - before) / MIB, 32)
    table.check("    containers for them", len(await engine.running()), 0)
    for name, rest in (("with a container waiting", True), ("without a pause between them", False)):
        seconds = []
        await filled(engine)
        for thread in random.Random(wakes).sample(threads, wakes):
            if rest:
                await filled(engine)
            seconds.append(await timed(partial(cell, sessions, thread, "assert len(x) == 1000; open('notes.txt').read()")))
            await sessions._hibernate(thread)
        table.row(f"one of them wakes {name}", seconds)
        table.check("    95th percentile", percentile(seconds, 0.95) * 1000, 1000)


def _own_memory() -> int:
    """Bytes (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def by_hand(table: Table, rounds: int) -> None:
    """A fresh container by the command line that unpickles as much."""
    make = f"import pickle, sys, numpy as np, pandas as pd\n{STATE.rpartition('n = ')[0]}\n"
    make += "sys.stdout.buffer.write(pickle.dumps((array, frame)))"
    load = "import sys, pickle, numpy, pandas; pickle.loads(sys.stdin.buffer.read())"
    runtime = [f"--runtime={RUNTIME}"] if RUNTIME else []
    docker = (
        os.environ.get("DOCKER", "docker"),
        "run",
        "--rm",
        "-i",
        "--network=none",
        *runtime,
        "--entrypoint",
        "python3",
        IMAGE,
        "-c",
    )
    maker = await asyncio.create_subprocess_exec(*docker, make, stdout=asyncio.subprocess.PIPE)
    data, _ = await maker.communicate()
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        loader = await asyncio.create_subprocess_exec(*docker, load, stdin=asyncio.subprocess.PIPE)
        await loader.communicate(data)
        seconds.append(time.perf_counter() - began)
    table.row("rival: docker run that unpickles the same 10 MB", seconds)


async def main(rounds: int, sleepers: int) -> int:
    table = Table("A session's life")
    async with house(SPEC, pool=1) as (engine, sessions):
        await lives(table, engine, sessions, rounds, "", "small state")
        await lives(table, engine, sessions, rounds, STATE, "10 MB")
        await asleep(table, engine, sessions, sleepers, 3 * rounds)
    await by_hand(table, max(3, rounds // 3))
    return table.missed


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    print(f"\ngoals not met: {asyncio.run(main(*(numbers + [10, 10_000][len(numbers) :])))}")
