"""What the sandbox costs, beside what it is compared with, in one run: `python -m bench.sandbox [ROUNDS]`.

Times in milliseconds, median and 95th percentile. The rivals: `docker run` of a bare Python for each cell, and an ipykernel
driven by jupyter_client inside the same kind of container, where BENCH_IPYKERNEL names an image that holds both.
"""

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

from sandbox import Limits, Printed, Session, Spec, Started
from sandbox.docker import DockerEngine
from tests.cells import get, run
from tests.engine import IMAGE, docker_engine

PLOT = "pd.DataFrame({'month': range(12), 'revenue': range(12)}).plot(x='month', y='revenue', title='Revenue')"
SPEC = Spec(IMAGE, Limits(seconds=60, memory=1 << 30))


def row(name: str, seconds: list[float]) -> None:
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    print(f"{name:<52}{statistics.median(ordered) * 1000:>10.1f}{p95 * 1000:>10.1f}{len(ordered):>6}", flush=True)


async def timed(act: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await act()
    return time.perf_counter() - began


async def filled(engine: DockerEngine) -> None:
    for _ in range(1000):
        if engine._ready:
            break
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)  # let it settle: what is measured is the claim, not the end of the start


async def starts(rounds: int) -> None:
    cold, claims, figures = [], [], []
    async with docker_engine(spec=SPEC) as engine:
        for number in range(rounds):
            began = time.perf_counter()
            session = await engine.session(f"cold-{number}", SPEC)
            await run(session, "1")
            cold.append(time.perf_counter() - began)
            await session.close()
    async with docker_engine(spec=SPEC, pool=1) as engine:
        for number in range(rounds):
            await filled(engine)
            began = time.perf_counter()
            session = await engine.session(f"warm-{number}", SPEC)
            claims.append(time.perf_counter() - began)
            outcome = await run(session, PLOT)
            await get(session, outcome.names[0])
            figures.append(time.perf_counter() - began)
            await session.close()
    row("container to first cell, no pool", cold)
    row("claim from the pool", claims)
    row("new thread to first figure's PNG on the host", figures)


async def interrupted(session: Session) -> float:
    began = 0.0
    async for output in session.run(f"stop-{time.monotonic_ns()}", "print('on', flush=True)\nwhile True: pass"):
        if isinstance(output, Printed):
            began = time.perf_counter()
            await session.interrupt()
    return time.perf_counter() - began


async def first_byte(session: Session) -> float:
    came = 0.0
    began = time.perf_counter()
    async for output in session.run(f"print-{time.monotonic_ns()}", "print('on')"):
        if isinstance(output, Printed):
            came = time.perf_counter() - began
    return came


async def recovered(session: Session) -> float:
    began = 0.0
    async for output in session.run(f"die-{time.monotonic_ns()}", "import os; os._exit(1)"):
        if isinstance(output, Started):
            began = time.perf_counter()
    await run(session, "1")
    return time.perf_counter() - began


async def cells(rounds: int) -> None:
    async with docker_engine(spec=SPEC) as engine:
        session = await engine.session("cells", SPEC)
        await run(session, "1")
        row("trivial cell", [await timed(lambda: run(session, "1 + 1")) for _ in range(rounds * 20)])
        row("first byte of a print at the host", [await first_byte(session) for _ in range(rounds * 5)])
        row("figure in a running thread", [await timed(lambda: run(session, PLOT)) for _ in range(rounds)])
        row("os._exit to the next cell's end", [await recovered(session) for _ in range(rounds)])
        row("Stop to the cell's end", [await interrupted(session) for _ in range(rounds)])
        usage = "/sys/fs/cgroup/memory/memory.usage_in_bytes", "/sys/fs/cgroup/memory.current"
        code = f"import os\nnext(int(open(p).read()) for p in {usage} if os.path.exists(p)) >> 20"
        fresh = await engine.session("fresh", SPEC)
        print(f"{'memory of a fresh session, MB':<52}{(await run(fresh, code)).value:>10}")


async def command(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    if await process.wait():
        raise RuntimeError(f"{' '.join(arguments)} failed")


async def plain(rounds: int) -> None:
    docker = ("docker", "run", "--rm", "--network=none", "--entrypoint", "python3", IMAGE, "-c")
    row("rival: docker run, print(1)", [await timed(lambda: command(*docker, "print(1)")) for _ in range(rounds)])
    code = "import pandas as pd, matplotlib; matplotlib.use('Agg')\n" + PLOT + ".figure.savefig('/tmp/x.png')"
    row("rival: docker run, the figure", [await timed(lambda: command(*docker, code)) for _ in range(rounds)])


_KERNEL = """
import statistics, sys, time
from jupyter_client.manager import start_new_kernel
began = time.perf_counter()
manager, client = start_new_kernel()
client.execute_interactive('1', output_hook=lambda m: None)
print(time.perf_counter() - began)
for code in ['1 + 1'] * 200:
    began = time.perf_counter()
    client.execute_interactive(code, output_hook=lambda m: None)
    print(time.perf_counter() - began)
manager.shutdown_kernel(now=True)
"""


async def ipykernel() -> None:
    image = os.environ.get("BENCH_IPYKERNEL")
    if not image:
        print("rival: ipykernel left out: name an image with ipykernel and jupyter_client in BENCH_IPYKERNEL")
        return
    arguments = ("run", "--rm", "--network=none", "--tmpfs=/tmp", "--entrypoint", "python3", image, "-c", _KERNEL)
    process = await asyncio.create_subprocess_exec("docker", *arguments, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    first, *rest = [float(line) for line in out.split()]
    row("rival: ipykernel start to first cell, no container", [first])
    row("rival: ipykernel trivial cell, no Docker hop", rest)


async def main(rounds: int) -> None:
    print(f"{'milliseconds':<52}{'median':>10}{'p95':>10}{'n':>6}")
    await starts(rounds)
    await cells(rounds)
    await plain(max(3, rounds // 2))
    await ipykernel()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10))
