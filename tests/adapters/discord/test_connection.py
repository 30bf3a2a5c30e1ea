"""Settings, logging in, and a Gateway that breaks."""

import asyncio

import pytest

from adapters import discord as room
from bot.errors import ConfigError
from tests.adapters.discord.conftest import Inbox, Store, bot_on, card
from tests.fakes.discord import FakeDiscord


def settings(fake: FakeDiscord, **changes: str) -> room.Settings:
    env = {name.removeprefix("DISCORD_").lower(): value for name, value in fake.env.items()}
    return room.Settings.model_validate(env | changes)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISCORD_TOKEN", "DISCORD_API_URL", "DISCORD_GATEWAY_URL"):
        monkeypatch.delenv(name, raising=False)
    assert not room.Settings().configured
    assert (room.Settings().api_url, room.Settings().gateway_url) == ("https://discord.com/api/v10", "")
    monkeypatch.setenv("DISCORD_TOKEN", "secret")
    monkeypatch.setenv("DISCORD_API_URL", "http://127.0.0.1:1/api/v10")
    assert room.Settings().configured and room.Settings().api_url == "http://127.0.0.1:1/api/v10"
    assert "secret" not in repr(room.Settings())


@pytest.mark.parametrize(("name", "value"), [("DISCORD_API_URL", "discord.com"), ("DISCORD_GATEWAY_URL", "http://x")])
def test_a_bad_address_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=name.removeprefix("DISCORD_").lower()):
        room.Settings()


def test_the_invitation_asks_for_what_is_needed_and_no_more() -> None:
    url = room.invite_url(123456789012345678)
    assert "client_id=123456789012345678" in url and "permissions=309237763136" in url
    assert "scope=bot+applications.commands" in url


async def test_a_refused_token_is_one_clear_line(fake: FakeDiscord) -> None:
    with pytest.raises(ConfigError, match=r"^Discord refused DISCORD_TOKEN\. Copy the bot's token anew .*\.$"):
        async with room.connect(settings(fake, token="wrong"), Store()):
            pass


async def test_an_unreachable_discord_is_one_clear_line(fake: FakeDiscord) -> None:
    with pytest.raises(ConfigError, match=r"^Discord does not answer .*Check the network, or DISCORD_API_URL\.$"):
        async with room.connect(settings(fake, api_url="http://127.0.0.1:9/api/v10"), Store()):
            pass


async def test_a_token_refused_by_the_gateway_ends_listening(fake: FakeDiscord) -> None:
    async with room.connect(settings(fake), Store()) as chat:
        fake.gateway.token = "another"
        with pytest.raises(ConfigError, match="refused DISCORD_TOKEN"):
            await asyncio.wait_for(chat.listen(Inbox()), 10)


async def test_a_broken_connection_is_resumed_and_nothing_is_missed(fake: FakeDiscord) -> None:
    async with bot_on(fake) as bot:
        await fake.ask("before")
        await bot.inbox.question()
        fake.gateway.deaf = True
        await fake.ask("meanwhile", user="bob")
        await fake.gateway.drop(code=4000)
        assert (await bot.inbox.question(2)).text == "meanwhile"
        assert (fake.gateway.resumes, fake.gateway.identifies) == (1, 1)


async def test_a_session_that_cannot_be_resumed_is_begun_anew(fake: FakeDiscord) -> None:
    async with bot_on(fake) as bot:
        await fake.gateway.invalidate()
        await fake.connected()
        thread = await fake.ask("after")
        question = await bot.inbox.question()
        await bot.show(question, card(question, "Here."))
        assert fake.messages(thread)[-1].text == "Here." and fake.gateway.identifies == 2


async def test_a_card_waits_for_the_connection(fake: FakeDiscord) -> None:
    async with bot_on(fake) as bot:
        thread = await fake.ask("question")
        question = await bot.inbox.question()
    async with room.connect(settings(fake), Store()) as chat:
        showing = asyncio.create_task(chat.show(question.thread, card(question, "Here."), None))
        listening = asyncio.create_task(chat.listen(Inbox()))
        await showing
        listening.cancel()
        await asyncio.wait({listening})
    assert fake.messages(thread)[-1].text == "Here."
