"""What the Docker engine adds to the port: adoption after a restart, the pool, instances that leave each other alone."""

import ast
import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiodocker
import aiohttp
import pytest

from sandbox import Limits, SandboxDown, SandboxLost, Spec, Started
from sandbox.docker import DockerEngine, connect
from sandbox.runner import wire
from tests.cells import chunks, get, run
from tests.engine import IMAGE, docker_engine, missing, remove_all

pytestmark = pytest.mark.engine
SPEC = Spec(IMAGE, Limits(seconds=20.0, memory=512 << 20, workspace=64 << 20))


@pytest.fixture
async def instance() -> AsyncIterator[str]:
    if why := await missing():
        pytest.skip(why)
    name = f"test-{secrets.token_hex(6)}"
    yield name
    await remove_all(name)


async def _containers(instance: str) -> list[str]:
    async with aiodocker.Docker() as docker:
        found = await docker.containers.list(all=True, filters={"label": [f"io.cellmate.instance={instance}"]})
        return [container.id for container in found]


async def _filled(engine: DockerEngine) -> None:
    for _ in range(600):
        if any(container.warm for container in engine._pool.ready):
            return
        await asyncio.sleep(0.05)
    pytest.fail("the pool stays empty")


async def test_a_restart_adopts_the_session_and_its_last_cell(instance: str) -> None:
    async with connect(instance, SPEC, pool=0) as engine:
        session = await engine.session("thread", SPEC)
        first = await run(session, "x = 41; print('once')\nx", id="c1")
    async with connect(instance, SPEC, pool=0) as engine:
        session = await engine.session("thread", SPEC)
        assert session.origin == "adopted"
        again = await run(session, "x = 0", id="c1")
        assert (again.stdout, again.result, again.ended) == (first.stdout, first.result, first.ended)
        assert (await run(session, "x + 1", id="c2")).value == "42"


async def test_a_restart_during_a_cell_gets_its_true_end(instance: str) -> None:
    code = "import time\nprint('begun', flush=True)\ntime.sleep(1.5)\nprint('done'); n = globals().get('n', 0) + 1\nn"
    async with connect(instance, SPEC, pool=0) as engine:
        session = await engine.session("thread", SPEC)
        outputs = session.run("c1", code)
        assert isinstance(await anext(outputs), Started)
        await asyncio.sleep(0.2)
        # as a killed bot would: the line breaks, nobody says stop
        await engine._claimed["thread"].link.close()
        with pytest.raises(SandboxLost):
            async for _ in outputs:
                pass
    async with connect(instance, SPEC, pool=0) as engine:
        session = await engine.session("thread", SPEC)
        outcome = await run(session, code, id="c1")
        assert (outcome.stdout, outcome.value, outcome.ended.reason) == ("begun\ndone\n", "1", "ok")
        assert (await run(session, "n", id="c2")).value == "1"


async def test_after_a_restart_another_call_waits_for_the_running_cell(instance: str) -> None:
    async with connect(instance, SPEC, pool=0) as engine:
        session = await engine.session("thread", SPEC)
        outputs = session.run("c1", "import time; time.sleep(1); open('f', 'w').write('made')")
        await anext(outputs)
        await engine._claimed["thread"].link.close()
        with pytest.raises(SandboxLost):
            await anext(outputs)
    async with connect(instance, SPEC, pool=0) as engine:
        session = await engine.session("thread", SPEC)
        assert await get(session, "f") == b"made"


