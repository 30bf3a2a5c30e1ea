"""What any engine must do: the promises of `sandbox.api`, through the port alone."""

import asyncio
import hashlib
import io
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import pytest
import pytest_asyncio
from PIL import Image

from sandbox import (
    Checkpoint,
    Damaged,
    Ended,
    Engine,
    FileRefused,
    Limits,
    Loss,
    Printed,
    Restored,
    SandboxLost,
    Session,
    Started,
)
from tests.cells import Blob, checkpoint, chunks, from_bytes, get, run
from tests.sandbox.conftest import SPEC

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module")
async def session(engine: Engine) -> AsyncIterator[Session]:
    opened = await engine.session("thread", SPEC)
    yield opened
    await opened.close()


async def test_check_names_the_engine(engine: Engine) -> None:
    assert "," in await engine.check()


# -- cells


async def test_variables_stay_from_cell_to_cell(session: Session) -> None:
    await run(session, "x = [1]")
    assert (await run(session, "x.append(2)\nx")).value == "[1, 2]"


async def test_predefined_names(session: Session) -> None:
    outcome = await run(session, "np.__name__, pd.__name__, plt.__name__")
    assert outcome.value == "('numpy', 'pandas', 'matplotlib.pyplot')"


async def test_a_trailing_semicolon_and_none_give_no_result(session: Session) -> None:
    assert (await run(session, "5;")).result is None
    assert (await run(session, "None")).result is None


async def test_top_level_await_and_magics(session: Session) -> None:
    assert (await run(session, "import asyncio\nawait asyncio.sleep(0, 'slept')")).value == "'slept'"
    assert "hello" in (await run(session, "!echo hello")).stdout
    assert "per loop" in (await run(session, "%timeit -n1 -r1 1")).stdout


async def test_text_comes_as_it_is_printed(session: Session) -> None:
    seen: list[str] = []
    code = "import time\nprint('first')\nopen('reached', 'w').close()\nwhile True: time.sleep(0.01)"
    async with aclosing(session.run("live", code)) as outputs:
        async for output in outputs:
            if isinstance(output, Printed):
                seen.append(output.text)
                break
    assert seen == ["first\n"]


async def test_both_streams_and_children_are_captured(session: Session) -> None:
    code = (
        "import os, subprocess, sys\nos.write(1, b'raw\\n')\nprint('err', file=sys.stderr)\nsubprocess.run(['echo', 'child'])"
    )
    outcome = await run(session, code)
    assert outcome.stdout == "raw\nchild\n"
    assert outcome.stderr == "err\n"


async def test_text_is_cleaned(session: Session) -> None:
    code = r"import os; print('\x1b[31mred\x1b[0m\x00 \u202eover'); os.write(1, b'bad \xff byte\n'); print(chr(56550))"
    outcome = await run(session, code)
    assert outcome.stdout == "red over\nbad \ufffd byte\n\\udce6\n"


async def test_a_progress_bar_is_one_line(session: Session) -> None:
    outcome = await run(session, "for i in range(300): print(f'\\r{i}%', end='', flush=True)\nprint()")
    assert outcome.stdout.strip() == "299%"


async def test_a_traceback_has_only_the_persons_frames(session: Session) -> None:
    outcome = await run(session, "def f():\n    return 1 / 0\nf()")
    assert outcome.ended.reason == "raised"
    assert outcome.raised is not None
    assert (outcome.raised.name, outcome.raised.message) == ("ZeroDivisionError", "division by zero")
    assert outcome.raised.traceback.count("File ") == 2
    assert "\x1b" not in outcome.raised.traceback
    assert "_cellmate" not in outcome.raised.traceback


async def test_a_syntax_error_names_the_place(session: Session) -> None:
    outcome = await run(session, "a = 1\nb = = 2")
    assert outcome.raised is not None
    assert outcome.raised.name == "SyntaxError"
    assert "line 2" in outcome.raised.traceback
    assert "_cellmate" not in outcome.raised.traceback


async def test_a_table_is_text_and_rows(session: Session) -> None:
    outcome = await run(session, "pd.DataFrame({'a': range(50), 'b': [x / 4 for x in range(50)]})")
    assert outcome.result is not None
    table = outcome.result.table
    assert table is not None
    assert (table.columns, table.total, len(table.rows)) == (("a", "b"), 50, 20)
    assert table.rows[3] == ("3", "0.75")
    assert "50 rows" in outcome.result.text


