"""The page's promises to the core, without a browser."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
import pytest_asyncio
from starlette.exceptions import HTTPException
from starlette.requests import Request

from adapters.web import Settings, connect, names
from adapters.web.room import Web
from adapters.web.server import Handlers
from bot.errors import ConfigError, Refused
from bot.files import open_folder
from bot.types import Attachment, Blob, Card, CardFile, Question, Receipt, turn_id
from tests.adapters.web.inbox import TakesAll


async def once(content: bytes) -> AsyncIterator[bytes]:
    yield content


def question(thread: str, text: str) -> Question:
    key = names.key(thread, text)
    return Question(turn_id(key), (key,), names.reference(thread), names.ASKER, names.PLACE, text)


@pytest_asyncio.fixture
async def room(tmp_path: Path) -> AsyncGenerator[Web, None]:
    async with connect(Settings(home=tmp_path, port=free_port()), open_folder(tmp_path / "files")) as chat:
        assert isinstance(chat, Web)
        yield chat


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_the_newest_card_is_seen_and_the_last_is_durable(room: Web, tmp_path: Path) -> None:
    asked = question("thread-1", "Which?")
    await room.store.ask(asked, "Which?")
    receipt = await room.show(asked.thread, Card(asked.id, 1, "working", text="So"), None)
    receipt = await room.show(asked.thread, Card(asked.id, 2, "working", text="So far"), receipt)
    assert receipt != Receipt()
    assert "So far" in (await seen(room, "thread-1"))["card"]["html"]
    assert [thread["busy"] for thread in await room.threads()] == [True]
    blob = await room.files.put(once(b"x"))
    last = Card(asked.id, 3, "done", text="All", files=(CardFile("a.txt", "text/plain", blob),))
    assert (await room.show(asked.thread, last, receipt)).files == {"a.txt": "delivered"}
    assert [thread["busy"] for thread in await room.threads()] == [False]
    async with connect(Settings(home=tmp_path), room.files) as again:
        assert isinstance(again, Web)
        message = await seen(again, "thread-1")
        assert message["question"]["text"] == "Which?"
        assert "All" in message["card"]["html"]
        assert message["card"]["files"][0]["url"] == (await seen(room, "thread-1"))["card"]["files"][0]["url"]


async def seen(room: Web, thread: str) -> dict[str, Any]:
    found = await room.thread(thread)
    assert found is not None
    (message,) = found["messages"]
    return dict(message)


async def test_a_question_that_a_crash_kept_from_the_inbox_is_brought_at_the_next_start(room: Web) -> None:
    first, second = question("thread-1", "first"), question("thread-2", "second")
    for asked in (first, second):
        await room.store.ask(asked, asked.text)
    await room.show(first.thread, Card(first.id, 1, "working"), None)
    inbox = TakesAll()
    listening = asyncio.create_task(room.listen(inbox))
    assert await asyncio.wait_for(inbox.taken.get(), 10) == second
    assert inbox.taken.empty()
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening


async def test_a_port_that_is_taken_is_named(room: Web, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        async with connect(Settings(home=tmp_path, port=port), room.files) as chat:
            with pytest.raises(ConfigError, match=f"port {port}: .*CELLMATE_WEB_PORT"):
                await chat.listen(TakesAll())


async def test_a_home_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "web").write_text("in the way")
    with pytest.raises(ConfigError, match=r"web cannot be used: File exists\."):
        async with connect(Settings(home=tmp_path), open_folder(tmp_path / "files")):
            raise AssertionError("never opened")


async def test_an_upload_whose_bytes_are_gone_is_refused_in_words(room: Web) -> None:
    gone = Attachment("a.csv", 3, "text/csv", {"digest": "0" * 64})
    with pytest.raises(Refused, match=r"a\.csv is no longer there\. Attach it again\."):
        await anext(room.fetch(gone))
    blob = await room.files.put(once(b"abc"))
    there = replace(gone, locator={"digest": blob.digest})
    assert [chunk async for chunk in room.fetch(there)] == [b"abc"]


async def test_a_question_sent_twice_stands_there_once(room: Web) -> None:
    asked = question("thread-1", "Which?")
    await room.store.ask(asked, "Which?")
    await room.store.ask(asked, "another title")
    assert (await seen(room, "thread-1"))["question"]["text"]  # one message, or seen() fails
    assert [thread["title"] for thread in await room.threads()] == ["Which?"]


async def test_a_write_that_fails_leaves_the_store_usable(room: Web) -> None:
    await room.store.keep_upload("u", Attachment("a", 1, "text/plain", {"digest": "0"}))
    with pytest.raises(aiosqlite.IntegrityError):
        await room.store.keep_upload("u", Attachment("b", 1, "text/plain", {"digest": "0"}))
    await room.store.keep_upload("v", Attachment("c", 1, "text/plain", {"digest": "0"}))
    found = [await room.store.upload(upload) for upload in ("u", "v")]
    assert [it.name for it in found if it] == ["a", "c"]


async def test_an_upload_over_the_limit_is_refused_and_nothing_of_it_kept(tmp_path: Path) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"x" * (1 << 19), "more_body": True}

    scope = {"type": "http", "method": "POST", "query_string": b"name=endless.bin", "headers": []}
    async with connect(Settings(home=tmp_path, file=1), open_folder(tmp_path / "files")) as chat:
        assert isinstance(chat, Web)
        with pytest.raises(HTTPException, match=r"endless\.bin is too large: a file may have 1 MiB here"):
            await Handlers(chat, TakesAll()).upload(Request(scope, receive))
    assert list((tmp_path / "files").iterdir()) == []


def test_an_address_is_bound_to_all_it_says(room: Web) -> None:
    blob, other = Blob("0" * 64, 1), Blob("1" * 64, 1)
    seals = {
        room.seal(*parts)
        for parts in [("a", "text/html", blob), ("a", "image/png", blob), ("b", "text/html", blob), ("a", "text/html", other)]
    }
    assert len(seals) == 4
