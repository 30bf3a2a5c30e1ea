"""A smoke test under gVisor, where the engine knows it: its cgroup holds the whole, PID 1 ends only what takes too much."""

from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bot import doctor
from bot.settings import Settings
from sandbox import Egress, Limits, SandboxLost, Session, Spec, docker
from sandbox.docker import DockerEngine
from tests.attacks.attempts import errors, value
from tests.cells import checkpoint, chunks, get, run
from tests.engine import IMAGE, docker_engine, missing
from tests.fakes.web import FakeIndex

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]
MIB = 1 << 20
LIMITS = Limits(seconds=20, grace=0.5, memory=384 * MIB, workspace=48 * MIB, tmp=16 * MIB, file=32 * MIB, processes=40, files=5)
SPEC = Spec(IMAGE, LIMITS, "runsc")
SHORT = Limits(seconds=2.0, grace=0.5)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DockerEngine]:
    if why := await missing():
        pytest.skip(why)
    async with docker_engine(spec=SPEC, packages=tmp_path_factory.mktemp("packages")) as opened:
        if "runsc" not in (await opened.about()).runtimes:
            pytest.skip("runsc is not registered with this engine")
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def session(engine: DockerEngine) -> AsyncIterator[Session]:
    """The next cell works after each."""
    opened = await engine.session("thread", SPEC)
    yield opened
    assert (await run(await engine.session("thread", SPEC), "6 * 7")).value == "42"


async def test_ordinary_work(session: Session) -> None:
    assert (await run(session, "import os; os.uname().release")).value == "'4.4.0'", "gVisor's own word for itself"
    outcome = await run(session, "pd.DataFrame({'a': range(9)}).plot()")
    assert len(outcome.files) == 1
    await session.put("f", 1, chunks(b"f"))
    assert await get(session, "f") == b"f"
    _, blob = await checkpoint(session)
    assert blob


async def test_the_way_out(engine: DockerEngine) -> None:
    async with FakeIndex() as index:
        index.add("krill", "1.0", {"krill.py": "small = True"})
        session = await engine.session("open", replace(SPEC, egress=Egress((), (index.url,))))
        assert (await run(session, "!pip install krill\nimport krill\nkrill.small")).value == "True"
        await session.close()


async def test_memory_costs_the_code_not_the_container(session: Session) -> None:
    """The limit on the container is in force around gVisor: without it this could take the machine's."""
    machine = await value(session, "int(open('/proc/meminfo').readline().split()[1])")
    if not isinstance(machine, int) or machine > 1 << 20:
        pytest.skip("runsc is registered with --ignore-cgroups: nothing bounds its memory")
    await session.put("kept", 1, chunks(b"k"))
    outcome = await run(session, "x = b'1' * (1 << 30)")
    assert (outcome.ended.reason, outcome.ended.lost) == ("died", True) and "out of memory (384 MB)" in outcome.ended.detail
    assert await get(session, "kept") == b"k"


async def test_processes_are_bounded(session: Session) -> None:
    code = """
import subprocess
children = []
try:
    while True: children.append(subprocess.Popen(['sleep', '60']))
except OSError as error: print(error.strerror, len(children))
for child in children: child.kill(); child.wait()
"""
    said, count = (await run(session, code)).stdout.rsplit(" ", 1)
    assert said == "Resource temporarily unavailable" and 20 < int(count) < 40


async def test_time_and_floods(session: Session) -> None:
    assert (await run(session, "while True: pass", SHORT)).ended.reason == "timeout"
    outcome = await run(session, "while True: print('x' * 100)", SHORT)
    assert outcome.ended.reason == "timeout" and "bytes dropped" in outcome.stdout
    assert (await run(session, "import ctypes; ctypes.string_at(0)")).ended.reason == "died"


async def test_process_one_is_out_of_reach(session: Session) -> None:
    tried = """{'kill': lambda: os.kill(1, 9), 'stdout': lambda: open('/proc/1/fd/1', 'wb'), 'root': lambda: os.setuid(0),
        'mount': lambda: call('mount', b'x', b'/tmp', b'tmpfs', 0, 0), 'write': lambda: open('/usr/x', 'w')}"""
    assert set((await errors(session, tried)).values()) <= {"EPERM", "EACCES", "EROFS"}
    assert await value(session, "import os; os.listdir('/sys/class/net') if os.path.exists('/sys/class/net') else ['lo']") == [
        "lo"
    ]


async def test_a_fork_bomb_costs_at_most_its_own_container(engine: DockerEngine, session: Session) -> None:
    other = await engine.session("neighbour", SPEC)
    try:
        outcome = await run(session, "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", SHORT)
        assert outcome.ended.reason in ("timeout", "died")
    except SandboxLost:
        pass  # gVisor itself had no more room
    assert (await run(other, "'untouched'")).value == "'untouched'"


async def test_the_check_up_is_content(engine: DockerEngine, tmp_path: Path) -> None:
    given: dict[str, Any] = {"home": tmp_path, "model": "none", "image": IMAGE, "runtime": "runsc"}
    open_engine = partial(docker.connect, engine._instance, SPEC, pool=0)
    found = await doctor.diagnose(Settings(**given), SPEC, open_engine, {}, patience=60)
    assert [(finding.check, finding.said) for finding in found if finding.state == "fail"] == []
