"""Cases 44 to 58: files that are not what they seem. The `session` fixture then runs the next cell, and a neighbour's."""

import asyncio
import contextlib
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable

import pytest

from sandbox import FileRefused, Limits, Session
from tests.attacks.attempts import errors, value
from tests.cells import checkpoint, chunks, get, run

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]
MIB = 1 << 20
MANY = Limits(seconds=10, files=40)


async def _put(session: Session, name: str, data: bytes) -> None:
    await session.put(name, len(data), chunks(data))


def _harmless(names: Iterable[str]) -> bool:
    return all(name.isprintable() and name[0] != "/" and ".." not in name.split("/") for name in names)


async def test_44_48_56_links_pipes_and_names(session: Session) -> None:
    code = r"""
import os, socket
for i, target in enumerate(('/etc/passwd', '/proc/self/environ', '/proc/1/root', '/dev/zero', '..', '/')):
    os.symlink(target, f'link{i}')
os.mkfifo('pipe'); socket.socket(socket.AF_UNIX).bind('sock')
names = ('a\\b', 'C:\\x', 'd\\..\\..\\x', '\\etc\\passwd', 'CON', 'x' * 255, 'new\nline', '\u202etxt.exe', '-rf',
         '$(id)', "q'\"", 'caf\u00e9', 'cafe\u0301')
for name in names: open(name, 'w').write('z')
open(b'\xc3.txt', 'w').close()
len(names)
"""
    outcome = await run(session, code, MANY)
    assert len(set(outcome.names)) == int(str(outcome.value)) and _harmless(outcome.names), outcome.names
    for name in outcome.names:
        assert await get(session, name) == b"z"
    for i in range(6):
        for below in ("", "/etc/passwd", "/environ"):
            with pytest.raises(FileRefused):
                await get(session, f"link{i}{below}")
    for name in ("pipe", "sock", "/etc/passwd", "../etc/passwd", "a/../../etc/passwd"):
        with pytest.raises(FileRefused):
            await get(session, name)
    saved, _ = await checkpoint(session)
    assert {"pipe", "sock"} <= {loss.name for loss in saved.lost}
    assert any("UTF-8" in loss.why for loss in saved.lost)


async def test_45_46_a_link_swapped_while_it_is_read(session: Session) -> None:
    code = """
import os, threading
def flip():
    while True:
        try:
            open('t', 'w').write('mine'); os.replace('t', 'f')
            os.symlink('/etc/passwd', 'l'); os.replace('l', 'f')
        except OSError: pass
threading.Thread(target=flip, daemon=True).start()
"""
    await run(session, code)
    for _ in range(60):
        with contextlib.suppress(FileRefused):
            assert b"root:" not in await get(session, "f")


async def test_45_put_through_a_link_stays_inside(session: Session) -> None:
    await run(session, "import os; os.symlink('/tmp', 'out'); os.symlink('/tmp/target', 'file')")
    with pytest.raises(FileRefused):
        await session.put("out/x", 1, chunks(b"x"))
    await session.put("file", 1, chunks(b"x"))
    outcome = await run(session, "os.path.islink('file'), os.path.exists('/tmp/target'), os.path.exists('/tmp/x')")
    assert outcome.value == "(False, False, False)"


async def test_47_48_hard_links_and_devices(session: Session) -> None:
    tried = """{
'hard link': lambda: os.link('/etc/passwd', 'h'), 'to a process': lambda: os.link('/proc/self/environ', 'e'),
'zero': lambda: os.mknod('z', 0o020600, os.makedev(1, 5)), 'disk': lambda: os.mknod('d', 0o060600, os.makedev(8, 0)),
}"""
    found = await errors(session, tried)
    assert set(found.values()) <= {"EXDEV", "EPERM"}, found
    assert await session.list() == ()


async def test_49_a_file_that_shrinks_while_it_is_read(session: Session) -> None:
    await _put(session, "f", bytes(30 * MIB))
    await run(session, "import threading, os\nthreading.Timer(0.3, os.truncate, ('f', 10)).start()")
    with pytest.raises(FileRefused, match="shorter"):
        async for _ in session.get("f"):
            await asyncio.sleep(0.02)


