"""Attachments from Slack, and what stands in their way."""

import pytest

from adapters.slack import Slack, connect
from adapters.slack.manifest import manifest
from bot.errors import ConfigError, Refused
from bot.types import Attachment
from tests.adapters.slack.conftest import Connect, Store, settings
from tests.fakes.slack import FakeSlack

CONTENT = bytes(range(256)) * 4000


async def content(chat: Slack, attachment: Attachment) -> bytes:
    return b"".join([chunk async for chunk in chat.fetch(attachment)])


@pytest.mark.parametrize("shared_channel", [True, False])
async def test_five_attachments_come_byte_for_byte(desk: Connect, fake: FakeSlack, shared_channel: bool) -> None:
    fake.check_file_info = shared_channel
    async with desk() as at:
        await fake.ask("sum them", files=[(f"part {n}.csv", CONTENT[n:]) for n in range(5)])
        question = await at.asked()
        assert [await content(at.chat, file) for file in question.attachments] == [CONTENT[n:] for n in range(5)]


async def test_a_page_in_place_of_a_file_names_the_missing_permission(desk: Connect, fake: FakeSlack) -> None:
    fake.signed_out = True
    async with desk() as at:
        await fake.ask("sum it", files=[("sales.csv", b"a\n1\n"), ("page.html", b"<html>")])
        table, page = (await at.asked()).attachments
        with pytest.raises(Refused, match=r"sales.csv: the app lacks the files:read permission.*reinstalls"):
            await content(at.chat, table)
        assert b"Sign in" in await content(at.chat, page)  # one page cannot be told from another


async def test_the_token_leaves_slack_neither_by_address_nor_by_redirect(desk: Connect, fake: FakeSlack) -> None:
    async with FakeSlack() as elsewhere:
        fake.redirect_files = f"{elsewhere.base}/files-pri/T-F1/download/x"
        async with desk() as at:
            await fake.ask("sum it", files=[("sales.csv", b"a\n1\n")])
            (attached,) = (await at.asked()).attachments
            with pytest.raises(Refused, match=r"sales.csv does not lie on Slack's own servers"):
                await content(at.chat, attached)
            for url in (fake.redirect_files, "http://files.slack.com/x", "https://slack.com.example.org/x"):
                with pytest.raises(Refused, match="own servers"):
                    await content(at.chat, Attachment("x", 1, locator={"url": url}))
        assert not elsewhere.violations


async def test_a_circle_of_redirects_ends(desk: Connect, fake: FakeSlack) -> None:
    async with desk() as at:
        await fake.ask("sum it", files=[("sales.csv", b"a\n1\n")])
        (attached,) = (await at.asked()).attachments
        fake.redirect_files = str(attached.locator["url"])
        with pytest.raises(Refused, match="in circles"):
            await content(at.chat, attached)


async def test_a_file_that_is_gone_says_so(desk: Connect, fake: FakeSlack) -> None:
    fake.check_file_info = True
    async with desk() as at:
        await fake.ask("sum it", files=[("sales.csv", b"a\n1\n")])
        (attached,) = (await at.asked()).attachments
        fake.world.uploads.clear()
        with pytest.raises(Refused, match="file_not_found"):
            await content(at.chat, attached)
        with pytest.raises(Refused, match="no longer on Slack"):
            await content(at.chat, Attachment("x", 1, locator={"url": f"{fake.base}/files-pri/F1/download/x"}))


# --- Getting in -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "method"), [("slack_bot_token", "auth.test"), ("slack_app_token", "apps.connections.open")]
)
async def test_a_refused_token_is_one_line_naming_its_setting(fake: FakeSlack, setting: str, method: str) -> None:
    with pytest.raises(ConfigError, match=f"^Slack refused {setting.upper()} \\(invalid_auth\\): .*$"):
        async with connect(settings(fake, **{setting: "xoxb-wrong"}), Store()):
            raise AssertionError("it connected")
    assert fake.calls[-1].method == method


async def test_an_address_where_nobody_is_names_the_setting(fake: FakeSlack) -> None:
    with pytest.raises(ConfigError, match="SLACK_API_URL"):
        async with connect(settings(fake, slack_api_url="http://127.0.0.1:9/api/"), Store()):
            raise AssertionError("it connected")


async def test_settings_say_whether_they_are_enough(fake: FakeSlack) -> None:
    assert settings(fake).configured and not settings(fake, slack_app_token="").configured
    with pytest.raises(ValueError, match="https://"):
        settings(fake, slack_api_url="slack.com")


def test_the_manifest_is_within_slacks_limits() -> None:
    made = manifest()
    assert len(made["display_information"]["name"]) <= 35 and len(made["display_information"]["description"]) <= 140
    assert len(made["features"]["agent_view"]["agent_description"]) <= 300
    assert (
        made["settings"]["socket_mode_enabled"]
        and "agent_session_stopped" in made["settings"]["event_subscriptions"]["bot_events"]
    )
    assert {"chat:write", "files:read", "files:write", "commands"} <= set(made["oauth_config"]["scopes"]["bot"])
