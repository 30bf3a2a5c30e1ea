"""What twenty attackers cost an innocent thread beside them: `python -m bench.neighbour [ATTACKERS]`.

Milliseconds of the neighbour's trivial cell, alone and while all the others attack for ten seconds (case 83 of the attacks).
"""

import asyncio
import contextlib
import itertools
import statistics
import sys
import time

from sandbox import Limits, SandboxLost, Session
from tests.attacks.conftest import SPEC
from tests.attacks.test_many import AT_ONCE, ATTACKS
from tests.cells import run
from tests.engine import docker_engine

LIMITS = Limits(seconds=10, grace=0.5, files=5)


def row(name: str, seconds: list[float]) -> None:
    ordered = sorted(seconds)
    p99 = ordered[round(0.99 * (len(ordered) - 1))]
    print(f"{name:<40}{statistics.median(ordered) * 1000:>10.1f}{p99 * 1000:>10.1f}{len(ordered):>8}", flush=True)


async def cell(session: Session) -> float:
    began = time.perf_counter()
    assert (await run(session, "6 * 7")).value == "42"
    return time.perf_counter() - began


async def attack(session: Session, code: str) -> None:
    with contextlib.suppress(SandboxLost):  # it may take its own sandbox with it
        await run(session, code, LIMITS)


async def main(attackers: int) -> None:
    print(f"{'milliseconds':<40}{'median':>10}{'p99':>10}{'cells':>8}")
    async with docker_engine(spec=SPEC) as engine:
        neighbour = await engine.session("neighbour", SPEC)
        hostile = [await engine.session(f"attacker {number}", SPEC) for number in range(attackers)]
        row("alone", [await cell(neighbour) for _ in range(500)])
        attacks = asyncio.gather(*map(attack, hostile, itertools.islice(itertools.cycle(ATTACKS), attackers)))
        during = []
        while not attacks.done():
            during.append(await cell(neighbour))
        await attacks
        row(f"beside {attackers} attackers", during)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else AT_ONCE))
