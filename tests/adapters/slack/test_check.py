"""What a check-up says of a Slack workspace: never more than Slack itself said."""

import asyncio

import pytest

from adapters.slack import check
from adapters.slack.manifest import SCOPES
from adapters.slack.settings import Settings
from bot.types import Finding
from tests.adapters.slack.conftest import settings
from tests.fakes.slack import FakeSlack


async def test_tokens_that_may_do_everything_are_well_and_no_socket_is_opened(fake: FakeSlack) -> None:
    assert await check(settings(fake)) == [
        Finding("slack", "ok", "cellmate in Cellmate, all its scopes"),
        Finding("slack", "ok", "Socket Mode is open to the app token"),
    ]
    with pytest.raises(AssertionError):
        await fake.connected(0.1)


async def test_without_tokens_it_is_not_set_up() -> None:
    nothing = Settings.model_validate({"slack_bot_token": "", "slack_app_token": ""})
    assert await check(nothing) == [Finding("slack", "ok", "not set up")]


@pytest.mark.parametrize("name", ["slack_bot_token", "slack_app_token"])
async def test_one_token_of_two_is_not_enough(fake: FakeSlack, name: str) -> None:
    (found,) = await check(settings(fake, **{name: ""}))
    assert (found.state, found.said) == ("fail", f"{name.upper()} is not set")
    assert found.remedy.startswith(f"export {name.upper()}=")


async def test_a_refused_token_is_named_and_the_other_is_still_tried(fake: FakeSlack) -> None:
    bot, app = await check(settings(fake, slack_bot_token="xoxb-wrong"))
    assert (bot.state, bot.said, app.state) == ("fail", "Slack refused SLACK_BOT_TOKEN (invalid_auth)", "ok")
    assert "OAuth & Permissions" in bot.remedy
    bot, app = await check(settings(fake, slack_app_token="xapp-wrong"))
    assert (bot.state, app.state, app.said) == ("ok", "fail", "Slack refused SLACK_APP_TOKEN (invalid_auth)")
    assert "connections:write" in app.remedy


async def test_scopes_that_the_app_was_not_given_are_named(fake: FakeSlack) -> None:
    fake.scopes = ([scope for scope in SCOPES if scope not in ("files:write", "commands")], [])
    bot, _ = await check(settings(fake))
    assert (bot.state, bot.said) == ("fail", "The Slack app lacks the scopes commands, files:write")
    assert "./run slack manifest" in bot.remedy and "reinstall" in bot.remedy


async def test_a_server_that_names_no_scopes_is_not_blamed(fake: FakeSlack) -> None:
    fake.scopes = ([], [])
    bot, _ = await check(settings(fake))
    assert bot.state == "ok" and "scopes unknown" in bot.said


async def test_a_busy_slack_says_nothing_about_the_token(fake: FakeSlack) -> None:
    fake.fail("auth.test", status=429, retry_after=1)
    bot, app = await check(settings(fake))
    assert (bot.state, app.state) == ("warn", "ok")


async def test_an_unreachable_slack_names_where_it_was_looked_for(fake: FakeSlack) -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    found = await check(settings(fake, slack_api_url=f"http://127.0.0.1:{port}/api/"))
    assert [finding.state for finding in found] == ["fail", "fail"]
    assert all(f"127.0.0.1:{port}" in finding.said and "xoxb" not in finding.said for finding in found)
