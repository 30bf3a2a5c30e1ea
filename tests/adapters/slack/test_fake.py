"""The fake holds Slack's rules: each broken once, on purpose."""

import asyncio
from typing import Any

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from tests.adapters.slack.conftest import Connect
from tests.fakes.platform import Platform, Thread
from tests.fakes.slack import FakeSlack

QUIET: dict[str, Any] = {"unfurl_links": False, "unfurl_media": False}


def web(fake: FakeSlack) -> AsyncWebClient:
    return AsyncWebClient(token=fake.env["SLACK_BOT_TOKEN"], base_url=fake.env["SLACK_API_URL"])


async def opening(fake: FakeSlack) -> dict[str, Any]:
    """A thread to post in, as arguments."""
    thread = await fake.ask("hello", mention=False)
    return {"channel": thread.channel, "thread_ts": thread.thread}


def button(**more: Any) -> dict[str, Any]:
    return {"type": "button", "action_id": "a", "text": {"type": "plain_text", "text": "Go"}, "value": "v"} | more


BAD_BLOCKS: list[tuple[str, list[dict[str, Any]]]] = [
    ("at most 50 blocks", [{"type": "markdown", "text": "x"}] * 51),
    ("a markdown block's text", [{"type": "markdown", "text": "x" * 12_001}]),
    ("a markdown block's text", [{"type": "markdown", "text": ""}]),
    ("markdown blocks of a message", [{"type": "markdown", "text": "x" * 6_001}] * 2),
    ("a section's text", [{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3_001}}]),
    ("a context block's elements", [{"type": "context", "elements": [{"type": "mrkdwn", "text": "x"}] * 11}]),
    ("a context element's text", [{"type": "context", "elements": [{"type": "mrkdwn", "text": "x" * 3_001}]}]),
    ("an actions block's elements", [{"type": "actions", "elements": [button(action_id=str(n)) for n in range(26)]}]),
    ("a button's text", [{"type": "actions", "elements": [button(text={"type": "plain_text", "text": "x" * 76})]}]),
    ("a button's value", [{"type": "actions", "elements": [button(value="x" * 2_001)]}]),
    ("an action_id", [{"type": "actions", "elements": [button(action_id="x" * 256)]}]),
    ("action_id is unique", [{"type": "actions", "elements": [button(), button()]}]),
    ("style is primary or danger", [{"type": "actions", "elements": [button(style="red")]}]),
    ("unknown block type", [{"type": "hologram"}]),
    ("has no colour", [{"type": "markdown", "text": "x", "colour": "red"}]),
]


@pytest.mark.parametrize(("rule", "blocks"), BAD_BLOCKS)
async def test_blocks(fake: FakeSlack, rule: str, blocks: list[dict[str, Any]]) -> None:
    at = await opening(fake)
    fake.allow(rule)
    with pytest.raises(SlackApiError, match=r"invalid_blocks|msg_blocks_too_long"):
        await web(fake).chat_postMessage(text="x", blocks=blocks, **at, **QUIET)
    assert len(fake.violations) == 1


BAD_CALLS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("unknown_method", "unknown method", "chat.shout", {}),
    ("invalid_arguments", "has no argument colour", "chat.postMessage", {"text": "x", "colour": "red", **QUIET}),
    ("no_text", "text or blocks", "chat.postMessage", {**QUIET}),
    ("msg_too_long", "at most 40,000", "chat.postMessage", {"text": "x" * 40_001, **QUIET}),
    ("invalid_arguments", "never unfurled", "chat.postMessage", {"text": "x"}),
    ("thread_not_found", "names no message", "chat.postMessage", {"text": "x", "thread_ts": "1.1", **QUIET}),
    ("channel_not_found", "no channel", "chat.postMessage", {"text": "x", "channel": "C9", **QUIET}),
    ("invalid_metadata_format", "metadata", "chat.postMessage", {"text": "x", "metadata": {"a": 1}, **QUIET}),
    ("missing_recipient_user_id", "names its reader", "chat.startStream", {}),
    ("missing_recipient_team_id", "names its reader", "chat.startStream", {"recipient_user_id": "U0ADA"}),
    (
        "invalid_arguments",
        "reader is a person",
        "chat.startStream",
        {"recipient_user_id": "U0CELLMATE", "recipient_team_id": "T0CELLMATE"},
    ),
    (
        "invalid_arguments",
        "is the reader's team",
        "chat.startStream",
        {"recipient_user_id": "U0ADA", "recipient_team_id": "T0OTHER"},
    ),
    ("missing_argument", "no empty files", "files.getUploadURLExternal", {"filename": "a", "length": 0}),
    ("missing_argument", "lacks", "files.getUploadURLExternal", {"filename": "", "length": 1}),
    (
        "alt_txt_too_long",
        "at most 1000 characters",
        "files.getUploadURLExternal",
        {"filename": "a", "length": 1, "alt_txt": "x" * 1_001},
    ),
    ("file_size_too_large", "at most 1 GB", "files.getUploadURLExternal", {"filename": "a", "length": 10**9 + 1}),
    ("channel_not_found", "a channel's id", "files.completeUploadExternal", {"files": [], "channel_id": "U0ADA"}),
    ("invalid_arguments", "unknown session status", "agents.sessions.setStatus", {"channel_id": "C1", "status": "busy"}),
]


