"""What one sandbox costs, beside what it is compared with, in one run: `python -m bench.sandbox [ROUNDS]`.

The peers: `docker run` of a bare Python for each cell, `docker run cat` for files, and in containers of the same libraries an
ipykernel driven by jupyter_client, and llm-sandbox. `bench/run` makes what they need: the image `cellmate-peers`, and
`.setup/rivals`. BENCH_RUNTIME names another runtime.
"""

import asyncio
import json
import os
import resource
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from bench.house import RUNTIME, cell, filled, house
from bench.measure import Table, control_group, percentile, timed
from bot.sessions import Sessions
from bot.types import ThreadRef
from sandbox import KIB, MIB, Ended, Limits, Printed, Session, Spec, Started
from tests.cells import get, run
from tests.engine import IMAGE, docker_engine

PEERS = os.environ.get("BENCH_PEERS", "cellmate-peers:latest")
SPEC = Spec(IMAGE, Limits(seconds=60, memory=2 << 30, file=600 * MIB), RUNTIME)
FRAME = "pd.DataFrame({'month': range(12), 'revenue': range(12)})"
PLOT = f"{FRAME}.plot(x='month', y='revenue', title='Revenue')"
FIGURE = f"import pandas as pd, matplotlib; matplotlib.use('Agg')\n{PLOT}.figure.savefig('/tmp/x.png')"
RIVALS = Path(__file__).parent.parent / ".setup/rivals/bin/python"
LARGE = 500 * MIB
HOG = "print('on', flush=True)\nx = b'1' * (1200 << 20)"


async def starts(table: Table, rounds: int) -> None:
    async with docker_engine(spec=SPEC) as engine:
        for name, code, goal in (("a plain cell", "1", 250), ("a cell that plots", PLOT, 1000)):
            cold = []
            for number in range(rounds):
                began = time.perf_counter()
                session = await engine.session(f"{name} {number}", SPEC)
                await run(session, code)
                cold.append(time.perf_counter() - began)
                await session.close()
            table.row(f"no container yet, to the end of {name}", cold, goal)
    await _claims(table, rounds)
    rested, figures = [], []
    async with docker_engine(spec=SPEC, pool=1) as engine:
        for number in range(rounds):
            await filled(engine)
            began = time.perf_counter()
            session = await engine.session(f"warm {number}", SPEC)
            rested.append(time.perf_counter() - began)
            outcome = await run(session, PLOT)
            await get(session, outcome.names[0])
            figures.append(time.perf_counter() - began)
            await session.close()
    table.row("the same after a rest of a third of a second", rested)
    table.row("new thread to its first figure's PNG on the host", figures, 110)


async def _claims(table: Table, rounds: int) -> None:
    """One after the other, from a pool that is full."""
    claims = []
    async with docker_engine(spec=SPEC, pool=10) as engine:
        for turn in range(rounds):
            await filled(engine, 10)
            opened = []
            for number in range(10):
                began = time.perf_counter()
                opened.append(await engine.session(f"claim {turn} {number}", SPEC))
                claims.append(time.perf_counter() - began)
            for session in opened:
                await session.close()
    table.row("claim of a waiting container, one after the other", claims, 1)
    table.check("    99th percentile", percentile(claims, 0.99) * 1000, 5)


async def cells(table: Table, rounds: int) -> float:
    """Returns the median of a trivial cell, in milliseconds."""
    async with docker_engine(spec=SPEC) as engine:
        session = await engine.session("cells", SPEC)
        await run(session, FRAME)
        trivial = table.row("trivial cell", [await timed(lambda: run(session, "1 + 1")) for _ in range(rounds * 30)], 1)
        table.row("first byte of a print at the host", [await _first_byte(session) for _ in range(rounds * 5)], 5)
        table.row("figure in a running thread", [await timed(lambda: run(session, PLOT)) for _ in range(rounds)])
        table.row("Stop to the cell's end", [await _stopped(session) for _ in range(rounds)])
    return trivial


async def recovery(table: Table, rounds: int) -> None:
    """From the moment before the kernel is lost to the end of the next cell."""
    deaths = {
        "os._exit": "import os; print('on', flush=True); os._exit(1)",
        "a segmentation fault": "import ctypes; print('on', flush=True); ctypes.string_at(0)",
    }
    spec = Spec(IMAGE, Limits(seconds=60, memory=1 << 30), RUNTIME)
    async with docker_engine(spec=spec) as engine:
        session = await engine.session("deaths", spec)
        for name, code in deaths.items():
            table.row(f"lost to {name}, to the next cell's end", [await _recovered(session, code) for _ in range(rounds)], 60)
        if RUNTIME is None:
            counter = control_group(engine._claimed["deaths"].id, "memory")
            starved = [await _starved(session, counter) for _ in range(rounds)]
            why = "a process's end is told once its memory is free, 1 GiB here"
            table.row("lost to want of memory, to the next cell's end", starved, 60, why=why)
        table.row("    with the filling of 1 GiB before it", [await _recovered(session, HOG) for _ in range(rounds)])
        table.row("a hard time-out's SIGKILL to the next cell's end", [await _killed(session) for _ in range(rounds)], 60)