async def test_a_series_keeps_its_index(session: Session) -> None:
    outcome = await run(session, "pd.Series([1, 2], index=['x', 'y'], name='n')")
    assert outcome.result is not None and outcome.result.table is not None
    assert outcome.result.table.columns == ("", "n")
    assert outcome.result.table.rows == (("x", "1"), ("y", "2"))


async def test_exit_ends_the_cell_not_python(session: Session) -> None:
    await run(session, "kept = 1")
    for code in ("exit()", "import sys; sys.exit(3)", "quit()"):
        outcome = await run(session, f"{code}\nprint('not reached')")
        assert (outcome.ended.reason, outcome.ended.lost, outcome.stdout) == ("ok", False, "")
    assert (await run(session, "kept")).value == "1"


@pytest.mark.parametrize("code", ["input('name?')", "import sys; sys.stdin.read()", "import sys; sys.stdin.readline()"])
async def test_input_says_at_once_that_there_is_none(session: Session, code: str) -> None:
    outcome = await run(session, code)
    assert outcome.raised is not None
    assert outcome.raised.name == "EOFError"
    assert "nobody can type" in outcome.raised.message


async def test_output_is_head_and_tail(session: Session) -> None:
    code = "print('BEGIN')\nfor i in range(200_000): print(i)\nprint('END')"
    outcome = await run(session, code, Limits(seconds=20, output=10_000))
    assert outcome.stdout.startswith("BEGIN\n0\n1\n")
    assert outcome.stdout.endswith("199999\nEND\n")
    assert "bytes dropped" in outcome.stdout
    assert len(outcome.stdout) < 11_000
    assert any("lines dropped" in note for note in outcome.ended.notes)


async def test_code_too_long_for_a_frame_is_the_codes_error(session: Session) -> None:
    outcome = await run(session, "#" + "x" * (2 << 20))
    assert outcome.raised is not None and "a cell may have" in outcome.raised.message
    assert (await run(session, "1")).value == "1"


# -- figures and files


async def test_an_open_figure_becomes_a_file_with_words(session: Session) -> None:
    code = """
x = range(5)
plt.plot(x, label='north'); plt.plot(x, label='south'); plt.legend()
plt.title('Revenue'); plt.xlabel('month'); plt.ylabel('EUR')
"""
    outcome = await run(session, code)
    (file,) = outcome.files
    assert (file.name, file.media_type, file.figure) == ("figure-1.png", "image/png", True)
    assert file.alt.startswith(
        "Line chart 'Revenue': x month, y EUR; series north, south; north lowest 0 at 0, highest 4 at 4;"
    )
    assert Image.open(io.BytesIO(await get(session, file.name))).width > 300
    assert outcome.result is None
    assert (await run(session, "plt.get_fignums()")).value == "[]"


async def test_figures_are_numbered_over_the_session(session: Session) -> None:
    assert (await run(session, "plt.plot([1]); plt.show(); plt.figure(); plt.plot([2])")).names == [
        "figure-1.png",
        "figure-2.png",
    ]
    await run(session, "open('figure-3.png', 'w').write('mine')")
    assert (await run(session, "fig, ax = plt.subplots()")).names == ["figure-4.png"]
    assert await get(session, "figure-3.png") == b"mine"


async def test_a_figure_saved_by_the_code_is_not_doubled(session: Session) -> None:
    outcome = await run(session, "plt.plot([1, 2]); plt.title('T'); plt.savefig('mine.png')")
    assert outcome.names == ["mine.png"]
    assert outcome.files[0].alt == "Line chart 'T'; lowest 1 at 0, highest 2 at 1"
    outcome = await run(session, "plt.plot([1, 2]); plt.savefig('closed.png'); plt.close()")
    assert outcome.names == ["closed.png"]
    outcome = await run(session, "plt.plot([1, 2]); plt.savefig('vector.pdf')")
    assert sorted(outcome.names) == ["figure-1.png", "vector.pdf"]


