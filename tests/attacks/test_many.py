"""Case 83: twenty sandboxes attack at once, and an innocent one goes on. What it costs it is in `bench/neighbour.py`."""

import asyncio
import itertools

import pytest

from sandbox import Limits, SandboxLost, Session
from sandbox.docker import DockerEngine
from tests.attacks.conftest import SPEC
from tests.cells import run

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]
AT_ONCE = 20
ATTACKS = (
    "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",  # 1
    "x = b'1' * (1 << 30)",  # 3
    "for i in range(1_000_000): open(f'i{i}', 'w').close()",  # 6
    "while True: pass",  # 9
    "while True: print('x' * 100)",  # 23
)


async def test_83_twenty_at_once(engine: DockerEngine, neighbour: Session) -> None:
    starting = asyncio.Semaphore(4)

    async def open_one(number: int) -> Session:
        async with starting:
            return await engine.session(f"attacker {number}", SPEC)

    async def attack(session: Session, code: str) -> str:
        try:
            return (await run(session, code, Limits(seconds=3, grace=0.5, files=5))).ended.reason
        except SandboxLost:
            return "lost"

    attackers = await asyncio.gather(*(open_one(number) for number in range(AT_ONCE)))
    attacks = asyncio.gather(
        *(attack(session, code) for session, code in zip(attackers, itertools.cycle(ATTACKS), strict=False))
    )
    cells = 0
    while not attacks.done():
        assert (await run(neighbour, "mine")).value == "'untouched'"
        cells += 1
    assert cells > 1
    assert set(await attacks) <= {"timeout", "died", "raised", "lost"}
    for number in range(AT_ONCE):
        session = await engine.session(f"attacker {number}", SPEC)
        assert (await run(session, "6 * 7")).value == "42"