async def _recovered(session: Session, code: str) -> float:
    lost = 0.0
    async for output in session.run(f"die {time.monotonic_ns()}", code):
        if isinstance(output, Printed) and not lost:
            lost = time.perf_counter()
        if isinstance(output, Ended) and output.reason != "died":
            raise RuntimeError(f"the code did not end Python: {output}")
    await run(session, "1")
    return time.perf_counter() - lost


async def _starved(session: Session, group: Path) -> float:
    """From the moment in which the kernel has ended Python, as the control group counts it."""
    with ThreadPoolExecutor(1) as beside:
        killed = beside.submit(_next_kill, group)
        await _recovered(session, HOG)
        return time.perf_counter() - killed.result()


def _next_kill(group: Path) -> float:
    def count() -> str:
        return next(line for path in counters for line in path.read_text().splitlines() if line.startswith("oom_kill "))

    counters = [path for path in (group / "memory.oom_control", group / "memory.events") if path.exists()]
    before = count()
    while count() == before:
        time.sleep(0.0005)
    return time.perf_counter()


async def _killed(session: Session) -> float:
    """A cell that holds on to SIGINT for its whole grace is killed; the seconds beyond limit and grace."""
    limits = Limits(seconds=0.3, grace=0.2)
    began = 0.0
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"
    async for output in session.run(f"kill {time.monotonic_ns()}", code, limits):
        if isinstance(output, Started):
            began = time.perf_counter()
    await run(session, "1")
    return time.perf_counter() - began - limits.seconds - limits.grace


async def _first_byte(session: Session) -> float:
    came, began = 0.0, time.perf_counter()
    async for output in session.run(f"print {time.monotonic_ns()}", "print('on')"):
        if isinstance(output, Printed):
            came = time.perf_counter() - began
    return came


async def _stopped(session: Session) -> float:
    began = 0.0
    async for output in session.run(f"stop {time.monotonic_ns()}", "print('on', flush=True)\nwhile True: pass"):
        if isinstance(output, Printed):
            began = time.perf_counter()
            await session.interrupt()
    return time.perf_counter() - began


async def output(table: Table) -> None:
    """The host's memory while 100 MB are printed."""
    async with docker_engine(spec=SPEC) as engine:
        session = await engine.session("output", SPEC)
        await run(session, "print('x' * 100_000)")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds = await timed(lambda: run(session, "for _ in range(1000): print('x' * 100_000)"))
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * KIB / MIB
        table.check("MiB that 100 MB of output cost the host", grown, 4)
        table.say("", f"in {seconds:.2f} s")


# --- Files ---------------------------------------------------------------------------------------------------------------


async def files(table: Table, rounds: int) -> None:
    """Both ways, beside the engine's own client with `cat` at the other end; memory of the host beside it."""
    into, out = [], []
    rival_into, rival_out = [], []
    async with docker_engine(spec=SPEC) as engine:
        session = await engine.session("files", SPEC)
        await session.put("warm", MIB, _zeros(MIB))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(rounds):  # in turns, so that what else the machine does falls on both
            into.append(await timed(lambda: session.put("large", LARGE, _zeros(LARGE))))
            rival_into.append(await _cat_into())
            out.append(await timed(lambda: _drain(session)))
            rival_out.append(await _cat_out())
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * KIB / MIB
    speed = LARGE / MIB
    for name, ours, rival in (("into the sandbox", into, rival_into), ("out of the sandbox", out, rival_out)):
        table.row(f"500 MB {name}, MB/s", [speed / seconds for seconds in ours], scale=1)
        table.row("    docker run cat, MB/s", [speed / seconds for seconds in rival], scale=1)
        table.check("    share of docker run cat, %", 100 * statistics.median(rival) / statistics.median(ours), 60, least=True)
    table.check("MiB of the host's memory that it took", grown, 16)


async def _zeros(size: int) -> AsyncIterator[bytes]:
    block = bytes(MIB)
    for _ in range(size // MIB):
        yield block


async def _drain(session: Session) -> None:
    async for _ in session.get("large"):
        pass


def _docker(*arguments: str) -> tuple[str, ...]:
    runtime = (f"--runtime={RUNTIME}",) if RUNTIME else ()
    return (
        os.environ.get("DOCKER", "docker"),
        "run",
        "--rm",
        "-i",
        "--network=none",
        "--log-driver=none",
        *runtime,
        "--entrypoint",
        *arguments,
    )


async def _cat_into() -> float:
    command = _docker("sh", IMAGE, "-c", "echo on; cat > /dev/null; echo done")
    process = await asyncio.create_subprocess_exec(*command, stdin=-1, stdout=-1)
    assert process.stdin is not None and process.stdout is not None
    await process.stdout.readline()
    began = time.perf_counter()
    async for block in _zeros(LARGE):
        process.stdin.write(block)
        await process.stdin.drain()
    process.stdin.close()
    await process.stdout.readline()
    seconds = time.perf_counter() - began
    await process.wait()
    return seconds


async def _cat_out() -> float:
    process = await asyncio.create_subprocess_exec(*_docker("head", IMAGE, "-c", str(LARGE), "/dev/zero"), stdout=-1)
    assert process.stdout is not None
    await process.stdout.read(1)
    began = time.perf_counter()
    while await process.stdout.read(MIB):
        pass
    seconds = time.perf_counter() - began
    await process.wait()
    return seconds


# --- Peers ---------------------------------------------------------------------------------------------------------------


async def _command(*arguments: str) -> bytes:
    process = await asyncio.create_subprocess_exec(*arguments, stdout=-1, stderr=-1)
    out, err = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments[:3])} failed: {err[-500:].decode(errors='replace')}")
    return out