async def test_a_figure_or_picture_as_last_expression(session: Session) -> None:
    outcome = await run(session, "from matplotlib.figure import Figure\nf = Figure(); f.subplots().bar(['a'], [1]); f")
    assert outcome.names == ["figure-1.png"] and outcome.files[0].alt == "Bar chart; highest a 1"
    outcome = await run(session, "from PIL import Image\nImage.new('RGB', (8, 4), 'red')")
    (file,) = outcome.files
    assert file.figure and outcome.result is None
    assert Image.open(io.BytesIO(await get(session, file.name))).getpixel((0, 0)) == (255, 0, 0)
    assert len((await run(session, "Image.new('L', (3, 3)).show()")).files) == 1


async def test_displayed_pictures_and_tables(session: Session) -> None:
    code = "from PIL import Image\nfrom IPython.display import Image as Shown\nImage.new('RGB', (4, 4)).save('/tmp/p.png')\n"
    outcome = await run(session, code + "display(Image.new('L', (9, 3)), pd.DataFrame({'a': [1]}))\nShown('/tmp/p.png')")
    assert outcome.names == ["image-1.png", "image-2.png"]
    assert Image.open(io.BytesIO(await get(session, "image-1.png"))).size == (9, 3)
    assert outcome.stdout == "   a\n0  1\n" and outcome.result is None


async def test_plotly_is_a_page_and_says_so(session: Session) -> None:
    code = "import plotly.express as px\npx.line(x=[1, 2], y=[3, 4], title='Sales by month')"
    outcome = await run(session, code)
    assert outcome.names == ["sales-by-month.html"]
    assert outcome.files[0].media_type == "text/html"
    assert any("open it in a browser" in note for note in outcome.ended.notes)
    outcome = await run(session, "px.bar(x=[1], y=[2], title='B').show(); display(px.bar(x=[1], y=[2], title='C'))")
    assert sorted(outcome.names) == ["b.html", "c.html"]
    page = await get(session, "b.html")
    assert b'src="http' not in page[:2000] and len(page) > 1_000_000


async def test_new_and_changed_files_are_handed_out(session: Session) -> None:
    code = "import os\nos.makedirs('d/__pycache__'); os.makedirs('.h')\n" + "\n".join(
        f"open({name!r}, 'w').write('x')" for name in ("a.csv", "d/b.txt", ".hidden", ".h/c", "d/__pycache__/x.pyc")
    )
    assert sorted((await run(session, code)).names) == ["a.csv", "d/b.txt"]
    assert (await run(session, "1")).names == []
    assert (await run(session, "open('a.csv', 'a').write('y')")).names == ["a.csv"]


async def test_files_over_the_limit_are_counted(session: Session) -> None:
    code = "for i in range(8): open(f'{i}.bin', 'wb').write(b'x' * (40 << 20 if i == 7 else 10))"
    outcome = await run(session, code)
    assert len(outcome.files) == 5
    assert outcome.ended.notes == ("3 more files, largest 40 MB, kept in the workspace",)


async def test_names_are_cleaned_and_can_be_got(session: Session) -> None:
    code = "open('a\\nb\\u202e.txt', 'w').write('odd'); open('e\\u0301.txt', 'w').write('nfd')"
    outcome = await run(session, code)
    assert sorted(outcome.names) == ["a b.txt", "é.txt"]
    assert await get(session, "a b.txt") == b"odd"
    assert await get(session, "é.txt") == b"nfd"


async def test_put_list_get(session: Session) -> None:
    data = bytes(range(256)) * 5000
    file = await session.put("dir/a.bin", len(data), chunks(data[:7], data[7:]))
    assert (file.name, file.size) == ("dir/a.bin", len(data))
    assert await get(session, "dir/a.bin") == data
    assert [file.name for file in await session.list()] == ["dir/a.bin"]
    assert (await run(session, "len(open('dir/a.bin', 'rb').read())")).value == str(len(data))
    assert (await session.put("dir/a.bin", 1, chunks(b"z"))).size == 1
    assert await get(session, "dir/a.bin") == b"z"
    assert (await session.put("empty", 0, chunks())).size == 0


@pytest.mark.parametrize("name", ["../../etc/x", "/etc/x", "..\\x", "-rf", "$(id)", "'q\"", "x" * 400 + ".csv"])
async def test_put_cleans_names(session: Session, name: str) -> None:
    file = await session.put(name, 2, chunks(b"ok"))
    assert ".." not in file.name and not file.name.startswith("/")
    assert await get(session, file.name) == b"ok"