async def test_half_a_frame_from_a_killed_bot_does_no_harm(instance: str) -> None:
    async with connect(instance, SPEC, pool=0) as engine:
        session = await engine.session("thread", SPEC)
        await run(session, "x = 5")
        link = engine._claimed["thread"].link
        whole = wire.encode(link._token, wire.DATA, 7, b"y" * wire.CHUNK)
        await link._channel.write(whole[: len(whole) // 2])
    async with connect(instance, SPEC, pool=0) as engine:
        session = await engine.session("thread", SPEC)
        assert session.origin == "adopted"
        assert (await run(session, "x")).value == "5"


async def test_a_container_that_went_away_is_replaced(instance: str) -> None:
    async with connect(instance, SPEC, pool=0) as engine:
        session = await engine.session("thread", SPEC)
        await remove_all(instance)
        with pytest.raises(SandboxLost):
            await run(session, "1")
        again = await engine.session("thread", SPEC)
        assert again.origin == "fresh"
        assert (await run(again, "1")).value == "1"


async def test_a_container_lost_while_a_cell_runs_is_the_sandboxs_failure(instance: str) -> None:
    async with connect(instance, SPEC, pool=0) as engine:
        session = await engine.session("thread", SPEC)
        with pytest.raises(SandboxLost, match="gone"):
            async for output in session.run("c", "import time; time.sleep(30)"):
                if isinstance(output, Started):
                    await remove_all(instance)


async def test_the_pool_is_filled_and_emptied(instance: str) -> None:
    async with connect(instance, SPEC, pool=1) as engine:
        await _filled(engine)
        (waiting,) = [container.id for container in engine._pool.ready]
        one = await engine.session("one", SPEC)
        assert engine._claimed["one"].id == waiting
        two = await engine.session("two", SPEC)
        assert (await run(two, "1")).value == "1"
        await one.close()
        await two.close()
        await _filled(engine)
        assert waiting not in [container.id for container in engine._pool.ready]
    assert await _containers(instance) == []


_LOADED = "import sys\n[name for name in ('num' + 'py', 'pan' + 'das', 'mat' + 'plotlib.pyplot') if name in sys.modules]"


async def test_heavy_libraries_are_loaded_for_whoever_needs_them(instance: str) -> None:
    async with connect(instance, SPEC, pool=0) as engine:
        session = await engine.session("thread", SPEC)
        assert (await run(session, f"kept = 1\n{_LOADED}")).value == "[]"
        assert (await run(session, "np.arange(3).sum() + kept")).value == "np.int64(4)", "the variables of a light start stay"
        assert (await run(session, "plt.plot([1, 2]); plt.title('T')")).files[0].alt.startswith("Line chart 'T'")
        await run(session, "import os; os._exit(0)")
        both = await run(session, f"pd.Series([1]).sum()\n{_LOADED}")
        assert both.value == "['numpy', 'pandas', 'matplotlib.pyplot']", "a fresh kernel comes with all of them"


async def test_stop_while_the_libraries_load_costs_nothing(instance: str) -> None:
    async with connect(instance, SPEC, pool=0) as engine:
        session = await engine.session("thread", SPEC)
        running = asyncio.create_task(run(session, "import pandas\nimport time\ntime.sleep(20)", id="c1"))
        await asyncio.sleep(0.1)
        await session.interrupt()
        ended = (await running).ended
        assert (ended.reason, ended.lost) == ("interrupted", False)
        assert (await run(session, "pd.Series([1, 2]).sum()")).value == "np.int64(3)"


async def test_a_waiting_container_has_the_libraries_loaded(instance: str) -> None:
    async with connect(instance, SPEC, pool=1) as engine:
        await _filled(engine)
        session = await engine.session("thread", SPEC)
        assert (await run(session, _LOADED)).value == "['numpy', 'pandas', 'matplotlib.pyplot']"


async def test_a_claim_makes_no_call_to_the_engine(instance: str) -> None:
    async with connect(instance, SPEC, pool=1) as engine:
        await _filled(engine)
        (waiting,) = engine._pool.ready
        ours, calls, tracing = asyncio.current_task(), list[str](), aiohttp.TraceConfig()

        async def called(_: object, __: object, parameters: aiohttp.TraceRequestStartParams) -> None:
            if asyncio.current_task() is ours:  # the pool's keeper makes the next one meanwhile
                calls.append(str(parameters.url))

        tracing.on_request_start.append(called)
        tracing.freeze()
        engine._docker.session.trace_configs.append(tracing)
        session = await engine.session("one", SPEC)
        assert calls == [] and engine._claimed["one"] is waiting
        assert (await run(session, "1")).value == "1"
        await session.close()
        assert len(calls) == 1


async def test_nobody_waiting_any_more_leaves_no_container(instance: str) -> None:
    async with connect(instance, SPEC, pool=0) as engine:
        await engine.running()
        for pause in (0.0, 0.005, 0.02, 0.05, 0.2, 0.5):
            opening = asyncio.ensure_future(engine.session("thread", SPEC))
            await asyncio.sleep(pause)
            opening.cancel()
            await asyncio.wait({opening})
            if not opening.cancelled():
                await opening.result().close()
            assert await _containers(instance) == [], f"cancelled after {pause} s"


async def test_one_that_died_while_it_waited_is_not_given(instance: str) -> None:
    async with connect(instance, SPEC, pool=1) as engine:
        await _filled(engine)
        await remove_all(instance)
        session = await engine.session("one", SPEC)
        assert (await run(session, "1")).value == "1"


async def _states(instance: str) -> list[str]:
    async with aiodocker.Docker() as docker:
        found = await docker.containers.list(all=True, filters={"label": [f"io.cellmate.instance={instance}"]})
        return [container["State"] for container in found]


_TICKING = """
import threading, time
x, last, longest = 41, time.monotonic(), 0.0
def tick():
    global last, longest
    while True:
        now = time.monotonic()
        last, longest = now, max(longest, now - last)
        time.sleep(0.01)
threading.Thread(target=tick, daemon=True).start()
"""


async def test_a_session_at_rest_is_paused_and_woken_by_the_next_call(instance: str) -> None:
    async with connect(instance, SPEC, pool=0) as engine:
        session = await engine.session("thread", SPEC)
        await run(session, _TICKING)
        used = await engine.memory()
        await session.rest()
        await session.rest()
        assert await _states(instance) == ["paused"]
        assert await engine.memory() == used > 0, "as it was when it went to rest"
        await asyncio.sleep(1.5)
        assert float(str((await run(session, "longest")).value)) > 1.4, "nothing runs in it meanwhile"
        assert (await run(session, "x + 1")).value == "42"
        assert await _states(instance) == ["running"]
        await session.rest()
        assert await engine.session("thread", SPEC) is session
        assert await _states(instance) == ["running"], "whoever asks for it finds it awake"
        await session.rest()
        await session.close()
        assert await _states(instance) == []


async def test_a_restart_wakes_what_was_paused(instance: str) -> None:
    async with connect(instance, SPEC, pool=0) as engine:
        session = await engine.session("thread", SPEC)
        await run(session, "x = 41")
        await session.rest()
    async with aiodocker.Docker() as docker:
        (other,) = [
            await docker.containers.create({"Image": IMAGE, "Labels": {"io.cellmate.instance": instance}, "OpenStdin": True})
        ]
        await other.start()
        await other.pause()
    async with connect(instance, SPEC, pool=0) as engine:
        session = await engine.session("thread", SPEC)
        assert session.origin == "adopted"
        assert (await run(session, "x + 1")).value == "42"
        assert await _states(instance) == ["running"], "the other, whose it was is not known, is gone"


async def test_an_engine_that_cannot_pause_goes_on_without(instance: str, caplog: pytest.LogCaptureFixture) -> None:
    async with connect(instance, SPEC, pool=0) as engine:
        session = await engine.session("thread", SPEC)
        async with aiodocker.Docker() as docker:  # what an engine says of a container that it cannot pause: 409
            await docker.containers.container(engine._claimed["thread"].id).pause()
        await session.rest()
        async with aiodocker.Docker() as docker:
            await docker.containers.container(engine._claimed["thread"].id).unpause()
        await session.rest()
        assert await _states(instance) == ["running"]
        assert (await run(session, "1")).value == "1"
        assert [record.message for record in caplog.records if "are not paused" in record.message] != []


async def test_leaving_keeps_claimed_and_entering_deletes_the_rest(instance: str) -> None:
    async with connect(instance, SPEC, pool=0) as engine:
        await engine.session("kept", SPEC)
        kept = await _containers(instance)
    async with aiodocker.Docker() as docker:
        dead = await docker.containers.create({"Image": IMAGE, "Labels": {"io.cellmate.instance": instance}})
    async with connect(instance, SPEC, pool=0) as engine:
        assert (await engine.session("kept", SPEC)).origin == "adopted"
        assert await _containers(instance) == kept
        assert dead.id not in kept


async def test_another_instance_is_left_alone(instance: str) -> None:
    async with docker_engine() as mine:
        session = await mine.session("thread", SPEC)
        async with connect(instance, SPEC, pool=0) as other:
            assert (await other.session("thread", SPEC)).origin == "fresh"
        assert (await run(session, "1")).value == "1"


async def test_an_engine_that_is_down_does_not_keep_us_from_coming_up(tmp_path: Path) -> None:
    async with connect("nowhere", SPEC, pool=1, url=f"unix://{tmp_path}/none.sock") as engine:
        with pytest.raises(SandboxDown, match="cannot be reached"):
            await engine.session("thread", SPEC)
        with pytest.raises(SandboxDown, match="cannot be reached"):
            await engine.check()


async def test_an_engine_that_comes_back_is_used(instance: str, tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    async with connect(instance, SPEC, pool=0, url=f"unix://{path}") as engine:
        with pytest.raises(SandboxDown):
            await engine.session("thread", SPEC)
        path.symlink_to(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://"))
        assert (await run(await engine.session("thread", SPEC), "1")).value == "1"


async def test_a_missing_image_is_named(instance: str) -> None:
    spec = Spec("cellmate-no-such-image:1", Limits())
    async with connect(instance, spec, pool=0) as engine:
        for attempt in (engine.session("thread", spec), engine.check()):
            with pytest.raises(SandboxDown, match=r"'cellmate-no-such-image:1' is not there; `./run` builds it"):
                await attempt


async def test_a_runtime_the_engine_does_not_know_is_named(instance: str) -> None:
    spec = Spec(IMAGE, Limits(), runtime="no-such-runtime")
    async with connect(instance, spec, pool=0) as engine:
        with pytest.raises(SandboxDown, match="no-such-runtime"):
            await engine.check()
        with pytest.raises(SandboxDown):
            await engine.session("thread", spec)


_BOT = """
import asyncio, sys
from sandbox import Limits, Printed, Spec
from sandbox.docker import connect

async def endless():
    yield b"z" * 50_000
    while True:
        print("doing", flush=True)
        yield b"z" * 1_000_000

async def main(instance, image, what):
    spec = Spec(image, Limits(seconds=20.0, memory=512 << 20, workspace=200 << 20))
    async with connect(instance, spec, pool=0) as engine:
        session = await engine.session("thread", spec)
        async for _ in session.run("c0", "x = 41"): pass
        if what == "put":
            await session.put("half", 150 << 20, endless())
        async for output in session.run("c1", sys.stdin.read()):
            if isinstance(output, Printed):
                print("doing", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("what", ["put", "quiet", "flood"])
async def test_a_bot_killed_in_the_act_finds_everything_again(instance: str, what: str) -> None:
    loud = "print('y' * 200) or" if what == "flood" else ""
    code = f"import time\nprint('on', flush=True)\nuntil = time.time() + 2\nwhile {loud} time.time() < until: pass\nx += 1\nx"
    command = (sys.executable, "-c", _BOT, instance, IMAGE, what)
    bot = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    assert bot.stdin is not None and bot.stdout is not None
    bot.stdin.write(code.encode())
    bot.stdin.close()
    assert await bot.stdout.readline() == b"doing\n"
    bot.kill()
    await bot.wait()
    async with connect(instance, SPEC, pool=0) as engine:
        session = await engine.session("thread", SPEC)
        assert session.origin == "adopted"
        if what == "put":
            assert await session.list() == ()
            assert (await session.put("half", 3, chunks(b"new"))).size == 3
        outcome = await run(session, code, id="c1")
        assert (outcome.value, outcome.ended.reason) == ("42", "ok")
        assert outcome.stdout.startswith("on\n")
        assert (await run(session, "x", id="c2")).value == "42"


async def test_limits_are_in_force_as_seen_from_inside(instance: str) -> None:
    limits = Limits(memory=256 << 20, workspace=1 << 30, tmp=8 << 20, processes=40, file=16 << 20)
    async with connect(instance, Spec(IMAGE, limits), pool=0) as engine:
        session = await engine.session("thread", Spec(IMAGE, limits))
        code = """
import os, resource
def first(*paths): return next(int(open(p).read()) for p in paths if os.path.exists(p))
def size(path): return os.statvfs(path).f_blocks * os.statvfs(path).f_frsize
mounts = {line.split()[1]: line.split()[3].split(',') for line in open('/proc/mounts')}
(
    first('/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory/memory.limit_in_bytes'),
    first('/sys/fs/cgroup/pids.max', '/sys/fs/cgroup/pids/pids.max'),
    size('/workspace'), size('/tmp'), size('/dev/shm'),
    *(resource.getrlimit(getattr(resource, 'RLIMIT_' + name))[1] for name in ('NOFILE', 'FSIZE', 'CORE')),
    'ro' in mounts['/'], {'nosuid', 'nodev'} <= set(mounts['/workspace']), {'noexec', 'nosuid', 'nodev'} <= set(mounts['/tmp']),
)
"""
        outcome = await run(session, code)
        expected = (256 << 20, 40, 128 << 20, 8 << 20, 64 << 20, 1024, 16 << 20, 0, True, True, True)
        assert outcome.value is not None and ast.literal_eval(outcome.value) == expected


async def test_every_container_has_users_of_its_own(instance: str) -> None:
    async with connect(instance, SPEC, pool=0) as engine:
        one, two = await engine.session("one", SPEC), await engine.session("two", SPEC)
        first, second = await run(one, "import os; os.getuid()"), await run(two, "import os; os.getuid()")
        assert first.value != second.value
        assert "0" not in (first.value, second.value)
