"""Cases 1 to 22: code that takes all there is. The `session` fixture then runs the next cell, and a neighbour's."""

import asyncio

import pytest

from sandbox import FileRefused, Limits, Session
from tests.attacks.attempts import during, value
from tests.attacks.conftest import SHORT
from tests.cells import checkpoint, chunks, get, run

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]
PATIENT = Limits(seconds=15, grace=0.3, files=5)
"""For a cell that is stopped from outside, once the neighbour has had its answer."""


async def _starts_a_process(neighbour: Session) -> None:
    code = "import subprocess\nint(subprocess.run(['echo', '7'], capture_output=True).stdout)"
    assert (await run(neighbour, code)).value == "7"


async def test_01_fork_bomb(session: Session, neighbour: Session) -> None:
    code = """
import errno, os, time
limit = ''
while True:
    try: os.fork()
    except OSError as error:
        if not limit: limit = errno.errorcode[error.errno]; print(limit, flush=True)
        time.sleep(0.01)
"""
    outcome = await during(session, code, lambda: _starts_a_process(neighbour), PATIENT)
    assert "EAGAIN" in outcome.stdout
    assert outcome.ended.reason in ("interrupted", "died")


async def test_02_thread_bomb(session: Session) -> None:
    code = (
        "import threading, time\nfor _ in range(10_000): threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()"
    )
    outcome = await run(session, code)
    assert outcome.raised is not None and "can't start new thread" in outcome.raised.message


async def test_03_memory_hog(session: Session) -> None:
    await session.put("kept", 1, chunks(b"k"))
    outcome = await run(session, "x = b'1' * (1 << 30)")
    assert outcome.ended.lost and "out of memory (384 MB)" in outcome.ended.detail
    assert await get(session, "kept") == b"k"


async def test_04_a_childs_memory_costs_only_the_child(session: Session) -> None:
    code = """
v = 1
import subprocess, sys
subprocess.run([sys.executable, '-c', 'x = []\\nwhile True: x.append(b"1" * (8 << 20))']).returncode
"""
    outcome = await run(session, code)
    assert outcome.value == "-9"
    assert any("want of memory" in note for note in outcome.ended.notes)
    assert (await run(session, "v")).value == "1"


async def test_05_57_workspace_full(session: Session) -> None:
    outcome = await run(session, "for i in range(9):\n    with open(f'f{i}', 'wb') as f: f.write(b'x' * (8 << 20))")
    assert outcome.raised is not None and "No space left" in outcome.raised.message
    before, sent = await session.list(), chunks(bytes(20 << 20))
    with pytest.raises(FileRefused, match="does not fit"):
        await session.put("more", 20 << 20, sent)
    assert len(await anext(sent)) == 20 << 20, "nothing of it was read"
    assert await session.list() == before
    outcome = await run(session, "plt.plot([1, 2])")
    assert any("could not be drawn" in note or "No space left" in note for note in outcome.ended.notes) or outcome.files


async def test_06_inode_flood(session: Session) -> None:
    outcome = await run(session, "for i in range(1_000_000): open(f'i{i}', 'w').close()", PATIENT)
    assert outcome.raised is not None and "No space left" in outcome.raised.message
    assert len(outcome.files) == 5
    assert len(await session.list()) <= 10_000


async def test_07_shared_memory_fill(session: Session) -> None:
    outcome = await run(session, "for i in range(4): open(f'/dev/shm/{i}', 'wb').write(b'x' * (30 << 20))")
    assert outcome.raised is not None and "No space left" in outcome.raised.message
    code = """
from multiprocessing.shared_memory import SharedMemory
kept = [SharedMemory(create=True, size=30 << 20) for _ in range(4)]
for part in kept: part.buf[:] = bytes(30 << 20)
"""
    outcome = await run(session, code)
    assert outcome.ended.reason == "died" and "SIGBUS" in outcome.ended.detail, outcome.outputs


async def test_08_swap_is_not_more_memory(session: Session) -> None:
    code = """
import os
paths = '/sys/fs/cgroup/memory.swap.max', '/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes'
next((int(open(path).read()) for path in paths if os.path.exists(path)), None)
"""
    bound = await run(session, code)
    if bound.value is None:
        pytest.skip("the engine's kernel keeps no account of swap")
    assert int(bound.value) in (0, 384 << 20)  # cgroup 2 counts swap alone, cgroup 1 with the memory
    outcome = await run(session, "x = []\nwhile True: x.append(b'1' * (8 << 20))")
    assert "out of memory (384 MB)" in outcome.ended.detail


async def test_09_endless_loop(session: Session) -> None:
    outcome = await run(session, "while 1: pass", SHORT)
    assert (outcome.ended.reason, outcome.ended.lost) == ("timeout", False)