async def test_put_refuses_before_reading(session: Session) -> None:
    async def never() -> AsyncIterator[bytes]:
        pytest.fail("a chunk was read")
        yield b""  # type: ignore[unreachable]

    with pytest.raises(FileRefused, match=r"too large: 1 GB.*48 MB"):
        await session.put("big", 1 << 30, never())
    await run(session, "open('fill', 'wb').write(b'x' * (40 << 20))")
    with pytest.raises(FileRefused, match=r"does not fit: it has 30 MB"):
        await session.put("second", 30 << 20, never())
    assert [file.name for file in await session.list()] == ["fill"]


async def test_put_of_another_size_changes_nothing(session: Session) -> None:
    await session.put("a", 1, chunks(b"1"))
    for parts in ((b"22",), ()):
        with pytest.raises(FileRefused, match="another size"):
            await session.put("a", 1, chunks(*parts))
    assert await get(session, "a") == b"1"
    assert len(await session.list()) == 1


async def test_a_put_that_fails_half_way_changes_nothing(session: Session) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        raise ConnectionError("the source broke")

    with pytest.raises(ConnectionError):
        await session.put("a", 5000, broken())
    assert await session.list() == ()
    assert (await run(session, "import os; os.listdir('.')")).value == "[]"


async def test_get_refuses_what_is_no_file(session: Session) -> None:
    code = "import os\nos.symlink('/etc/passwd', 'link'); os.mkfifo('pipe'); os.mkdir('dir')"
    outcome = await run(session, code)
    assert outcome.files == []
    for name in ("link", "pipe", "dir", "missing", "../etc/passwd", "/etc/passwd", "dir/../../etc/passwd", ""):
        with pytest.raises(FileRefused):
            await get(session, name)
    assert (await run(session, "1")).value == "1"


async def test_a_get_left_early_leaves_the_session_usable(session: Session) -> None:
    await session.put("a", 20 << 20, chunks(bytes(20 << 20)))
    async with aclosing(session.get("a")) as parts:
        async for _ in parts:
            break
    assert hashlib.sha256(await get(session, "a")).digest() == hashlib.sha256(bytes(20 << 20)).digest()


async def test_a_large_file_makes_the_round_trip(session: Session) -> None:
    block = hashlib.sha256(b"seed").digest() * 2048
    digest, count = hashlib.sha256(), 600

    async def source() -> AsyncIterator[bytes]:
        for _ in range(count):
            digest.update(block)
            yield block

    await session.put("large", count * len(block), source())
    came = hashlib.sha256()
    async for chunk in session.get("large"):
        came.update(chunk)
    assert came.digest() == digest.digest()


async def test_variables_are_named_and_summed_up(session: Session) -> None:
    code = """
import math
a = 1; _hidden = 2
df = pd.DataFrame({'x': [1, 2]})
s = 'text'
class Odd:
    def __repr__(self): raise ValueError
odd = Odd()
def f(): pass
"""
    await run(session, code)
    found = {variable.name: (variable.type, variable.summary) for variable in await session.variables()}
    assert sorted(found) == ["Odd", "a", "df", "f", "odd", "s"]
    assert found["a"] == ("int", "1")
    assert found["df"][0] == "DataFrame" and "2" in found["df"][1]
    assert found["s"] == ("str", "'text'")


# -- stopping


async def test_interrupt_keeps_variables(session: Session) -> None:
    await run(session, "x = 1")
    reasons = []
    async for output in session.run("stop", "import time\nx = 2\nprint('on', flush=True)\nwhile True: time.sleep(0.01)"):
        if isinstance(output, Printed):
            await session.interrupt()
        if isinstance(output, Ended):
            reasons.append((output.reason, output.lost))
    assert reasons == [("interrupted", False)]
    assert (await run(session, "x")).value == "2"


async def test_interrupt_with_nothing_running_does_nothing(session: Session) -> None:
    await session.interrupt()
    assert (await run(session, "1")).ended.reason == "ok"


