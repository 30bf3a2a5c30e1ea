"""The filter's file by itself, where it ships, and the ordinary work that it must not be in the way of."""

import asyncio
import json
import re
import sys
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiodocker
import pytest
import pytest_asyncio
from aiohttp import web

from sandbox import Limits, Session, Spec, docker
from sandbox.docker import connect
from tests.cells import checkpoint, chunks, from_bytes, get, run
from tests.engine import IMAGE, docker_engine, missing, remove_all

ROOT = Path(__file__).parents[2]
SPEC = Spec(IMAGE, Limits(seconds=60, memory=1 << 30, workspace=128 << 20))
PROFILE = json.loads((ROOT / "sandbox" / "seccomp.json").read_text())


def test_what_it_allows_is_a_sorted_list_and_nothing_else_is_allowed() -> None:
    names = PROFILE["syscalls"][0]["names"]
    assert names == sorted(set(names)) and PROFILE["defaultAction"] == "SCMP_ACT_ERRNO"
    refused = (
        "io_uring bpf perf_ keyctl add_key request_key userfaultfd process_vm ptrace mount unshare setns handle module kexec"
    )
    assert not [name for name in names if re.search("|".join(refused.split()), name)]
    assert not {"socket", "socketpair", "socketcall", "clone", "clone3", "personality"} & set(names), (
        "these are allowed in part"
    )


async def test_it_ships(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    build = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.DEVNULL)
    assert await build.wait() == 0
    (wheel,) = await asyncio.to_thread(lambda: list(tmp_path.glob("*.whl")))
    assert json.loads(zipfile.ZipFile(wheel).read("sandbox/seccomp.json")) == PROFILE


@pytest.mark.parametrize(("engine", "inline"), [("Engine", True), ("Podman Engine", False)])
async def test_an_engine_gets_it_as_it_takes_it(engine: str, inline: bool, tmp_path: Path) -> None:
    async def version(request: web.Request) -> web.Response:
        return web.json_response({"Version": "1", "ApiVersion": "1.41", "Components": [{"Name": engine, "Version": "1"}]})

    app = web.Application()
    app.router.add_get("/{tail:.*version}", version)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "engine.sock")).start()
    async with connect("test", SPEC, pool=0, url=f"unix://{tmp_path}/engine.sock") as opened:
        body = docker._body(SPEC, "test", b"", podman=await opened._is_podman())
    await runner.cleanup()
    given = body["HostConfig"]["SecurityOpt"][1].removeprefix("seccomp=")
    assert json.loads(given if inline else await asyncio.to_thread(Path(given).read_text)) == PROFILE
    assert inline == ("nr_inodes" in body["HostConfig"]["Tmpfs"]["/workspace"]), "an option that Podman refuses"


# --- On a real engine


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def session() -> AsyncIterator[Session]:
    if why := await missing():
        pytest.skip(why)
    async with docker_engine(spec=SPEC) as engine:
        yield await engine.session("work", SPEC)


WORK = {
    "numpy": "float(np.linalg.eigvals(np.eye(50)).real.sum() + np.fft.fft(np.ones(50)).real[0])",
    "processes": """
from multiprocessing import get_context
[get_context(how).Pool(2).map(abs, [-1, -2]) for how in ('fork', 'spawn', 'forkserver')]
""",
    "executors": """
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
list(ProcessPoolExecutor(2).map(abs, [-1, -2])), sum(ThreadPoolExecutor(8).map(abs, range(1000)))
""",
    "subprocess": """
import os, subprocess
os.waitpid(os.posix_spawn('/bin/true', ['true'], os.environ), 0)
subprocess.run('echo a | tr a b', shell=True, capture_output=True, text=True).stdout
""",
    "shell": "!ls -la / | head -1 | cut -c1-5",
    "ffmpeg": """
import subprocess
subprocess.run('ffmpeg -v error -f lavfi -i testsrc=d=0.2 -c:v libx264 v.mp4', shell=True, check=True)
""",
    "opencv": "import cv2\ncv2.GaussianBlur(np.zeros((64, 64, 3), np.uint8), (5, 5), 0).shape",
    "asyncio": """
import asyncio
async def answer(reader, writer): writer.write(await reader.readline()); writer.close()
server = await asyncio.start_server(answer, 'localhost', 0)
reader, writer = await asyncio.open_connection('localhost', server.sockets[0].getsockname()[1])
writer.write(b'hello\\n')
child = await asyncio.create_subprocess_exec('echo', 'child', stdout=asyncio.subprocess.PIPE)
await reader.readline(), await child.stdout.read(), await asyncio.to_thread(abs, -1)
""",
    "shared memory and files in memory": """
import mmap, os
from multiprocessing import shared_memory
fd = os.memfd_create('m'); os.truncate(fd, 4096)
mmap.mmap(fd, 4096).size(), shared_memory.ShareableList([1, 'a'])
""",
    "names of this machine": "import socket\nsocket.getaddrinfo('localhost', 80), socket.if_nameindex(), socket.gethostname()",
    "signals and timers": """
import signal, time
rang = []
signal.signal(signal.SIGALRM, lambda *_: rang.append(1)); signal.setitimer(signal.ITIMER_REAL, 0.01); time.sleep(0.1)
rang
""",
    "arrow": "pd.DataFrame({'a': range(1000)}).to_parquet('t.parquet'); int(pd.read_parquet('t.parquet').a.sum())",
    "scikit-learn": """
from joblib import Parallel, delayed
from sklearn.ensemble import RandomForestClassifier
forest = RandomForestClassifier(10, n_jobs=2).fit([[0], [1]] * 9, [0, 1] * 9)
forest.score([[0]], [0]), Parallel(2)(delayed(abs)(x) for x in (-1, 2))
""",
    "sqlite": "import sqlite3\nsqlite3.connect('d.db').execute('select 1').fetchall()",
    "plot": "ax = plt.plot([1, 2])",
}
"""Cells of ordinary work."""


