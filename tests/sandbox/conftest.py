"""Engines that the conformance suite runs against. A new engine is one more parameter."""

from collections.abc import AsyncGenerator

import pytest

from sandbox.docker import DockerEngine
from tests.engine import docker_engine, missing


@pytest.fixture(params=["docker"])
async def engine(request: pytest.FixtureRequest) -> AsyncGenerator[DockerEngine, None]:
    """A real engine with short limits, empty afterwards."""
    if why := await missing():
        pytest.skip(why)
    async with docker_engine(seconds=20.0, files=5, memory=512 << 20, workspace=64 << 20, file=48 << 20) as opened:
        yield opened
