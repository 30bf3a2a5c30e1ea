"""The real engine for tests: `docker_engine` gives one that belongs to the test alone and leaves nothing behind."""

import os
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiodocker

from sandbox import Limits, SandboxDown, Spec
from sandbox.docker import DockerEngine, connect

IMAGE = os.environ.get("CELLMATE_TEST_IMAGE", "cellmate-sandbox:latest")


async def missing() -> str:
    """Why the engine cannot be used here; empty when it can."""
    try:
        async with connect("missing", Spec(IMAGE), pool=0) as engine:
            await engine.check()
    except SandboxDown as down:
        return str(down)
    return ""


@asynccontextmanager
async def docker_engine(
    instance: str | None = None, pool: int = 0, spec: Spec | None = None, packages: Path | None = None, **limits: Any
) -> AsyncGenerator[DockerEngine, None]:
    """An engine whose containers are all removed at the end, claimed ones too, unless `instance` was given by the caller."""
    name = instance or f"test-{secrets.token_hex(6)}"
    try:
        async with connect(name, spec or Spec(IMAGE, Limits(**limits)), pool=pool, packages=packages) as engine:
            yield engine
    finally:
        if instance is None:
            await remove_all(name)


async def remove_all(instance: str) -> None:
    """Remove every container of an instance."""
    async with aiodocker.Docker() as docker:
        for container in await docker.containers.list(all=True, filters={"label": [f"io.cellmate.instance={instance}"]}):
            try:
                await container.delete(force=True, v=True)
            except aiodocker.DockerError as error:
                if error.status not in (404, 409):
                    raise
