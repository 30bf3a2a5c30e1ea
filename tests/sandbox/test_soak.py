"""Fifty sessions, each with something else done in it, leave nothing behind. A thousand: `bench/soak`."""

import secrets

import pytest

from bench.soak import ALIVE, SPEC, look, soak
from tests.engine import docker_engine, missing, remove_all

pytestmark = pytest.mark.engine


async def test_fifty_sessions_leave_nothing_behind() -> None:
    if why := await missing():
        pytest.skip(why)
    instance = f"test-{secrets.token_hex(6)}"
    try:
        async with docker_engine(instance, spec=SPEC) as engine:
            await soak(engine, 5)
            before = await look(instance)
            await soak(engine, 45)
            after = await look(instance)
    finally:
        await remove_all(instance)
    assert after.containers == 0 and after.files <= before.files + ALIVE, (before, after)
