"""Sessions one after another, each with something else done in it, and what is left of them: `bench/soak [SESSIONS]`.

Counts on this machine, where the engine has to be: the containers of the run, processes, and the open files and memory of the
program that speaks to the engine.
"""

import asyncio
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import aiodocker

from sandbox import MIB, Engine, Limits, Spec
from tests.cells import checkpoint, chunks, from_bytes, get, run
from tests.engine import IMAGE, docker_engine

ALIVE = 8
"""Lines to the engine that may be kept open for the next call."""
SPEC = Spec(IMAGE, Limits(seconds=20, memory=512 * MIB, workspace=64 * MIB))
CELLS = (
    "kept = list(range(1000))",
    "import os; os._exit(1)",
    "import subprocess; subprocess.Popen(['sleep', '1000'])",
    "open('made.bin', 'wb').write(os.urandom(1 << 20)) if 'os' in globals() else open('made.bin', 'wb').write(bytes(1 << 20))",
    "raise ValueError('as planned')",
    "print('x' * 1_000_000)",
)


@dataclass(frozen=True, slots=True)
class Left:
    """What there is at one moment."""

    containers: int
    processes: int
    """Under the users that sandboxes have."""
    files: int
    memory: float
    """MiB of this program."""


async def look(instance: str) -> Left:
    """Count."""
    async with aiodocker.Docker() as docker:
        found = await docker.containers.list(all=True, filters={"label": [f"io.cellmate.instance={instance}"]})
    return Left(len(found), _processes(), *_own())


def _own() -> tuple[int, float]:
    """Open files and MiB of this program."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return sum(1 for _ in Path("/proc/self/fd").iterdir()), pages * os.sysconf("SC_PAGE_SIZE") / MIB


def _processes() -> int:
    """Those whose container is none any more, too: a shim, or code that outlived it, is somebody's child."""
    count = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            count += folder.stat().st_uid in range(10_000, 60_002)
        except OSError:
            continue
    return count


async def life(engine: Engine, number: int) -> None:
    """One session: a file in, a cell that may do harm, and every third one put to sleep and woken."""
    key = f"soak {number}"
    session = await engine.session(key, SPEC)
    await session.put("in.txt", 5, chunks(b"hello"))
    await run(session, CELLS[number % len(CELLS)])
    if number % 3 == 0:
        _, blob = await checkpoint(session)
        await session.close()
        session = await engine.session(key, SPEC, from_bytes(blob))
    assert await get(session, "in.txt") == b"hello"
    assert (await run(session, "6 * 7")).value == "42"
    await session.close()


async def soak(engine: Engine, sessions: int, at_once: int = 3) -> None:
    """So many lives, some of them side by side."""
    numbers = iter(range(sessions))

    async def worker() -> None:
        for number in numbers:
            await life(engine, number)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(at_once):
            tasks.create_task(worker())


async def main(sessions: int) -> int:
    instance = f"soak-{os.getpid()}"
    async with docker_engine(instance, spec=SPEC) as engine:
        await soak(engine, 10)  # what is made once is made now
        before, began = await look(instance), time.monotonic()
        await soak(engine, sessions)
        after, seconds = await look(instance), time.monotonic() - began
    print(f"{sessions:,} sessions in {seconds:.0f} s")
    print(f"{'':24}{'before':>10}{'after':>10}")
    for name in ("containers", "processes", "files", "memory"):
        print(f"{name:24}{getattr(before, name):>10.0f}{getattr(after, name):>10.0f}")
    leaks = after.containers or after.processes > before.processes or after.files > before.files + ALIVE
    return int(bool(leaks) or after.memory > before.memory + 16)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)))
