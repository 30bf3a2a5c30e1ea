"""Packages for a sandbox's pip: what the host asks of an index, what it takes from it, and what it keeps."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from sandbox.packages import Packages, Unavailable, pip_indexes, pip_settings
from tests.fakes.web import FakeIndex


@asynccontextmanager
async def packages(folder: Path, *indexes: FakeIndex, room: int = 1 << 30) -> AsyncIterator[Packages]:
    opened = Packages(tuple(index.url for index in indexes), folder, room)
    try:
        yield opened
    finally:
        await opened.close()


async def fetch(packages: Packages, path: str) -> bytes:
    async with packages.open(path) as answer:
        body = b"".join([chunk async for chunk in answer.chunks])
        assert len(body) == answer.size
        return body


async def offered(packages: Packages, project: str) -> dict[str, str]:
    """The addresses of a project's files by their names, as pip would read them."""
    page = json.loads(await fetch(packages, f"/simple/{project}/"))
    return {file["filename"]: file["url"] for file in page["files"]}


@pytest.mark.parametrize("html", [False, True])
async def test_a_file_is_fetched_once_and_kept_for_the_next(tmp_path: Path, html: bool) -> None:
    async with FakeIndex(html=html, login="reader:secret") as index:
        name = index.add("blue-whale", "1.2", {"blue_whale.py": "SIZE = 30"})
        async with packages(tmp_path / "kept", index) as first:
            files = await offered(first, "Blue_Whale")
            assert list(files) == [name] and "127.0.0.1" not in files[name] and "secret" not in files[name]
            assert await fetch(first, files[name]) == index.content("blue-whale", name)
        async with packages(tmp_path / "kept", index) as second:
            asked = len(index.asked)
            async with second.open(files[name]) as answer:
                assert (answer.file, answer.cached) == (True, True)
            assert len(index.asked) == asked, "it was there, without a page being looked at"


async def test_what_the_index_does_not_vouch_for_is_not_handed_on(tmp_path: Path) -> None:
    async with FakeIndex() as index:
        forged = index.add("whale", "1.0", {"whale.py": ""})
        index.forged.add(forged)
        index.unhashed.add(index.add("whale", "2.0", {"whale.py": ""}))
        async with packages(tmp_path, index) as opened:
            files = await offered(opened, "whale")
            assert list(files) == [forged]
            with pytest.raises(Unavailable, match="hashes differ"):
                await fetch(opened, files[forged])
    assert [path async for path in anyio.Path(tmp_path).iterdir()] == []


async def test_two_indexes_are_one_and_the_first_one_counts(tmp_path: Path) -> None:
    async with FakeIndex() as ours, FakeIndex(html=True) as theirs:
        both = ours.add("whale", "1.0", {"whale.py": "ours = True"})
        theirs.add("whale", "1.0", {"whale.py": "ours = False"})
        theirs.add("whale", "2.0", {"whale.py": ""})
        async with packages(tmp_path, ours, theirs) as opened:
            files = await offered(opened, "whale")
            assert sorted(files) == ["whale-1.0-py3-none-any.whl", "whale-2.0-py3-none-any.whl"]
            assert await fetch(opened, files[both]) == ours.content("whale", both)


async def test_nothing_but_packages_is_asked_for(tmp_path: Path) -> None:
    async with FakeIndex() as index:
        async with packages(tmp_path, index) as opened:
            for path in (
                "/",
                "/simple/",
                "/simple/../files/",
                "/simple/a/b/",
                "/etc/passwd",
                "/files/abc/x",
                f"/files/{'0' * 64}/x",
            ):
                with pytest.raises(Unavailable) as refused:
                    await fetch(opened, path)
                assert refused.value.unknown
        assert index.asked == []


async def test_an_index_that_is_away_or_talks_nonsense_is_said(tmp_path: Path) -> None:
    async with FakeIndex(login="a:b") as index:
        index._login = "c:d"
        closed = Packages((index.url.replace("c:d", "a:b"),), tmp_path)
        with pytest.raises(Unavailable, match="status 401"):
            await fetch(closed, "/simple/whale/")
        await closed.close()
    away = Packages((index.url,), tmp_path)
    with pytest.raises(Unavailable, match="does not answer") as refused:
        await fetch(away, "/simple/whale/")
    assert not refused.value.unknown
    await away.close()


async def test_the_oldest_make_room(tmp_path: Path) -> None:
    async with FakeIndex() as index:
        for number in range(4):
            index.add("whale", f"{number}.0", {"whale.py": f"# {number}" * 1000})
        async with packages(tmp_path, index, room=9000) as opened:
            for url in (await offered(opened, "whale")).values():
                await fetch(opened, url)
        left = sorted([(await path.stat()).st_size async for path in anyio.Path(tmp_path).iterdir()])
        assert len(left) == 3 and sum(left[:2]) <= 9000 < sum(left)


def test_pips_own_settings_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://one.example/simple\nextra-index-url = file:///there https://two.example/simple\n"
        "cert = /from/global\n[install]\ncert = /from/install\n"
    )
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    assert pip_indexes() == ("https://one.example/simple", "https://two.example/simple")
    assert pip_settings()["cert"] == "/from/install"
    monkeypatch.setenv("PIP_INDEX_URL", "https://three.example/simple")
    assert pip_indexes()[0] == "https://three.example/simple"


def test_without_a_setting_it_is_pips_own_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "pip.conf").write_text("[global]\nindex-url =\nextra-index-url =\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "none.conf"))
    assert all(url.startswith("https://") for url in pip_indexes())
