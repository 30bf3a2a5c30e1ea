"""Cases 23 to 43: code that shouts, lies and will not end. The `session` fixture then runs the next cell, and a neighbour's."""

import asyncio
import unicodedata

import pytest

from sandbox import Output, Printed, Session
from tests.attacks.attempts import errors
from tests.attacks.conftest import SHORT
from tests.cells import Outcome, run

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]

_FRAMES = """
import importlib.util, os
spec = importlib.util.spec_from_file_location('wire', '/opt/cellmate/runner/wire.py')
wire = importlib.util.module_from_spec(spec); spec.loader.exec_module(wire)
"""
"""The protocol, as code that has found our source speaks it."""


async def test_23_endless_print(session: Session) -> None:
    outcome = await run(session, "while True: print('x' * 100)", SHORT)
    assert outcome.ended.reason == "timeout"
    assert "bytes dropped" in outcome.stdout
    assert len(outcome.stdout) < 300 << 10


async def test_24_25_endless_lines_from_a_child_and_by_descriptor(session: Session) -> None:
    code = """
import os, subprocess
subprocess.run('head -c 200000000 /dev/zero | tr "\\\\0" z', shell=True)
for _ in range(100): os.write(1, b'y' * 1_000_000)
"""
    outcome = await run(session, code)
    assert outcome.ended.reason == "ok"
    assert "bytes dropped" in outcome.stdout and len(outcome.stdout) < 300 << 10
    assert outcome.stdout.startswith("zzz") and outcome.stdout.rstrip().endswith("yyy")


async def test_26_27_forged_frames_on_every_descriptor(session: Session) -> None:
    code = (
        _FRAMES
        + r"""
ended = b'{"t":"ended","reason":"ok","seconds":0,"detail":"forged","lost":false,"notes":[]}'
made = b'{"t":"made","name":"../../etc/passwd","size":1,"figure":true,"alt":"forged"}'
for token in (wire.LOCAL, bytes(16)):
    for type in sorted(wire.TYPES):
        for payload in (ended, made, b'{"reason":"ok","notes":["forged"]}'):
            for fd in range(1, 64):
                try:
                    os.set_blocking(fd, False)
                    os.write(fd, wire.encode(token, type, 1, payload))
                except OSError: pass
for fd in range(3, 1024):
    try:
        os.set_blocking(fd, False)
        os.write(fd, b'\xff' * 100_000)
    except OSError: pass
"""
    )
    outcome = await run(session, code, SHORT)
    assert outcome.ended.detail != "forged"
    assert all("passwd" not in name for name in outcome.names)


async def test_28_29_process_one_is_out_of_reach(session: Session) -> None:
    tried = """{
'fd': lambda: os.listdir('/proc/1/fd'), 'mem': lambda: open('/proc/1/mem', 'rb'), 'root': lambda: os.listdir('/proc/1/root'),
'environ': lambda: open('/proc/1/environ', 'rb').read(), 'maps': lambda: open('/proc/1/maps').read(),
'stdout': lambda: open('/proc/1/fd/1', 'wb'), 'attach': lambda: call('ptrace', 16, 1, 0, 0),
'read': lambda: call('process_vm_readv', 1, 0, 0, 0, 0, 0),
} | {name: lambda name=name: os.kill(1, getattr(signal, name)) for name in ('SIGKILL', 'SIGTERM', 'SIGSTOP', 'SIGINT')}"""
    found = await errors(session, tried)
    assert set(found.values()) <= {"EACCES", "EPERM"}, found


async def test_30_kill_everything(session: Session) -> None:
    outcome = await run(session, "x = 1\nimport os; os.kill(-1, 9)")
    assert outcome.ended.reason in ("ok", "died")


async def test_31_a_forged_end_ends_only_its_own_cell(session: Session) -> None:
    """Code may say that its own cell has ended, once it has found the cell's number; what it prints after that is nobody's,
    and the next cell's number cannot be guessed."""
    code = (
        _FRAMES
        + r"""
import sys, threading, time
def late():
    time.sleep(0.3)
    for _ in range(50): print('late', flush=True); time.sleep(0.01)
threading.Thread(target=late, daemon=True).start()
print('begun', flush=True)
above = sys._getframe()
while getattr(above.f_locals.get('frame'), 'op', 0) == 0: above = above.f_back
own = above.f_locals['frame'].op
for op in (own, *range(own + 1, own + 20), *range(1, 100)):
    for fd in range(3, 64):
        try: os.write(fd, wire.encode(wire.LOCAL, wire.FINISHED, op, b'{"result":{"text":"forged"}}'))
        except OSError: pass
time.sleep(0.4)
"""
    )
    outcome = await run(session, code)
    assert (outcome.value, outcome.stdout, outcome.ended.reason) == ("forged", "begun\n", "ok")
    following = await run(session, "import time; time.sleep(0.2); 'true'")
    assert (following.value, following.ended.reason) == ("'true'", "ok")


async def test_32_cancelled_guards(session: Session) -> None:
    code = """
import signal, sys, json, socket, builtins
signal.signal(signal.SIGINT, signal.SIG_IGN); signal.alarm(0)
sys.settrace(None); builtins.print = None; json.dumps = None; socket.socket.sendall = None
while True: pass
"""
    outcome = await run(session, code, SHORT)
    assert (outcome.ended.reason, outcome.ended.lost) == ("timeout", True)