async def test_49_a_file_that_grows_while_it_is_read(session: Session) -> None:
    code = """
import threading, time
open('g', 'wb').write(b'g' * 1000)
def grow():
    with open('g', 'ab', 0) as file:
        while file.tell() < 16 << 20: file.write(b'h' * 10_000); time.sleep(0.001)
threading.Thread(target=grow, daemon=True).start()
"""
    await run(session, code)
    for _ in range(5):
        sizes = {file.name: file.size for file in await session.list()}
        assert sizes["g"] <= len(await get(session, "g")) <= 16 * MIB + 10_000


async def test_50_a_flood_of_sparse_files(session: Session) -> None:
    """100 files that say they have 30 MiB, in a workspace of 48: a checkpoint keeps what the workspace could hold again."""
    outcome = await run(session, "for i in range(100): open(f's{i:02}', 'wb').truncate(30 << 20)")
    assert len(outcome.files) == 5
    assert any("95 more files" in note for note in outcome.ended.notes)
    saved, blob = await checkpoint(session)
    assert saved.files == 1 and len(saved.lost) == 99 and sum(map(len, blob.pieces.values())) < MIB
    assert "more than the workspace" in saved.lost[0].why


async def test_51_a_zip_bomb(session: Session) -> None:
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(4):
            archive.writestr(f"zeros{i}", bytes(20 * MIB))
    await _put(session, "bomb.zip", bomb.getvalue())
    assert [(file.name, file.size) for file in await session.list()] == [("bomb.zip", len(bomb.getvalue()))]
    outcome = await run(session, "import zipfile; zipfile.ZipFile('bomb.zip').extractall()")
    assert outcome.raised is not None and "No space left" in outcome.raised.message


@pytest.mark.parametrize("how", ["w", "w:gz", "w:xz"])
async def test_52_archives_stay_as_they_are(session: Session, how: str) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=how) as archive:  # type: ignore[call-overload]
        for name, kind in (
            ("../up", tarfile.REGTYPE),
            ("/abs", tarfile.REGTYPE),
            ("link", tarfile.SYMTYPE),
            ("dev", tarfile.CHRTYPE),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
    await _put(session, "a.tar", made.getvalue())
    assert await get(session, "a.tar") == made.getvalue()
    assert [file.name for file in await session.list()] == ["a.tar"]


async def test_54_a_picture_of_50000_by_50000(session: Session) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 6, 0, 0, 0))
    picture = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(MIB))) + chunk(b"IEND", b"")
    await _put(session, "huge.png", picture)
    assert await get(session, "huge.png") == picture
    outcome = await run(session, "from PIL import Image; Image.open('huge.png').load()")
    assert outcome.raised is not None and "DecompressionBomb" in outcome.raised.name


@pytest.mark.parametrize("name", ["-rf", "$(id)", "a'b\"c;d", "`id`", "a b", "*"])
async def test_55_names_that_a_shell_would_read(session: Session, name: str) -> None:
    await _put(session, name, b"kept")
    assert await value(session, "import os; os.listdir('.')") == [name]
    assert await get(session, name) == b"kept"


async def test_58_the_workspace_taken_away(session: Session) -> None:
    tried = """{
'removed': lambda: os.rmdir('/workspace'), 'renamed': lambda: os.rename('/workspace', '/tmp/w'),
'immutable': lambda: __import__('fcntl').ioctl(os.open('.', os.O_RDONLY), 0x40086602, (0x10).to_bytes(8, 'little')),
'closed': lambda: os.chmod('/workspace', 0),
}"""
    found = await errors(session, tried)
    assert found.pop("closed") == "allowed"
    assert "allowed" not in found.values(), found
    assert (await session.put("a", 1, chunks(b"a"))).name == "a"
    assert await get(session, "a") == b"a"


async def test_helper_stopped_or_killed(session: Session) -> None:
    code = """
import os, signal
for p in os.listdir('/proc'):
    if p.isdigit() and int(p) not in (1, os.getpid()): os.kill(int(p), signal.{})
"""
    await run(session, code.format("SIGKILL"))
    with contextlib.suppress(FileRefused):  # the helper may be going just now
        await session.list()
    await session.put("a", 1, chunks(b"a"))
    await run(session, code.format("SIGSTOP"))
    assert (await run(session, "1")).value == "1"
    await session.put("b", 1, chunks(b"b"))
