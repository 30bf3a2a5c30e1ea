"""The fake refuses what Discord refuses: each limit tripped on purpose, by requests that the adapter never makes."""

import io
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.fakes.discord import FakeDiscord, contract
from tests.fakes.discord.world import Message
from tests.fakes.platform import Thread

MIB = 1024 * 1024


class Api:
    """A client with no manners."""

    def __init__(self, fake: FakeDiscord, session: aiohttp.ClientSession) -> None:
        self.fake, self._session = fake, session
        self.general = fake.world.named("general")

    async def call(self, method: str, path: str, body: Any = None, files: list[bytes] | None = None) -> tuple[int, Any]:
        data: Any = json.dumps(body) if body is not None else None
        headers = {"Authorization": f"Bot {self.fake.token}"}
        if files is not None:
            data = aiohttp.FormData(quote_fields=False)
            data.add_field("payload_json", json.dumps(body))
            for number, content in enumerate(files):
                data.add_field(f"files[{number}]", io.BytesIO(content), filename=f"{number}.csv")
        elif body is not None:
            headers["Content-Type"] = "application/json"
        async with self._session.request(method, self.fake.env["DISCORD_API_URL"] + path, data=data, headers=headers) as got:
            text = await got.text()
            return got.status, json.loads(text) if text.startswith(("{", "[")) else text

    async def send(self, files: list[bytes] | None = None, channel: str | None = None, **body: Any) -> tuple[int, int]:
        """The status and Discord's error code of a new message."""
        status, answer = await self.call("POST", f"/channels/{channel or self.general.id}/messages", body, files)
        return status, answer.get("code", 0)

    async def sent(self, **body: Any) -> str:
        _, answer = await self.call("POST", f"/channels/{self.general.id}/messages", body)
        return str(answer["id"])

    async def edit(self, message: str, **body: Any) -> tuple[int, int]:
        status, answer = await self.call("PATCH", f"/channels/{self.general.id}/messages/{message}", body)
        return status, answer.get("code", 0)

    async def thread(self, message: str, name: str = "x", channel: str | None = None) -> tuple[int, int]:
        path = f"/channels/{channel or self.general.id}/messages/{message}/threads"
        status, answer = await self.call("POST", path, {"name": name})
        return status, answer.get("code", 0)


@pytest.fixture
async def api(fake: FakeDiscord) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession() as session:
        yield Api(fake, session)


def button(custom_id: str = "a", label: str = "A") -> dict[str, Any]:
    return {"type": 2, "style": 1, "label": label, "custom_id": custom_id}


def row(*buttons: dict[str, Any]) -> dict[str, Any]:
    return {"type": 1, "components": list(buttons)}


async def test_the_length_of_a_message(api: Api) -> None:
    assert await api.send(content="x" * 2000) == (200, 0)
    assert await api.send(content="x" * 2001) == (400, 50035)
    assert await api.edit(await api.sent(content="x"), content="x" * 2001) == (400, 50035)


async def test_an_empty_message(api: Api) -> None:
    assert await api.send(content=" \n ") == (400, 50006)


async def test_the_number_and_size_of_files(api: Api) -> None:
    assert await api.send(files=[b"x"] * 10) == (200, 0)
    assert await api.send(files=[b"x"] * 11) == (400, 50035)
    api.fake.rest.upload_limit = 2 * MIB
    assert await api.send(files=[b"x" * (2 * MIB)]) == (200, 0)
    assert await api.send(files=[b"x" * (2 * MIB + 1)]) == (413, 40005)


async def test_the_size_of_a_body(api: Api) -> None:
    assert await api.send(files=[b"x" * (13 * MIB)] * 2) == (413, 40005)


async def test_the_length_of_alt_text(api: Api) -> None:
    api.fake.allow("attachments[0].description")
    assert await api.send(files=[b"x"], attachments=[{"id": 0, "description": "x" * 1025}]) == (400, 50035)


async def test_a_nonce_is_enforced_and_short(api: Api) -> None:
    api.fake.allow("nonce")
    first = await api.sent(content="x", nonce="n", enforce_nonce=True)
    assert await api.sent(content="other", nonce="n", enforce_nonce=True) == first
    assert await api.sent(content="other", nonce="n") != first
    assert await api.send(content="x", nonce="n" * 26) == (400, 50035)


async def test_components(api: Api) -> None:
    api.fake.allow("components")
    for components in ([row(button("x" * 101))], [row(button(label="x" * 81))], [row(button(), button())]):
        assert await api.send(content="x", components=components) == (400, 50035)
    assert await api.send(content="x", components=[row(*(button(str(n)) for n in range(6)))]) == (400, 50035)
    assert await api.send(content="x", components=[row(button(str(n))) for n in range(6)]) == (400, 50035)


async def test_threads(api: Api) -> None:
    api.fake.allow("is too ")
    api.fake.allow("non-empty")
    message, other = await api.sent(content="x"), await api.sent(content="y")
    assert await api.thread(other, "") == (400, 50035)
    assert await api.thread(other, "x" * 101) == (400, 50035)
    assert await api.thread(message, "x" * 100) == (201, 0)
    assert await api.thread(message) == (400, 160004)
    assert await api.thread("123456789012345678") == (404, 10008)
    lounge = api.fake.world.named("lounge")
    assert await api.thread(other, channel=lounge.id) == (400, 50024)