async def plain(table: Table, rounds: int) -> None:
    for name, code in (("print(1)", "print(1)"), ("the figure", FIGURE)):
        command = _docker("python3", IMAGE, "-c", code)
        table.row(f"docker run python, {name}", [await timed(partial(_command, *command)) for _ in range(rounds)])


_KERNEL = """
import time
from jupyter_client.manager import start_new_kernel
def timed(code):
    began = time.perf_counter()
    client.execute_interactive(code, output_hook=lambda m: None)
    print(time.perf_counter() - began)
began = time.perf_counter()
manager, client = start_new_kernel()
timed('1')
print(time.perf_counter() - began)
timed('import pandas as pd\\n%matplotlib inline\\n' + {plot!r})
for _ in range(200): timed('1 + 1')
began = time.perf_counter()
client.execute('import os; os._exit(1)')
while manager.is_alive(): time.sleep(0.005)
manager.restart_kernel(now=True)
client.wait_for_ready()
timed('1')
print(time.perf_counter() - began)
manager.shutdown_kernel(now=True)
"""


async def ipykernel(table: Table, trivial: float) -> None:
    """`trivial`: our own trivial cell in this run, in milliseconds."""
    code = _KERNEL.replace("{plot!r}", repr(PLOT))
    out = await _command(*_docker("python3", PEERS, "-c", code))
    _, opened, figure, *rest = [float(line) for line in out.split()]
    *many, _, back = rest
    table.row("ipykernel: start to the end of the first cell", [opened])
    table.row("ipykernel: first plot, with its imports", [figure])
    theirs = table.row("ipykernel: trivial cell, client in the same container", many)
    table.check("    times as long as ours, which crosses the engine", theirs / trivial, 4, least=True)
    table.row("ipykernel: os._exit to the next cell's end, nothing kept", [back])


async def rivals(table: Table, rounds: int) -> None:
    """llm-sandbox, and ours asked the same by way of the bot's sessions, which keep what a crash takes; no container waits."""
    found = json.loads(await _command(str(RIVALS), "-m", "bench.rivals", PEERS, str(rounds), FIGURE))
    for name, figures in (found | {"ours": await _ours(rounds)}).items():
        for what, values in figures.items():
            if isinstance(values[0], str):
                table.say(f"{name}: {what}", ", ".join(sorted(set(values))))
            else:
                table.row(f"{name}: {what}", values)


async def _ours(rounds: int) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = defaultdict(list)
    async with house(SPEC, pool=0) as (_, sessions):
        for number in range(rounds):
            thread = ThreadRef("bench", "rivals", str(number))
            do = partial(cell, sessions, thread)
            trivial = partial(do, "print(1 + 1)")
            found["start to the first cell's end"].append(await timed(trivial))
            found["trivial cell"] += [await timed(trivial) for _ in range(10)]
            found["first plot, with its imports"].append(await timed(partial(_picture, sessions, thread)))
            await do("kept = 'kept'")
            found["a variable in the next cell"].append((await do("print(kept)")).stdout.strip())
            await sessions.save(thread)  # as at a turn's end
            await do("import os; os._exit(1)")
            await sessions.mend(thread, [])
            found["a variable after os._exit"].append((await do("print(kept)")).stdout.strip())
            found["close"].append(await timed(partial(sessions.forget, thread)))
    return found


async def _picture(sessions: Sessions, thread: ThreadRef) -> None:
    async with sessions.use(thread) as session:
        await get(session, (await run(session, PLOT)).names[0])


async def main(rounds: int) -> int:
    table = Table(f"One sandbox{f' under {RUNTIME}' if RUNTIME else ''}")
    if RUNTIME:
        table.say("", f"what is not met is {RUNTIME}'s own cost: see the baselines below, in containers of the same kind")
    await starts(table, rounds)
    trivial = await cells(table, rounds)
    await recovery(table, rounds)
    await output(table)
    await files(table, max(3, rounds // 3))
    await plain(table, max(3, rounds // 2))
    await ipykernel(table, trivial)
    if RUNTIME:
        table.say("llm-sandbox", "left out: it looks for files through the engine, which does not see those of another kernel")
    else:
        await rivals(table, max(1, rounds // 3))
    return table.missed


if __name__ == "__main__":
    print(f"\ngoals not met: {asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10))}")