@pytest.mark.parametrize(("error", "rule", "method", "args"), BAD_CALLS)
async def test_calls(fake: FakeSlack, error: str, rule: str, method: str, args: dict[str, Any]) -> None:
    at = await opening(fake)
    if method.startswith("chat.") and method != "chat.shout":
        args = at | args
    fake.allow(rule)
    with pytest.raises(SlackApiError, match=f"'{error}'"):
        await web(fake).api_call(method, json=args)
    assert len(fake.violations) == 1


async def test_an_edit_has_a_tenth_of_a_message_and_only_our_own(fake: FakeSlack) -> None:
    at = await opening(fake)
    posted = await web(fake).chat_postMessage(text="x", **at, **QUIET)
    fake.allow("at most 4,000")
    fake.allow("its own messages")
    with pytest.raises(SlackApiError, match="msg_too_long"):
        await web(fake).chat_update(channel=at["channel"], ts=posted["ts"], text="x" * 4_001)
    with pytest.raises(SlackApiError, match="cant_update_message"):
        await web(fake).chat_update(channel=at["channel"], ts=at["thread_ts"], text="x")


async def stream(fake: FakeSlack) -> dict[str, Any]:
    at = await opening(fake)
    answer = await web(fake).chat_startStream(**at, recipient_user_id="U0ADA", recipient_team_id="T0CELLMATE")
    return {"channel": at["channel"], "ts": answer["ts"]}


async def test_a_stream_bears_so_much_and_ends_once(fake: FakeSlack) -> None:
    at = await stream(fake)
    for rule in ("holds 10600 bytes", "an append holds something", "while it streams", "not both", "unknown task status"):
        fake.allow(rule)
    fake.allow("a markdown_text chunk")
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("no_text", "chat.appendStream", {}),
        ("msg_too_long", "chat.appendStream", {"markdown_text": "é" * 5_301}),
        ("msg_too_long", "chat.appendStream", {"chunks": [{"type": "markdown_text", "text": "x" * 12_001}]}),
        (
            "markdown_text_conflict",
            "chat.appendStream",
            {"markdown_text": "x", "chunks": [{"type": "markdown_text", "text": "x"}]},
        ),
        (
            "invalid_chunks",
            "chat.appendStream",
            {"chunks": [{"type": "task_update", "id": "1", "title": "x", "status": "odd"}]},
        ),
        ("streaming_state_conflict", "chat.update", {"text": "x"}),
        ("streaming_state_conflict", "chat.delete", {}),
    ]
    for error, method, args in calls:
        with pytest.raises(SlackApiError, match=error):
            await web(fake).api_call(method, json=at | args)
    await web(fake).chat_stopStream(**at)
    for method in ("chat.appendStream", "chat.stopStream"):
        with pytest.raises(SlackApiError, match="message_not_in_streaming_state"):
            await web(fake).api_call(method, json=at | {"markdown_text": "x"})
    assert len(fake.violations) == len(calls)