@pytest.mark.parametrize("code", ["sum(range(10**14))", "import re; re.match(r'(a+)+$', 'a' * 40 + 'b')"])
async def test_10_a_loop_in_c_that_does_not_heed_signals(session: Session, code: str) -> None:
    outcome = await run(session, code, SHORT)
    assert outcome.ended.reason == "timeout"


async def test_11_a_thread_goes_on_after_its_cell(session: Session, neighbour: Session) -> None:
    """It may, and its text is nobody else's; once the session rests it stands still."""
    code = """
import threading, time
gap = 0
def spin():
    global gap
    last = time.monotonic()
    while True:
        now = time.monotonic()
        gap, last = max(gap, now - last), now
threading.Thread(target=spin, daemon=True).start()
"""
    assert (await run(session, code)).ended.reason == "ok"
    await _starts_a_process(neighbour)
    await session.rest()
    await asyncio.sleep(0.5)
    assert (await run(session, "gap > 0.3")).value == "True"


async def test_12_background_process(session: Session) -> None:
    code = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open("pid", "w").write(str(os.getpid()))
        while True: pass
    os._exit(0)
while True: time.sleep(0.1)
"""
    assert (await run(session, code, SHORT)).ended.reason == "timeout"
    left = await run(session, "import os; os.path.exists('/proc/' + open('pid').read())")
    assert left.value == "False", left


async def test_13_endless_sleep(session: Session) -> None:
    outcome = await run(session, "import time; time.sleep(1e9)", SHORT)
    assert (outcome.ended.reason, outcome.ended.lost) == ("timeout", False)


async def test_14_descriptors(session: Session) -> None:
    outcome = await run(session, "kept = []\nwhile True: kept.append(open('/dev/null'))")
    assert outcome.raised is not None and "Too many open files" in outcome.raised.message


async def test_15_16_a_file_too_large_and_a_sparse_one(session: Session) -> None:
    outcome = await run(session, "import os\nf = open('s', 'wb')\nos.truncate('s', 1 << 50)")
    assert outcome.raised is not None and outcome.raised.name == "OSError"
    outcome = await run(session, "f = open('t', 'wb'); f.seek((32 << 20)); f.write(b'x'); f.flush()")
    assert outcome.raised is not None and "File too large" in outcome.raised.message


async def test_17_deep_directories(session: Session) -> None:
    code = """
import os
for i in range(10_000):
    os.mkdir('d'); os.chdir('d')
open('bottom', 'w').close()
os.chdir('/workspace'); open('top', 'w').close()
"""
    outcome = await run(session, code)
    assert outcome.names == ["top"]
    saved, blob = await checkpoint(session)
    assert blob and saved.files == 1


async def test_18_abort_leaves_no_core(session: Session) -> None:
    outcome = await run(session, "import os; heap = bytearray(200 << 20); os.abort()")
    assert outcome.ended.reason == "died" and "aborted" in outcome.ended.detail
    assert await value(session, "import os; os.listdir('.')") == []


async def test_19_full_buffers(session: Session) -> None:
    code = """
import socket
kept = []
while True:
    kept.append(socket.socketpair())
    kept[-1][0].setblocking(False)
    try:
        while True: kept[-1][0].send(b'x' * 65536)
    except BlockingIOError: pass
"""
    outcome = await run(session, code)
    assert outcome.ended.reason in ("raised", "died")
    assert outcome.raised is None or "Too many open files" in outcome.raised.message


async def test_20_a_neighbours_processes_are_its_own(session: Session, neighbour: Session) -> None:
    code = """
import os, signal
try:
    while True:
        if os.fork() == 0: signal.pause()
except OSError: print('full', flush=True)
signal.pause()
"""
    outcome = await during(session, code, lambda: _starts_a_process(neighbour), PATIENT)
    assert outcome.stdout == "full\n"


async def test_21_random_numbers_for_all(session: Session, neighbour: Session) -> None:
    async def draw() -> None:
        assert (await run(neighbour, "import os; len(open('/dev/random', 'rb').read(4096) + os.urandom(4096))")).value == "8192"

    code = "print('on', flush=True)\nwhile True: open('/dev/random', 'rb').read(1 << 20)"
    assert (await during(session, code, draw, PATIENT)).ended.reason == "interrupted"


async def test_22_zombies(session: Session) -> None:
    code = """
import os
for _ in range(10_000):
    try:
        if os.fork() == 0: os._exit(0)
    except OSError: break
'limited'
"""
    assert (await run(session, code)).value == "'limited'"
    assert (await run(session, "import os; os._exit(0)")).ended.lost
    assert await value(session, "import os; [p for p in os.listdir('/proc') if p.isdigit()].__len__()") == 4
