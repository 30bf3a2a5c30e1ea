"""What a session's life costs: `python -m bench.life [ROUNDS]`. Times in milliseconds, median and 95th percentile.

State is 10 MB: a numpy array, a DataFrame with numbers and text, and a file. Everything goes through the bot's own sessions,
journal (SQLite) and files store, as a turn does; containers come from the pool. The baseline of a wake is what a person would
do by hand in the same kind of container: a fresh one by the engine's command line that unpickles the same state.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

from bot import journal, log
from bot.files import open_folder
from bot.sessions import Bounds, Sessions
from bot.types import ThreadRef
from sandbox import MIB, Limits, Spec
from sandbox.docker import DockerEngine
from tests.cells import Outcome, run
from tests.engine import IMAGE, docker_engine

SPEC = Spec(IMAGE, Limits(seconds=60, memory=1024 * MIB))
STATE = """
rng = np.random.default_rng(1)
array = rng.random(500_000)
frame = pd.DataFrame({"n": rng.random(300_000), "k": rng.integers(0, 9, 300_000), "name": ["abcdef"] * 300_000})
n = open("data.bin", "wb").write(rng.bytes(1_000_000))
"""


def row(name: str, seconds: list[float]) -> None:
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    print(f"{name:<58}{statistics.median(ordered) * 1000:>10.1f}{p95 * 1000:>10.1f}{len(ordered):>6}", flush=True)


async def timed(act: Awaitable[object]) -> float:
    began = time.perf_counter()
    await act
    return time.perf_counter() - began


async def filled(engine: DockerEngine) -> None:
    for _ in range(1000):
        if engine._ready:
            break
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)  # what is measured is the wake, not the end of another container's start


@asynccontextmanager
async def house(spec: Spec, pool: int) -> AsyncIterator[tuple[DockerEngine, Sessions]]:
    """An engine, and the bot's sessions on it."""
    log.configure("error")
    with tempfile.TemporaryDirectory() as folder:
        async with journal.connect(f"sqlite:///{folder}/journal.db") as records, docker_engine(spec=spec, pool=pool) as engine:
            sessions = Sessions(engine, spec, open_folder(Path(folder) / "files"), records, Bounds())
            yield engine, sessions
            await sessions.close()


async def cell(sessions: Sessions, thread: ThreadRef, code: str) -> Outcome:
    async with sessions.use(thread) as session:
        outcome = await run(session, code)
        assert outcome.ended.reason in ("ok", "died"), outcome.outputs
        return outcome


async def lives(engine: DockerEngine, sessions: Sessions, rounds: int, state: str, name: str) -> None:
    figures: dict[str, list[float]] = {}

    async def measured(what: str, act: Awaitable[object]) -> None:
        figures.setdefault(f"{name}: {what}", []).append(await timed(act))

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
        await measured("wake from the pool, to the end of a first cell", cell(sessions, thread, "y"))
        await sessions.forget(thread)
    for what, seconds in figures.items():
        row(what, seconds)


async def many(engine: DockerEngine, sessions: Sessions, count: int) -> None:
    """Threads that wake one after the other as fast as they come, with whatever the pool has by then."""
    threads = [ThreadRef("bench", "many", str(number)) for number in range(count)]
    for thread in threads:
        await cell(sessions, thread, "x = list(range(1000))")
        await sessions._hibernate(thread)
    await filled(engine)
    wakes = []
    for thread in threads:
        wakes.append(await timed(cell(sessions, thread, "x")))
        await sessions._hibernate(thread)
    row("small state: wakes without a pause between them", wakes)


async def by_hand(rounds: int) -> None:
    """A fresh container by the command line that unpickles as much."""
    make = f"import pickle, sys, numpy as np, pandas as pd\n{STATE.rpartition('n = ')[0]}\n"
    make += "sys.stdout.buffer.write(pickle.dumps((array, frame)))"
    load = "import sys, pickle, numpy, pandas; pickle.loads(sys.stdin.buffer.read())"
    docker = ("docker", "run", "--rm", "-i", "--network=none", "--entrypoint", "python3", IMAGE, "-c")
    maker = await asyncio.create_subprocess_exec(*docker, make, stdout=asyncio.subprocess.PIPE)
    data, _ = await maker.communicate()
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        loader = await asyncio.create_subprocess_exec(*docker, load, stdin=asyncio.subprocess.PIPE)
        await loader.communicate(data)
        seconds.append(time.perf_counter() - began)
    row("rival: docker run that unpickles the same 10 MB", seconds)


async def main(rounds: int) -> None:
    print(f"{'milliseconds':<58}{'median':>10}{'p95':>10}{'n':>6}")
    async with house(SPEC, pool=1) as (engine, sessions):
        await lives(engine, sessions, rounds, "", "small state")
        await lives(engine, sessions, rounds, STATE, "10 MB")
        await many(engine, sessions, 2 * rounds)
    await by_hand(max(3, rounds // 3))
    print(f"on {os.cpu_count()} cores")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10))
