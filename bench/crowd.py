"""Many threads on one machine: a burst of questions, and how many can stay open. `python -m bench.crowd [BURST] [LIVE]`.

Reads each container's memory and processor time from the control groups under /sys/fs/cgroup, as root, on the engine's machine.
"""

import asyncio
import sys
import time

from bench.house import RUNTIME, filled
from bench.measure import Table, control_group
from bench.sandbox import PLOT
from sandbox import GIB, MIB, Limits, Printed, Spec
from sandbox.docker import DockerEngine
from tests.cells import run
from tests.engine import IMAGE, docker_engine

SPEC = Spec(IMAGE, Limits(seconds=60, memory=1 * GIB), RUNTIME)
MACHINE = 24 * GIB
IDLE = 10.0


async def burst(table: Table, threads: int) -> None:
    """All ask for a print at once; to the first output of each."""

    async def ask(engine: DockerEngine, number: int) -> float:
        began = time.perf_counter()
        session = await engine.session(f"burst {number}", SPEC)
        first = 0.0
        async for output in session.run("print", "print('on')"):
            if isinstance(output, Printed) and not first:
                first = time.perf_counter() - began
        return first

    async with docker_engine(spec=SPEC, pool=threads) as engine:
        await filled(engine, threads)
        waits = await asyncio.gather(*(ask(engine, number) for number in range(threads)))
    table.row(f"{threads} threads at once, to the first output", waits, 400)
    table.check("    95th percentile", sorted(waits)[int(0.95 * threads)] * 1000, 1000)


async def density(table: Table, name: str, code: str, threads: int, goal: float | None) -> None:
    """`threads` sessions that have run `code` and are left open."""
    async with docker_engine(spec=SPEC) as engine:
        for number in range(threads):
            await run(await engine.session(f"live {number}", SPEC), code)
        containers = [container.id for container in engine._claimed.values()]
        memory = sum(map(_used, containers))
        before = sum(map(_spent, containers))
        await asyncio.sleep(IDLE)
        idle = (sum(map(_spent, containers)) - before) / IDLE
        answered = [(await run(await engine.session(f"live {number}", SPEC), "'here'")).value for number in range(threads)]
    assert answered == ["'here'"] * threads
    why = "pandas, pyarrow and matplotlib, loaded, are 89 MiB of each container's own" if code == PLOT else ""
    table.check(f"{threads} live threads, {name}: MiB each", memory / threads / MIB, MACHINE / 300 / MIB, why=why)
    table.check("    so many in 24 GiB", MACHINE / (memory / threads), goal or 0, least=True, why=why)
    table.check("    processor time of all while idle, % of a core", 100 * idle, 1)


def _used(id: str) -> int:
    """Bytes."""
    group = control_group(id, "memory")
    old = group / "memory.usage_in_bytes"
    return int((old if old.exists() else group / "memory.current").read_text())


def _spent(id: str) -> float:
    """Seconds of processor time so far."""
    group = control_group(id, "cpuacct")
    if (old := group / "cpuacct.usage").exists():
        return int(old.read_text()) / 1e9
    fields = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
    return int(fields["usage_usec"]) / 1e6


async def main(threads: int, live: int) -> int:
    table = Table("A crowd")
    await burst(table, threads)
    await density(table, "that print", "print('on')", live, 300)
    await density(table, "that plot", PLOT, live // 6, 300)
    return table.missed


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    print(f"\ngoals not met: {asyncio.run(main(*(numbers or [50, 300])))}")
