"""What a check-up says of Discord."""

from adapters import discord as room
from bot.types import Finding
from tests.adapters.discord.test_connection import settings
from tests.fakes.discord import FakeDiscord


async def test_a_good_token_is_well_and_nothing_is_changed(fake: FakeDiscord) -> None:
    assert await room.check(settings(fake)) == [Finding("discord", "ok", "logged in as cellmate")]
    assert {call.route.split()[0] for call in fake.rest.calls} == {"GET"}
    assert fake.gateway.identifies == 0


async def test_without_a_token_it_is_not_set_up(fake: FakeDiscord) -> None:
    assert await room.check(settings(fake, token="")) == [Finding("discord", "ok", "not set up")]


async def test_a_refused_token_says_where_to_get_another(fake: FakeDiscord) -> None:
    (found,) = await room.check(settings(fake, token="wrong"))
    assert (found.state, found.said) == ("fail", "Discord refused DISCORD_TOKEN")
    assert "Reset Token" in found.remedy


async def test_the_missing_intent_is_a_warning(fake: FakeDiscord) -> None:
    fake.gateway.message_content = False
    well, intent = await room.check(settings(fake))
    assert (well.state, intent.state) == ("ok", "warn")
    assert "message content intent" in intent.said and "Message Content Intent" in intent.remedy


async def test_an_unreachable_discord_names_where_it_was_looked_for(fake: FakeDiscord) -> None:
    (found,) = await room.check(settings(fake, api_url="http://127.0.0.1:9/api/v10"))
    assert found.state == "fail" and "127.0.0.1:9" in found.said and fake.token not in found.said