@pytest.mark.engine
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("what", WORK)
async def test_ordinary_work_goes_on(session: Session, what: str) -> None:
    """Too tight a filter breaks people's code, and all it is told is that an operation is not permitted."""
    outcome = await run(session, WORK[what])
    assert outcome.ended.reason == "ok", outcome.outputs
    assert outcome.value is not None or outcome.stdout or outcome.files
    assert "not permitted" not in outcome.stdout + outcome.stderr


ASKED = {
    "GET /version",
    "GET /containers/json",
    "GET /containers/{id}/json",
    "POST /containers/create",
    "POST /containers/{id}/attach",
    "POST /containers/{id}/start",
    "POST /containers/{id}/pause",
    "POST /containers/{id}/unpause",
    "DELETE /containers/{id}",
}
"""No exec, no archive (GHSA-x86f-5xw2-fm2r), no volume, no network, no image."""


@asynccontextmanager
async def _recorded(path: Path, asked: set[str]) -> AsyncIterator[str]:
    """An engine's address behind which the real one is; what is asked of it is written down."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: bool) -> None:
        while data := await reader.read(1 << 16):
            for method, target in re.findall(
                rb"^([A-Z]+) (?:/v[\d.]+)?(/[^ ?]*)[^ ]* HTTP/1.1\r$", data if note else b"", re.MULTILINE
            ):
                asked.add(f"{method.decode()} {re.sub('[0-9a-f]{64}', '{id}', target.decode())}")
            writer.write(data)
            await writer.drain()
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = await asyncio.to_thread(docker._address, None)
        theirs = await asyncio.open_unix_connection(address.removeprefix("unix://"))
        await asyncio.gather(pass_on(reader, theirs[1], True), pass_on(theirs[0], writer, False), return_exceptions=True)

    async with await asyncio.start_unix_server(relay, path):
        yield f"unix://{path}"


@pytest.mark.engine
async def test_nothing_else_is_asked_of_the_engine(tmp_path: Path) -> None:
    if why := await missing():
        pytest.skip(why)
    if not (await asyncio.to_thread(docker._address, None)).startswith("unix://"):
        pytest.skip("the engine is not at a socket of this machine, which could be listened in on")
    asked: set[str] = set()
    async with _recorded(tmp_path / "engine.sock", asked) as url:
        try:
            async with connect("test-recorded", SPEC, pool=0, url=url) as engine:
                session = await engine.session("thread", SPEC)
                await run(session, "x = 1; open('made', 'w').write('m')")
                await session.put("put", 1, chunks(b"p"))
                assert await get(session, "made") == b"m"
                _, blob = await checkpoint(session)
                await session.close()
                session = await engine.session("thread", SPEC, from_bytes(blob))
                assert (await run(session, "x")).value == "1"
                assert asked <= ASKED and "POST /containers/{id}/attach" in asked, asked
                async with aiodocker.Docker(url) as client:
                    with pytest.raises(aiodocker.DockerError):
                        await client.containers.container("0" * 64).get_archive("/etc")
                assert "GET /containers/{id}/archive" in asked, "it would have been seen"
        finally:
            await remove_all("test-recorded")