async def test_the_deadline_ends_a_cell(session: Session) -> None:
    await run(session, "x = 1")
    outcome = await run(session, "while True: pass", Limits(seconds=0.5))
    assert (outcome.ended.reason, outcome.ended.lost) == ("timeout", False)
    assert (await run(session, "x")).value == "1"


async def test_code_that_does_not_stop_is_killed_and_says_so(session: Session) -> None:
    await run(session, "x = 1; open('kept.txt', 'w').write('k')")
    code = "while True:\n    try:\n        while True: pass\n    except KeyboardInterrupt: pass"
    outcome = await run(session, code, Limits(seconds=0.3, grace=0.3))
    assert (outcome.ended.reason, outcome.ended.lost) == ("timeout", True)
    assert outcome.ended.lost and "files are kept" in outcome.ended.detail
    assert (await run(session, "x")).ended.reason == "raised"
    assert await get(session, "kept.txt") == b"k"


async def test_leaving_early_stops_the_cell(session: Session) -> None:
    async with aclosing(session.run("left", "import time\nx = 1\nwhile True: time.sleep(0.01)")) as outputs:
        assert isinstance(await anext(outputs), Started)
    assert (await run(session, "x")).ended.reason in ("ok", "raised")
    task = asyncio.ensure_future(run(session, "while True: pass"))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await run(session, "1")).value == "1"


async def test_stopping_ends_the_cells_whole_tree(session: Session) -> None:
    code = """
import os, subprocess, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp('sleep', ['sleep', '1234'])
    os._exit(0)
subprocess.Popen(['sleep', '1234'])
print('on', flush=True)
while True: time.sleep(0.01)
"""
    async for output in session.run("tree", code):
        if isinstance(output, Printed):
            await session.interrupt()
    count = "sum(b'sleep' in open(f'/proc/{p}/cmdline', 'rb').read() for p in __import__('os').listdir('/proc') if p.isdigit())"
    assert (await run(session, count)).value == "0"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os._exit(7)", "exit status 7"),
        ("import ctypes; ctypes.string_at(0)", "segmentation fault"),
        ("import os; os.abort()", "aborted"),
        ("import os; os.kill(os.getpid(), 9)", "killed"),
        ("x = bytearray(2 << 30)\nfor i in range(0, len(x), 4096): x[i] = 1", "out of memory (512 MB)"),
    ],
)
async def test_a_lost_kernel_is_told_and_replaced(session: Session, code: str, words: str) -> None:
    await session.put("kept", 1, chunks(b"k"))
    outcome = await run(session, "print('before')\n" + code)
    assert (outcome.ended.reason, outcome.ended.lost) == ("died", True)
    assert words in outcome.ended.detail
    assert "before" in outcome.stdout
    assert (await run(session, "open('kept').read()")).value == "'k'"


async def test_a_kernel_lost_between_cells_is_told_with_the_next(session: Session) -> None:
    await run(session, "x = 1\nimport os, threading\nthreading.Timer(0.3, os._exit, [1]).start()")
    await asyncio.sleep(0.8)
    outcome = await run(session, "'x' in globals()")
    assert outcome.value == "False"
    assert outcome.ended.lost and "files are kept" in outcome.ended.detail


# -- idempotence and adoption


async def test_the_same_id_runs_once(session: Session) -> None:
    code = "n = globals().get('n', 0) + 1\nprint(n)\nopen('f.txt', 'a').write('x')\nn"
    first = await run(session, code, id="once")
    again = await run(session, code, id="once")
    assert [type(output) for output in again.outputs] == [type(output) for output in first.outputs]
    assert (again.stdout, again.result, again.files, again.ended) == (first.stdout, first.result, first.files, first.ended)
    assert (await run(session, "n")).value == "1"


async def test_another_call_waits_for_the_running_cell(session: Session) -> None:
    started = asyncio.Event()

    async def long() -> None:
        async for output in session.run("long", "import time; time.sleep(0.5); done = 1"):
            if isinstance(output, Started):
                started.set()

    task = asyncio.ensure_future(long())
    await started.wait()
    assert [variable.name for variable in await session.variables()] == ["done"]
    await task


async def test_sessions_do_not_see_each_other(engine: Engine) -> None:
    one, two = await engine.session("one", SPEC), await engine.session("two", SPEC)
    await run(one, "secret = 1; open('/tmp/s', 'w').write('s'); open('s', 'w').write('s')")
    assert (
        await run(two, "import os; 'secret' in globals(), os.listdir('.'), os.path.exists('/tmp/s')")
    ).value == "(False, [], False)"
    assert await engine.session("one", SPEC) is one


