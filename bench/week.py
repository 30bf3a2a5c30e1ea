"""A thread left for a week, of which nothing runs any more: `python -m bench.week [ROUNDS]`, as root on Linux.

Bot, engine and containers are ended by SIGKILL, what is on disk is made a week older, engine and bot are started again, and the
thread is asked for what it had. The engine is a `dockerd` of this bench's own, for others may be in use on this machine.
"""

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiodocker

from bench.measure import Table
from bench.sandbox import _command
from tests.engine import IMAGE
from tests.fakes.platform import Thread
from tests.fakes.slack import FakeSlack
from tests.flows.test_restart import WEEK, Stage

STATE = """
frame = pd.DataFrame({'n': range(125_000)})
words = {f'key {n}': n for n in range(1000)}
open('note.txt', 'w').write('here')
print('remembered')
"""
RECALL = "print(frame.n.sum(), len(words), words['key 999'], open('note.txt').read(), 'time', {number})"
KEPT = f"{sum(range(125_000))} 1000 999 here time {{number}}"
PATIENCE = 60
"""Seconds for the engine to start, or to come to rest."""


class PrivateEngine:
    """One that nobody else uses: a folder, and namespaces of processes, mounts and networks.

    `dockerd` is the first process of its namespace, so the kernel ends all others with it, those of containers too, and nothing
    that is not its own.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.address = f"unix://{folder}/engine.sock"

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        # Numbers of processes begin anew in the new namespace: what is noted there would be somebody else's.
        (self._folder / "run/containerd/containerd.pid").unlink(missing_ok=True)
        options = (f"--data-root={self._folder}/data", f"--exec-root={self._folder}/run", f"--host={self.address}")
        script = 'mount -t tmpfs none /run && exec dockerd --bridge=none --iptables=false --ip-forward=false "$@"'
        with (self._folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *("unshare", "--mount", "--pid", "--net", "--fork", "--mount-proc", "sh", "-c", script, "dockerd", *options),
                stdout=log,
                stderr=log,
                start_new_session=True,  # ^C is for the bench, which ends it in order
            )
        for _ in range(PATIENCE * 10):
            with suppress(aiodocker.DockerError):
                async with aiodocker.Docker(self.address) as docker:
                    await docker.version()
                return
            await asyncio.sleep(0.1)
        raise SystemExit(f"no engine of its own:\n{(self._folder / 'log').read_text()[-2000:]}")

    async def kill(self) -> None:
        """SIGKILL; returns when nothing in its namespaces runs any more."""
        if self._process.returncode is None:
            os.kill(_child(self._process.pid), signal.SIGKILL)
        await self._process.wait()

    async def at_rest(self) -> None:
        """Wait until a container runs and has done nothing for a second: the pool's one is warm."""
        async with asyncio.timeout(PATIENCE), aiodocker.Docker(self.address) as docker:
            while not (running := await docker.containers.list()):  # noqa: ASYNC110 - a bench may poll
                await asyncio.sleep(0.1)
            for container in running:
                while await _used(container) > 0.01:
                    pass


def _child(pid: int) -> int:
    """The one that `unshare` has."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


async def _used(container: aiodocker.containers.DockerContainer) -> float:
    """Seconds of processor time within one second, which this takes."""
    (stats,) = await container.stats(stream=False)
    now, before = (stats[moment]["cpu_usage"]["total_usage"] for moment in ("cpu_stats", "precpu_stats"))
    return float(now - before) / 1e9


@asynccontextmanager
async def private_engine(folder: Path) -> AsyncIterator[PrivateEngine]:
    """One that has the sandbox's image, from the engine that is in use. It ends as it ended in between."""
    engine = PrivateEngine(folder)
    try:
        await engine.start()
        copy = '"$1" save "$2" | "$1" --host "$3" load'
        await _command("sh", "-c", copy, "sh", os.environ.get("DOCKER", "docker"), IMAGE, engine.address)
        yield engine
    finally:
        await engine.kill()


class Week:
    """One thread, and what becomes of it."""

    def __init__(self, engine: PrivateEngine, stage: Stage) -> None:
        self._engine, self._stage = engine, stage
        self._settings = {"DOCKER_HOST": engine.address, "CELLMATE_IMAGE": IMAGE, "CELLMATE_POOL": "1"}
        self._asked = 0

    async def begin(self) -> Thread:
        """The thread, once its variables are saved."""
        await self._stage.start(**self._settings)
        thread = await self._stage.slack.ask(f"```{STATE}```")
        await self._stage.hear(thread, "remembered")
        await self._stage.until_saved()
        return thread

    async def passes(self) -> None:
        """All is killed, a week goes by, and engine and bot are started again."""
        await self._stage.until_closed()
        await self._stage.bot.kill()
        await self._engine.kill()
        await self._stage.age(WEEK)
        await self._engine.start()
        await self._stage.start(**self._settings)

    async def recall(self, thread: Thread) -> float:
        """Seconds from the question until the answer, which has to be right, stands in the thread."""
        self._asked += 1
        began = time.perf_counter()
        await self._stage.slack.ask(f"```\n{RECALL.format(number=self._asked)}\n```", thread=thread)
        try:
            await self._stage.hear(thread, KEPT.format(number=self._asked))
        except AssertionError as other:
            raise SystemExit(f"the thread does not have what it had: {other}\n{self._stage.bot.output[-2000:]}") from None
        return time.perf_counter() - began


async def measure(engine: PrivateEngine, stage: Stage, rounds: int) -> int:
    """Returns the number of goals that were not met."""
    table, week = Table("A week later"), Week(engine, stage)
    thread = await week.begin()
    pooled, running, at_once = [], [], []
    for _ in range(rounds):
        await week.passes()
        await engine.at_rest()
        pooled.append(await week.recall(thread))
        await engine.at_rest()
        running.append(await week.recall(thread))
        await week.passes()
        at_once.append(await week.recall(thread))
    table.row("all killed; bot connected, a container in the pool", pooled, 1000)
    table.row("all killed; bot connected, nothing in the pool yet", at_once, 1000)
    table.row("nothing killed: the same thread, asked again", running)
    return table.missed


async def main(rounds: int) -> int:
    if os.getuid():
        raise SystemExit("an engine of its own takes root")
    with tempfile.TemporaryDirectory(prefix="cellmate-", dir="/var/tmp") as folder:  # a disk, and a short path for sockets
        async with private_engine(Path(folder)) as engine, FakeSlack() as slack:
            stage = Stage(slack, Path(folder) / "home")
            try:
                return await measure(engine, stage, rounds)
            finally:
                await stage.bot.stop()


if __name__ == "__main__":
    print(f"\ngoals not met: {asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))}")
