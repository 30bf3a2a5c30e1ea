"""What goes wrong becomes one clear sentence in the thread, and the thread goes on."""

import asyncio
import io
import os
import subprocess
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.bot_process import BotProcess, running_bot
from tests.fakes.model import Fault, ScriptedModel
from tests.fakes.platform import Message, Platform, Thread
from tests.flows.conftest import PLATFORMS, said

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

SMALL = {
    "CELLMATE_MODEL": "none",
    "CELLMATE_SECONDS": "3",
    "CELLMATE_MEMORY": "512",
    "CELLMATE_WORKSPACE": "32",
    "CELLMATE_FILE": "24",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def platform(platform_name: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """A bot without a model and with small limits."""
    async with PLATFORMS[platform_name]() as fake, running_bot(tmp_path_factory.mktemp("home"), {**fake.env, **SMALL}):
        await fake.connected()
        yield fake


def fence(code: str) -> str:
    return f"```python\n{code}\n```"


async def heard(platform: Platform, thread: Thread, *words: str) -> list[Message]:
    """The thread once one message of Cellmate's holds all these words and nothing is in progress."""
    return await platform.until(
        thread,
        lambda messages: (
            any(all(word in m.text for word in words) for m in said(messages))
            and not any("Stop" in m.buttons for m in said(messages))
        ),
    )


async def goes_on(platform: Platform, thread: Thread) -> None:
    """The thread is usable."""
    await platform.ask(fence("print('still', 'usable')"), thread=thread)
    await heard(platform, thread, "still usable")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("while True: pass", ["3 s"]),
        ("while True: print('x' * 100)", ["3 s", "dropped"]),
        ("x = bytearray(600 * 1024 * 1024)", ["memory"]),
        ("import os; os._exit(3)", ["variables"]),
        ("for n in range(3): open(f'big-{n}', 'wb').write(b'x' * (16 << 20))", ["No space left", "workspace is full (32 MiB)"]),
        ("input('name?')", ["input"]),
    ],
    ids=["endless loop", "endless print", "memory hog", "os._exit", "workspace full", "input"],
)
async def test_code_that_misbehaves(platform: Platform, code: str, words: list[str]) -> None:
    thread = await platform.ask(fence(code))
    await heard(platform, thread, *words)
    await goes_on(platform, thread)


def locked_zip() -> bytes:
    """A zip whose one member says that it is encrypted (PKWARE APPNOTE 4.4.4, bit 0)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("secret.csv", "a,b\n")
    content = bytearray(buffer.getvalue())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.csv", b"", ["empty.csv", "empty (0 bytes)"]),
        ("locked.zip", locked_zip(), ["locked.zip", "protected with a password"]),
        ("book.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(5_000), ["book.xlsx", "protected with a password"]),
        ("umlaut.csv", "Stadt,Zahl\nKöln,1\n".encode("cp1252"), ["umlaut.csv", "not UTF-8"]),
        ("huge.bin", bytes(1 << 30), ["huge.bin", "1,024 MiB", "24 MiB"]),
    ],
    ids=["0 bytes", "protected zip", "protected workbook", "not UTF-8", "1 GB"],
)
async def test_files_that_are_not_as_they_should_be(platform: Platform, name: str, content: bytes, words: list[str]) -> None:
    thread = await platform.ask(fence("print('looked')"), files=[(name, content)])
    await heard(platform, thread, "looked", *words)
    await goes_on(platform, thread)


async def test_files_that_fill_the_workspace(platform: Platform) -> None:
    files = [(f"big-{n}.bin", os.urandom(15 << 20)) for n in range(3)]
    thread = await platform.ask(fence("print('looked')"), files=files)
    await heard(platform, thread, "looked", "big-2.bin", "fit")
    await goes_on(platform, thread)


async def test_forty_attachments(platform: Platform, platform_name: str) -> None:
    if platform_name == "discord":
        pytest.skip("Discord takes ten attachments a message")
    files = [(f"{n:02d}.txt", b"x") for n in range(40)]
    thread = await platform.ask(fence("import os; print(len(os.listdir()))"), files=files)
    await heard(platform, thread, "20", "first 20 of 40 files")
    await goes_on(platform, thread)


async def test_a_question_without_a_model_is_told_how_to_give_one(platform: Platform) -> None:
    thread = await platform.ask("how many rows are there?")
    await heard(platform, thread, "No language model is set up", "OPENAI_API_KEY")
    await goes_on(platform, thread)


async def test_model_down(platform_name: str, tmp_path: Path) -> None:
    async with PLATFORMS[platform_name]() as fake, ScriptedModel() as model:
        model.on("are you there", *[Fault.status(503)] * 50)
        settings = {**fake.env, **model.env, "CELLMATE_MODEL_PATIENCE": "2"}
        async with running_bot(tmp_path, settings):
            await fake.connected()
            thread = await fake.ask("are you there?")
            await heard(fake, thread, "language model")
            model.on("and now", "Yes, I am.")
            await fake.ask("and now?", thread=thread)
            await heard(fake, thread, "Yes, I am.")


async def test_engine_down(platform_name: str, tmp_path: Path) -> None:
    nowhere = f"unix://{tmp_path}/no-engine.sock"
    async with PLATFORMS[platform_name]() as fake, running_bot(tmp_path, {**fake.env, **SMALL, "DOCKER_HOST": nowhere}):
        await fake.connected()
        thread = await fake.ask(fence("print('hello')"))
        await heard(fake, thread, "engine")
        again = await fake.ask(fence("print('hello again')"), thread=thread)
        await heard(fake, again, "engine")


async def test_a_refused_token_ends_the_bot_with_one_line(platform_name: str, tmp_path: Path) -> None:
    async with PLATFORMS[platform_name]() as fake:
        wrong = {name: "xoxb-wrong" if name.endswith("TOKEN") else value for name, value in fake.env.items()}
        bot = BotProcess(tmp_path, wrong)
        await bot.start()
        assert await bot.ended() == 2, bot.output
        (line,) = (line for line in bot.output.splitlines() if line.startswith("cellmate: "))
        assert "TOKEN" in line


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


async def test_disk_full(platform_name: str, tiny_disk: Path) -> None:
    async with PLATFORMS[platform_name]() as fake, running_bot(tiny_disk, {**fake.env, **SMALL}):
        await fake.connected()
        thread = await fake.ask(fence("print('room enough')"))
        await heard(fake, thread, "room enough")
        filler = tiny_disk / "filler"
        await asyncio.to_thread(_fill, filler)
        thread = await fake.ask(fence("print('no room')"))
        await heard(fake, thread, "disk")
        await asyncio.to_thread(filler.unlink)
        await goes_on(fake, thread)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return