async def test_close_removes_and_the_next_session_is_fresh(engine: Engine) -> None:
    session = await engine.session("thread", SPEC)
    await run(session, "x = 1")
    await session.close()
    await session.close()
    with pytest.raises(SandboxLost):
        await run(session, "1")
    again = await engine.session("thread", SPEC)
    assert again.origin == "fresh"
    assert (await run(again, "'x' in globals()")).value == "False"


# -- checkpoints


async def test_a_checkpoint_brings_files_and_variables_back(engine: Engine) -> None:
    session = await engine.session("thread", SPEC)
    code = """
import math, threading
y = 5
def f(): return y
g = lambda: f() + 1
class Point:
    def __init__(self, x): self.x = x
p = Point(3)
df = pd.DataFrame({'a': range(1000)})
lock = threading.Lock(); handle = open('d.txt', 'w'); gen = (i for i in [1])
"""
    await run(session, code)
    await session.put("dir/data.bin", 300_000, chunks(bytes(300_000)))
    saved, blob = await checkpoint(session)
    assert {loss.name for loss in saved.lost} == {"lock", "handle", "gen"}
    assert saved.files == 2
    assert (await run(session, "p.x")).value == "3"
    await session.close()

    back = await engine.session("thread", SPEC, from_bytes(blob))
    assert back.origin == "restored"
    assert back.restored is not None
    assert (back.restored.variables, back.restored.files, back.restored.lost) == (saved.variables, 2, ())
    assert len(await get(back, "dir/data.bin")) == 300_000
    assert (await run(back, "y = 7; g(), p.x, Point(1).x, len(df), math.pi > 3")).value == "(8, 3, 1, 1000, True)"
    assert (await run(back, "1")).names == []


async def test_a_checkpoint_that_hangs_or_lies_costs_only_its_variable(engine: Engine) -> None:
    session = await engine.session("thread", SPEC)
    code = """
import os, time
class Dies:
    def __reduce__(self): return os._exit, (1,)
class Raises:
    def __reduce__(self): return exec, ("raise ValueError('boo')",)
class Fails:
    def __reduce__(self): raise ValueError('no')
class Sleeps:
    def __reduce__(self): return time.sleep, (100_000,)
a = 1; b_dies = Dies(); c_raises = Raises(); d_fails = Fails(); e_sleeps = Sleeps(); z = 26
"""
    await run(session, code)
    saved, blob = await checkpoint(session)
    assert {loss.name for loss in saved.lost} == {"d_fails"}
    await session.close()
    back = await engine.session("thread", SPEC, from_bytes(blob))
    assert back.restored is not None
    assert {loss.name for loss in back.restored.lost} == {"b_dies", "c_raises", "e_sleeps"}
    assert (await run(back, "a, z")).value == "(1, 26)"


async def test_what_has_not_changed_is_not_given_again(engine: Engine) -> None:
    session = await engine.session("thread", SPEC)
    blob = Blob()
    await run(session, "big = np.zeros(1_000_000); text = 'x' * 3_000_000; small = 1")
    await run(session, "open('big.bin', 'wb').write(bytes(5_000_000))")
    await blob.take(session)
    assert len(blob.given) == 4, "big, text, big.bin, and one piece for all that is small"
    await run(session, "other = 2; del text")
    await blob.take(session)
    assert len(blob.given) == 1, "what is small shares a piece"
    await run(session, "big[5] = 1; open('big.bin', 'r+b').write(b'!')")
    saved = await blob.take(session)
    assert len(blob.given) == 2
    await session.close()
    back = await engine.session("thread", SPEC, from_bytes(blob))
    assert back.restored == Restored(saved.variables, 1)
    assert (await run(back, "big.sum(), small, other, 'text' in globals(), open('big.bin').read(2)")).value == (
        "(np.float64(1.0), 1, 2, False, '!\\x00')"
    )