async def test_locked_and_archived_threads(api: Api) -> None:
    thread = await api.fake.thread(archived=True)
    channel = api.fake.world.channels[thread.thread]
    own = Message(channel, api.fake.world.bot, "x")
    channel.messages.append(own)
    status, answer = await api.call("PATCH", f"/channels/{channel.id}/messages/{own.id}", {"content": "y"})
    assert (status, answer["code"]) == (400, 50083)
    assert await api.send(content="x", channel=channel.id) == (200, 0) and not channel.archived
    await api.fake.lock(thread)
    assert await api.send(content="x", channel=channel.id) == (403, 160005)


async def test_permissions(api: Api) -> None:
    message = await api.sent(content="x")
    await api.fake.deny("general", "send_messages", "create_public_threads", "read_message_history")
    assert await api.send(content="x") == (403, 50013)
    assert await api.thread(message) == (403, 50013)
    assert (await api.call("GET", f"/channels/{api.general.id}/messages"))[1] == []
    await api.fake.deny("general", "view_channel")
    assert await api.send(content="x") == (403, 50001)
    assert await api.send(content="x", channel="123456789012345678") == (404, 10003)


async def test_other_peoples_messages_stay_as_they_are(api: Api) -> None:
    await api.fake.ask("mine")
    assert await api.edit(api.general.messages[-1].id, content="yours") == (403, 50005)


async def test_interactions(api: Api) -> None:
    api.fake.allow("not acknowledged within 3 s")
    await api.sent(content="x", components=[row(button("cm:stop:a", "Stop"))])
    await api.fake._press(api.general.messages[-1], button("cm:stop:a") | {"id": 1}, api.fake.world.user("ada"))
    assert any("not acknowledged" in violation for violation in api.fake.violations)
    status, answer = await api.call("POST", "/interactions/1/token/callback", {"type": 6})
    assert (status, answer["code"]) == (404, 10062)
    status, answer = await api.call("POST", f"/webhooks/{api.fake.world.application}/token", {"content": "x"})
    assert (status, answer["code"]) == (404, 10015)


async def test_the_rate_limit_is_told_and_kept(api: Api) -> None:
    api.fake.rest.rate = (2, 60.0)
    answers = [await api.call("POST", f"/channels/{api.general.id}/messages", {"content": "x"}) for _ in range(3)]
    assert [status for status, _ in answers] == [200, 200, 429] and 0 < answers[2][1]["retry_after"] <= 60


async def test_a_wrong_token(api: Api) -> None:
    api.fake.token = "another"
    assert (await api.call("GET", "/users/@me"))[0] == 401


@pytest.mark.parametrize(
    ("body", "pinged"),
    [
        ({}, ["ada", "role", "everyone"]),
        ({"allowed_mentions": {"parse": []}}, []),
        ({"allowed_mentions": {"parse": ["users"]}}, ["ada"]),
        ({"allowed_mentions": {"parse": ["everyone"]}}, ["everyone"]),
    ],
)
async def test_pings_are_counted_as_discord_does(api: Api, body: dict[str, Any], pinged: list[str]) -> None:
    ada = api.fake.world.user("ada")
    await api.sent(content=f"<@{ada.id}> <@&{api.fake.world.role}> @everyone `<@{ada.id}>`", **body)
    assert api.general.messages[-1].notified == pinged


async def test_a_reply_pings_unless_told_not_to(api: Api) -> None:
    await api.fake.ask("question")
    reference = {"message_id": api.general.messages[-1].id}
    await api.sent(content="loud", message_reference=reference)
    await api.sent(content="quiet", message_reference=reference, allowed_mentions={"parse": []})
    assert [message.notified for message in api.general.messages[1:]] == [["ada"], []]


async def test_what_is_unknown_fails_the_test_at_its_end() -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(AssertionError, match="unknown route GET /guilds/1/bans"):
            async with FakeDiscord() as fake:
                assert (await Api(fake, session).call("GET", "/guilds/1/bans"))[0] == 404


async def test_a_link_that_unfurls_fails_the_test_at_its_end() -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(AssertionError, match="embeds are not suppressed"):
            async with FakeDiscord() as fake:
                await Api(fake, session).sent(content="https://example.org")


@pytest.mark.skipif(
    not contract.document().exists(), reason=f"Discord's OpenAPI document is not at {contract.document()} (DISCORD_OPENAPI)"
)
@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"contents": "x"}, "unknown argument 'contents'"),
        ({"content": 5}, "content"),
        ({"content": "x", "flags": "4"}, "flags"),
    ],
)
async def test_requests_are_judged_by_discords_own_document(body: dict[str, Any], problem: str) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(AssertionError, match=problem):
            async with FakeDiscord() as fake:
                fake.allow("the fake's own")
                await Api(fake, session).call("POST", f"/channels/{fake.world.named('general').id}/messages", body)


async def test_the_page_shows_everything_and_runs_nothing(api: Api) -> None:
    thread = await api.fake.ask("<script>alert(1)</script>", files=[("sales.csv", b"1,2")])
    await api.thread(thread.thread, "sales")
    status, _ = await api.call("POST", f"/channels/{thread.thread}/messages", {"content": "# Sales\n-# 1 cell"}, [b"\x89PNG"])
    assert status == 200
    page = api.fake.page(thread)
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "sales.csv" in page and "3 bytes" in page and '<span class="sub">1 cell</span>' in page
    assert api.fake.page(Thread("general", thread.thread)) == page