async def test_a_stream_dies_of_age_and_of_its_stop_button(fake: FakeSlack) -> None:
    fake.methods.stream_seconds = 0.05
    at = await stream(fake)
    await asyncio.sleep(0.1)
    with pytest.raises(SlackApiError, match="message_not_in_streaming_state"):
        await web(fake).chat_appendStream(**at, markdown_text="x")
    fake.methods.stream_seconds = 300
    at = await stream(fake)
    await fake.stop_session(Thread(at["channel"], fake.world.posts[-1].root))
    with pytest.raises(SlackApiError, match="stopped_by_user"):
        await web(fake).chat_appendStream(**at, markdown_text="x")


async def test_files_are_whole_and_go_under_the_first_message(fake: FakeSlack) -> None:
    at = await opening(fake)
    reply = await web(fake).chat_postMessage(text="x", **at, **QUIET)
    ticket = await web(fake).files_getUploadURLExternal(filename="a.txt", length=3)
    share: dict[str, Any] = {"files": [{"id": ticket["file_id"], "title": "a"}], "channel_id": at["channel"]}
    for rule in ("was uploaded whole", "does not fit", "never under a reply", "token was sent"):
        fake.allow(rule)
    async with aiohttp.ClientSession() as session:
        async with session.post(ticket["upload_url"], data=b"four") as response:
            assert response.status == 400
        with pytest.raises(SlackApiError, match="file_not_found"):
            await web(fake).files_completeUploadExternal(**share)
        await session.post(ticket["upload_url"], data=b"abc", headers={"Authorization": "Bearer xoxb-test"})
    with pytest.raises(SlackApiError, match="invalid_thread_ts"):
        await web(fake).files_completeUploadExternal(**share, thread_ts=reply["ts"])
    await web(fake).files_completeUploadExternal(**share, thread_ts=at["thread_ts"])
    assert len(fake.violations) == 4


async def test_rates_by_tier_and_by_channel(fake: FakeSlack) -> None:
    fake.rates = True
    at = await opening(fake)
    for _ in range(20):
        await web(fake).reactions_add(channel=at["channel"], timestamp=at["thread_ts"], name="eyes")
        await web(fake).reactions_remove(channel=at["channel"], timestamp=at["thread_ts"], name="eyes")
    await web(fake).reactions_add(channel=at["channel"], timestamp=at["thread_ts"], name="eyes")
    with pytest.raises(SlackApiError, match="ratelimited") as caught:
        await web(fake).reactions_remove(channel=at["channel"], timestamp=at["thread_ts"], name="eyes")
    assert int(caught.value.response.headers["Retry-After"]) > 50
    await web(fake).chat_postMessage(text="x", **at, **QUIET)
    with pytest.raises(SlackApiError, match="ratelimited"):
        await web(fake).chat_postMessage(text="x", **at, **QUIET)


async def test_the_wrong_token_is_refused(fake: FakeSlack) -> None:
    with pytest.raises(SlackApiError, match="invalid_auth"):
        await AsyncWebClient(token="xoxb-other", base_url=fake.env["SLACK_API_URL"]).auth_test()


async def test_what_was_not_expected_fails_at_the_end() -> None:
    with pytest.raises(AssertionError, match=r"unknown route GET /nowhere"):
        async with FakeSlack() as fake, aiohttp.ClientSession() as session:
            await session.get(f"{fake.base}/nowhere")


async def test_an_event_that_is_never_acknowledged_fails_at_the_end() -> None:
    with pytest.raises(AssertionError, match="never acknowledged: events_api message"):
        async with FakeSlack() as fake, aiohttp.ClientSession() as session, session.ws_connect(f"{fake.base}/link?ticket=1"):
            await fake.connected()
            await fake.ask("hello", direct=True)
            await asyncio.sleep(0.1)
            await fake.__aexit__(None, None, None)


async def test_a_page_shows_the_thread_and_loads_nothing(desk: Connect, fake: FakeSlack) -> None:
    async with desk() as at:
        thread, _ = await at.begin("plot <b>sales</b>")
        await at.chat.web.chat_postMessage(
            channel=thread.channel,
            thread_ts=thread.thread,
            text="x",
            blocks=[{"type": "markdown", "text": "**Done** <script>"}],
            **QUIET,
        )
        page = fake.page(thread)
        assert "plot &lt;b&gt;sales&lt;/b&gt;" in page and "<strong>Done</strong> &lt;script&gt;" in page
        assert "http" not in page.replace("http-equiv", "")


def test_it_is_a_platform() -> None:
    platform: Platform = FakeSlack()
    assert platform.name == "slack"