async def test_what_no_longer_loads_is_named_with_the_versions(engine: Engine) -> None:
    session = await engine.session("thread", SPEC)
    code = """
import sys
open('lib.py', 'w').write("__version__ = '2.1'\\nclass Thing: pass")
import lib
thing = lib.Thing(); x = 1
open('lib.py', 'w').write("__version__ = '1.0'")
def f(): return x
sys.modules['_cellmate.checkpoint']._PYTHON = '3.99.1'  # a kernel that was of another Python
"""
    assert (await run(session, code)).ended.reason == "ok"
    _, blob = await checkpoint(session)
    await session.close()
    back = await engine.session("thread", SPEC, from_bytes(blob))
    assert back.restored is not None
    lost = {loss.name: loss.why for loss in back.restored.lost}
    assert lost["thing"] == "it was kept with lib 2.1, here is 1.0"
    assert lost["f"].startswith("it was kept with Python 3.99.1, here is 3.")
    assert (await run(back, "x")).value == "1"


async def test_after_a_kill_the_last_checkpoints_variables_come_back_and_files_stay(session: Session) -> None:
    await run(session, "x = 1; y = [1]; open('f', 'w').write('old')")
    _, blob = await checkpoint(session)
    before = "z = 3; y.append(2); open('f', 'w').write('new')"
    await run(session, before)
    killed = "import os, math\nfor w in range(3): pass\nos._exit(1)"
    emptied = [(await run(session, killed)).ended.lost, session.emptied]
    restored = await session.reload(from_bytes(blob), [before, killed, "not Python"])
    assert [*emptied, session.emptied] == [True, True, False]
    assert (restored.variables, restored.lost, restored.gone) == (2, (), ("z", "w"))
    outcome = await run(session, "x, y, open('f').read(), 'z' in globals()")
    assert outcome.value == "(1, [1], 'new', False)"


async def test_a_rest_is_not_noticed(engine: Engine, session: Session) -> None:
    await run(session, "x = 41; open('f', 'w').write('here')")
    await session.rest()
    await session.interrupt()
    assert await get(session, "f") == b"here"
    await session.rest()
    assert await engine.session("thread", SPEC) is not None
    assert (await run(session, "x + 1")).value == "42"
    assert await engine.memory() >= 0
    await session.rest()


async def test_a_reload_leaves_what_is_there(session: Session) -> None:
    await run(session, "x = 1; y = 2")
    _, blob = await checkpoint(session)
    await run(session, "import os, threading\nthreading.Timer(0.2, lambda: os._exit(3)).start()")
    await asyncio.sleep(0.5)
    assert (await run(session, "x = 5")).ended.lost
    assert (await session.reload(from_bytes(blob), ["x = 5"])).gone == ()
    assert (await run(session, "x, y")).value == "(5, 2)"


@pytest.mark.parametrize("damage", ["noise", "cut", "flipped", "refused"])
async def test_a_damaged_checkpoint_gives_a_session_that_names_the_loss(engine: Engine, damage: str) -> None:
    session = await engine.session("thread", SPEC)
    await run(session, "x = list(range(50_000)); open('f', 'w').write('f' * 100_000)")
    _, blob = await checkpoint(session)
    await session.close()

    def spoil(whole: bytes) -> bytes:
        middle = len(whole) // 2
        return {
            "noise": b"\x00\xff" * 5000,
            "cut": whole[:middle],
            "flipped": whole[:middle] + bytes(byte ^ 255 for byte in whole[middle : middle + 50]) + whole[middle + 50 :],
        }[damage]

    async def refused() -> AsyncGenerator[bytes, None]:
        yield blob.bytes("files")[:10]
        raise Damaged("it was altered")

    bad = Checkpoint(refused, refused) if damage == "refused" else from_bytes(blob, spoil)
    back = await engine.session("thread", SPEC, bad)
    assert back.restored is not None
    if damage == "refused":
        assert back.restored.lost == (Loss("files", "it was altered"), Loss("variables", "it was altered"))
    else:
        assert back.restored.lost
    assert (await run(back, "1 + 1")).value == "2"


async def test_time_is_the_hosts(session: Session) -> None:
    began = time.monotonic()
    outcome = await run(session, "import time; time.time = time.monotonic = lambda: 0\nwhile True: pass", Limits(seconds=0.3))
    assert outcome.ended.reason == "timeout"
    assert time.monotonic() - began >= 0.3