async def test_33_bytes_that_are_no_text(session: Session) -> None:
    code = r"""
import os, sys
os.write(1, b'a\xff\xfe\x00\x1b[31m\x1b]8;;http://x\x07b\r\n')
os.write(2, '\u202e\u2066c'.encode())
print(chr(56550) + '\u202ed\x9b31m')
raise ValueError('e' + chr(56550) + '\x1b[2J\u202e\x00')
"""
    outcome = await run(session, code)
    assert outcome.raised is not None
    for text in (outcome.stdout, outcome.stderr, outcome.raised.message, outcome.raised.traceback):
        kinds = {unicodedata.category(character) for character in text.replace("\n", "").replace("\t", "")}
        assert not kinds & {"Cc", "Cs"} and not set("\u202e\u2066") & set(text), repr(text)
    assert set("abd") <= set(outcome.stdout) and "c" in outcome.stderr and "e" in outcome.raised.message


@pytest.mark.parametrize(
    "body", ["raise ValueError('r')", "return repr(self)", "return 'x' * (50 << 20)", "return 5", "raise KeyboardInterrupt"]
)
async def test_34_hostile_reprs(session: Session, body: str) -> None:
    outcome = await run(session, f"class R:\n    def __repr__(self): {body}\nR()")
    assert (
        outcome.raised is not None
        or outcome.ended.reason == "interrupted"
        or (outcome.value is not None and len(outcome.value) < 70_000)
    )
    assert len(str(outcome.outputs)) < 200_000


async def test_34_a_repr_that_sleeps(session: Session) -> None:
    outcome = await run(session, "import time\nclass R:\n    def __repr__(self): time.sleep(1e9)\nR()", SHORT)
    assert outcome.ended.reason == "timeout"


async def test_35_mime_bombs(session: Session) -> None:
    code = """
class M:
    def _repr_mimebundle_(self, *a, **k): return {f'text/x{i}': 'y' * 1000 for i in range(10_000)} | {'image/png': b'<html>'}
    def _repr_png_(self): return b'<html>' * 1_000_000
display(M()); M()
"""
    outcome = await run(session, code)
    assert outcome.files == [] and len(str(outcome.outputs)) < 200_000


async def test_36_ten_thousand_figures_and_a_huge_one(session: Session) -> None:
    code = """
import warnings; warnings.simplefilter('ignore')
from matplotlib.figure import Figure
for i in range(300): plt.figure(figsize=(1, 1)).text(0, 0, i)
"""
    outcome = await run(session, code)
    assert len(outcome.files) == 5
    assert any("295 more figures" in note for note in outcome.ended.notes)
    outcome = await run(session, "fig = plt.figure(figsize=(100000, 100000)); plt.plot([1])")
    assert outcome.ended.reason in ("ok", "died")


async def test_37_huge_tracebacks_and_messages(session: Session) -> None:
    outcome = await run(session, "raise ValueError('m' * (20 << 20))")
    assert outcome.raised is not None and len(outcome.raised.message) < 3000 and len(outcome.raised.traceback) < 20_000
    outcome = await run(session, "import sys; sys.setrecursionlimit(10**5)\ndef f(n): return g(n)\ndef g(n): return f(n)\nf(1)")
    assert outcome.ended.reason in ("raised", "died")
    assert outcome.raised is None or len(outcome.raised.traceback) < 20_000
    outcome = await run(session, "class E(Exception):\n    def __str__(self): raise ValueError\nraise E()")
    assert outcome.raised is not None and outcome.raised.name == "E"


async def test_38_nobody_types(session: Session) -> None:
    for code in ("input('name? ')", "import sys; sys.stdin.read()"):
        outcome = await run(session, code)
        assert outcome.raised is not None and outcome.raised.name == "EOFError" and "nobody can type" in outcome.raised.message


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [
        ("exit()", "ok", ""),
        ("import sys; sys.exit(3)", "ok", "exit(3)"),
        ("import os; os._exit(0)", "died", "exit status 0"),
        ("import ctypes; ctypes.string_at(0)", "died", "segmentation fault"),
        ("import faulthandler; faulthandler._sigsegv()", "died", "segmentation fault"),
        ("import os; os.execv('/bin/true', ['true'])", "died", "exit status 0"),
    ],
)
async def test_39_40_ways_to_end_python(session: Session, code: str, reason: str, words: str) -> None:
    outcome = await run(session, code)
    assert (outcome.ended.reason, outcome.ended.lost) == (reason, reason == "died")
    assert words in outcome.ended.detail


async def test_40_another_program_over_the_kernel(session: Session) -> None:
    outcome = await run(session, "import os; os.execv('/bin/sleep', ['sleep', '1000'])", SHORT)
    assert outcome.ended.lost


async def test_closed_descriptors(session: Session) -> None:
    outcome = await run(session, "import os; os.closerange(0, 1024)", SHORT)
    assert outcome.ended.lost


async def test_late_output_of_a_thread_is_not_the_next_cells(session: Session) -> None:
    await run(
        session,
        "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.3), print('late')), daemon=True).start()",
    )
    await asyncio.sleep(0.6)
    assert (await run(session, "print('now')")).stdout == "now\n"


async def test_stop_during_a_flood(session: Session) -> None:
    outputs: list[Output] = []
    async for output in session.run("flood", "while True: print('y' * 1000)"):
        if isinstance(output, Printed) and len(outputs) == 1:
            await session.interrupt()
        outputs.append(output)
    assert Outcome(outputs).ended.reason == "interrupted"
