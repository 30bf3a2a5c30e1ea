"""Cards as people in Slack see them."""

import asyncio
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from bot.errors import Refused
from bot.types import Card, CellError, Question, Receipt, Step, Table
from tests.adapters.slack.conftest import PACE, Connect, Desk
from tests.fakes.platform import Thread
from tests.fakes.slack import FakeSlack

PING = "<!channel> <!here|here> <@U0BOB> <!subteam^S1> @everyone @channel &lt;!channel&gt; <\u202e!channel>"


def without_streams(fake: FakeSlack) -> None:
    fake.fail("agents.sessions.setStatus", "not_authorized", times=-1)


def answer(question: Question, text: str = "It is 42.", **more: Any) -> Card:
    return replace(Card(question.id, 9, "done", text=text), **more)


def working(question: Question, revision: int = 1, text: str = "", *steps: Step) -> Card:
    return Card(question.id, revision, "working", text=text, steps=steps, actions=("stop",))


def bot_text(fake: FakeSlack, thread: Thread) -> str:
    return "\n".join(message.text for message in fake.messages(thread) if message.author == "cellmate")


@pytest.mark.parametrize("streams", [True, False])
async def test_a_turn_from_the_first_card_to_the_last(desk: Connect, fake: FakeSlack, streams: bool) -> None:
    if not streams:
        without_streams(fake)
    async with desk() as at:
        thread, question = await at.begin()
        show = at.chat.show
        receipt = await show(question.thread, Card(question.id, 1, "queued", ahead=2, actions=("stop",)), None)
        assert "In line, 2 before you" in fake.messages(thread)[1].text and fake.messages(thread)[1].buttons == ["Stop"]
        step = Step("# Load the file\nprint(6*7)", "running")
        receipt = await show(question.thread, working(question, 2, "", step), receipt)
        assert "Working…" in fake.messages(thread)[1].text and "Load the file" in fake.messages(thread)[1].text
        done = replace(step, state="ok", stdout="42\n", seconds=0.1)
        receipt = await show(question.thread, working(question, 3, "It is ", done), receipt)
        table = Table(("month", "sales"), (("May", "7"), ("June", "")), 20)
        last = answer(
            question, steps=(done,), table=table, notes=("One row was skipped.",), footer="1 cell · 0.1 s", actions=("code",)
        )
        receipt = await show(question.thread, last, receipt)
        (shown,) = [message for message in fake.messages(thread) if message.author == "cellmate"]
        for part in ("It is 42.", "*One row was skipped.*", "| May | 7 |", "First 2 of 20 rows", "1 cell · 0.1 s"):
            assert part in shown.text
        assert shown.buttons == ["Show code"]
        assert receipt.handles[-1] == f"slack:T0CELLMATE/{thread.channel}/{shown.id}"
        assert len(fake.of("chat.startStream")) == (1 if streams else 0)
        if streams:
            assert fake.world.statuses[thread.channel, thread.thread][-1] == "sessions:active"


async def test_progress_keeps_slacks_pace_and_the_last_card_does_not_wait(desk: Connect, fake: FakeSlack) -> None:
    async with desk(pace=replace(PACE, update=60.0)) as at:
        thread, question = await at.begin()
        receipt = await at.chat.show(question.thread, working(question), None)
        for revision in range(2, 20):
            assert await at.chat.show(question.thread, working(question, revision, f"word {revision} "), receipt) is receipt
        assert not fake.of("chat.appendStream")
        await at.chat.show(question.thread, answer(question), receipt)
        assert "It is 42." in bot_text(fake, thread)


async def test_streamed_text_arrives_whole_in_order_and_pings_nobody_at_any_cut(desk: Connect, fake: FakeSlack) -> None:
    text = f"Hello {PING} and a long story with @everyone in it, ```\n<!channel>\n``` and an end."
    async with desk() as at:
        thread, question = await at.begin()
        receipt: Receipt | None = None
        for length in range(0, len(text), 3):
            receipt = await at.chat.show(question.thread, working(question, length, text[:length]), receipt)
        await at.chat.show(question.thread, answer(question, text), receipt)
        (shown,) = fake.messages(thread)[1:]
        assert not shown.notified
        plain = shown.text.replace("\u200b", "").partition("\n")[2]
        assert plain == text.replace("\u202e", "")
        assert len(fake.of("chat.appendStream")) > 10


@pytest.mark.parametrize("streams", [True, False])
async def test_nothing_a_model_or_a_program_writes_pings(desk: Connect, fake: FakeSlack, streams: bool) -> None:
    if not streams:
        without_streams(fake)
    async with desk() as at:
        thread, question = await at.begin()
        step = Step(f"# {PING}\nx", "failed", stdout=PING, error=CellError("E", PING))
        table = Table((PING,), ((PING,),), 1)
        file = at.store.keep(f"{PING}.png", b"png", "image/png", alt=PING)
        empty = at.store.keep(f"{PING}.txt", b"", "text/plain")
        receipt = await at.chat.show(question.thread, working(question, 1, "", step), None)
        receipt = await at.chat.show(question.thread, working(question, 2, f"{PING} "), receipt)
        assert not [message.notified for message in fake.messages(thread) if message.notified]
        last = answer(question, f"{PING}\n```\n{PING}\n```", table=table, notes=(PING,), footer=PING, steps=(step,))
        await at.chat.show(question.thread, replace(last, files=(file, empty)), receipt)
        await at.chat.show(
            question.thread,
            Card("other", 1, "done", audience="asker", text=PING),
            Receipt(data={"person": ["U0ADA", "T0CELLMATE", thread.thread]}),
        )
        assert not [message.notified for message in fake.messages(thread) if message.notified]
        assert "channel" in bot_text(fake, thread) and "\u202e" not in bot_text(fake, thread)


async def test_the_fake_counts_pings(desk: Connect, fake: FakeSlack) -> None:
    async with desk() as at:
        thread, _ = await at.begin()
        common: dict[str, Any] = {
            "channel": thread.channel,
            "thread_ts": thread.thread,
            "unfurl_links": False,
            "unfurl_media": False,
        }
        fake.world.person("bob")
        await at.chat.web.chat_postMessage(text="<!channel> <@U0BOB>", **common)
        await at.chat.web.chat_postMessage(text="x", blocks=[{"type": "markdown", "text": "see @here"}], **common)
        await at.chat.web.chat_postMessage(text="&lt;!channel&gt; and @here", **common)
        assert [message.notified for message in fake.messages(thread)[1:]] == [["bob", "everyone"], ["everyone"], []]


def long_answer() -> str:
    lines = "\n".join(f"value_{number} = {number} * 'abcdefghij'" for number in range(340))
    return "\n\n".join(f"Part {part}\n\n```python\n{lines}\n```" for part in range(3)) + "\n\nThe end."


def unfenced(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.startswith("```") and not line.startswith("[")]


@pytest.mark.parametrize("streams", [True, False])
async def test_a_long_answer_loses_nothing_and_breaks_no_fence(desk: Connect, fake: FakeSlack, streams: bool) -> None:
    if not streams:
        without_streams(fake)
    text = long_answer()
    assert len(text) > 28_000
    async with desk() as at:
        thread, question = await at.begin()
        receipt: Receipt | None = None
        for length in range(0, len(text), 5_000):
            receipt = await at.chat.show(question.thread, working(question, length, text[:length]), receipt)
        receipt = await at.chat.show(question.thread, answer(question, text, footer="3 cells", actions=("code",)), receipt)
        shown = [message for message in fake.messages(thread) if message.author == "cellmate"]
        assert len(shown) >= 4
        assert all(sum(line.startswith("```") for line in message.text.splitlines()) % 2 == 0 for message in shown)
        assert unfenced("\n".join(m.text for m in shown)) == [*unfenced(text), "3 cells"]
        assert [message.buttons for message in shown] == [[]] * (len(shown) - 1) + [["Show code"]]
        assert {handle.rpartition("/")[2] for handle in receipt.handles} >= {message.id for message in shown}


async def test_a_stream_makes_way_for_a_new_one_before_slack_ends_it(desk: Connect, fake: FakeSlack) -> None:
    fake.methods.stream_seconds = 0.6
    words = [f"word{number} " for number in range(30)]
    async with desk(pace=replace(PACE, stream=0.2)) as at:
        thread, question = await at.begin()
        receipt: Receipt | None = None
        for number in range(len(words)):
            receipt = await at.chat.show(question.thread, working(question, number, "".join(words[:number])), receipt)
            await asyncio.sleep(0.04)
        await at.chat.show(question.thread, answer(question, "".join(words)), receipt)
        assert bot_text(fake, thread).split("\n") and [w for w in bot_text(fake, thread).split() if w.startswith("word")] == [
            word.strip() for word in words
        ]
        assert not [call for call in fake.calls if call.error == "message_not_in_streaming_state"]
        assert len(fake.of("chat.startStream")) >= 3


async def test_a_stream_that_slack_ended_is_gone_on_with_in_another(desk: Connect, fake: FakeSlack) -> None:
    async with desk() as at:
        thread, question = await at.begin()
        receipt = await at.chat.show(question.thread, working(question, 1, "one two three "), None)
        fake.methods.stream_seconds = 0.0
        await asyncio.sleep(0.01)
        showing = at.chat.show(question.thread, working(question, 2, "one two three four five "), receipt)
        fake.fail("chat.appendStream", "message_not_in_streaming_state")
        fake.methods.stream_seconds = 300.0
        receipt = await showing
        await at.chat.show(question.thread, answer(question, "one two three four five six"), receipt)
        assert len(fake.of("chat.startStream")) == 2
        assert unfenced(bot_text(fake, thread)) == ["one two three", " four five six"]


async def test_rate_limits_and_server_errors_in_a_stream_lose_nothing(desk: Connect, fake: FakeSlack) -> None:
    async with desk() as at:
        thread, question = await at.begin()
        receipt = await at.chat.show(question.thread, working(question, 1, "one two "), None)
        fake.fail("chat.appendStream", status=429, retry_after=1)
        fake.fail("chat.appendStream", status=503)
        receipt = await at.chat.show(question.thread, working(question, 2, "one two three four "), receipt)
        await at.chat.show(question.thread, answer(question, "one two three four five"), receipt)
        assert bot_text(fake, thread).endswith("one two three four five")


async def test_slacks_own_pace_is_waited_out(desk: Connect, fake: FakeSlack) -> None:
    without_streams(fake)
    fake.rates = True
    async with desk() as at:
        thread, question = await at.begin()
        await at.chat.show(question.thread, answer(question, long_answer()), None)
        assert unfenced(bot_text(fake, thread)) == unfenced(long_answer())
        assert [call for call in fake.calls if call.error == "ratelimited"]


async def test_a_passing_refusal_of_a_stream_is_not_held_against_the_next(desk: Connect, fake: FakeSlack) -> None:
    fake.fail("chat.startStream", "internal_error")
    async with desk() as at:
        for streams in (0, 1):
            thread, question = await at.begin()
            receipt = await at.chat.show(question.thread, working(question, 1, "so far "), None)
            await at.chat.show(question.thread, answer(question, "so far so good \ud800"), receipt)
            assert bot_text(fake, thread).rstrip().endswith("so far so good")
            assert len(fake.of("chat.startStream")) == streams


@pytest.mark.parametrize("error", ["unknown_method", "feature_not_enabled", "channel_type_not_supported", "not_authorized"])
async def test_without_streams_a_message_is_edited(desk: Connect, fake: FakeSlack, error: str) -> None:
    fake.fail("chat.startStream", error, times=-1)
    async with desk() as at:
        for _ in range(2):
            thread, question = await at.begin()
            receipt = await at.chat.show(question.thread, working(question, 1), None)
            receipt = await at.chat.show(question.thread, working(question, 2, "so far "), receipt)
            assert "so far" in fake.messages(thread)[1].text
            await at.chat.show(question.thread, answer(question), receipt)
            assert [message.text for message in fake.messages(thread)[1:]] == ["It is 42."]
        assert len([call for call in fake.calls if call.method == "chat.startStream"]) == 1


async def test_task_cards_that_are_refused_leave_the_text(desk: Connect, fake: FakeSlack) -> None:
    fake.fail("chat.startStream", "invalid_chunks")
    async with desk() as at:
        thread, question = await at.begin()
        receipt = await at.chat.show(question.thread, working(question, 1, "one two "), None)
        await at.chat.show(question.thread, answer(question, "one two three"), receipt)
        assert bot_text(fake, thread) == "one two three"


@pytest.mark.parametrize("streams", [True, False])
async def test_blocks_that_are_refused_leave_the_text(desk: Connect, fake: FakeSlack, streams: bool) -> None:
    if not streams:
        without_streams(fake)
    async with desk() as at:
        thread, question = await at.begin()
        receipt = await at.chat.show(question.thread, working(question), None)
        fake.fail("chat.stopStream" if streams else "chat.postMessage", "invalid_blocks")
        await at.chat.show(question.thread, answer(question, "a < b & c", footer="x"), receipt)
        assert fake.messages(thread)[-1].text.endswith("a < b & c")


async def test_what_slack_forbids_for_good_is_one_sentence(desk: Connect, fake: FakeSlack) -> None:
    without_streams(fake)
    async with desk() as at:
        _, question = await at.begin()
        fake.fail("chat.postMessage", "is_archived")
        with pytest.raises(Refused, match="archived"):
            await at.chat.show(question.thread, answer(question), None)


async def test_a_whisper_is_for_its_asker(desk: Connect, fake: FakeSlack) -> None:
    async with desk() as at:
        thread, question = await at.begin()
        await at.chat.show(question.thread, Card(question.id, 1, "failed", audience="asker", text="Not here."), None)
        assert [(message.only_for, message.text) for message in fake.messages(thread)[1:]] == [("ada", "Not here.")]


# --- After a break ----------------------------------------------------------------------------------------------------


async def start(at: Desk) -> tuple[Thread, Question, Receipt]:
    thread, question = await at.begin()
    receipt = await at.chat.show(question.thread, working(question, 1, "half of an answer "), None)
    return thread, question, receipt


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize(("remembered", "readable"), [(True, True), (True, False), (False, True)])
async def test_a_restart_in_the_middle_leaves_one_answer(
    desk: Connect, fake: FakeSlack, streams: bool, remembered: bool, readable: bool
) -> None:
    if not streams:
        without_streams(fake)
    async with desk() as at:
        thread, question, receipt = await start(at)
    async with desk(at.inbox) as at:
        if not readable:
            fake.fail("conversations.replies", "ratelimited", times=-1)
        receipt = await at.chat.show(question.thread, working(question, 2), receipt if remembered else Receipt())
        await at.chat.show(question.thread, answer(question, "The whole answer."), receipt)
        assert bot_text(fake, thread).count("The whole answer.") == 1
        assert "half" not in bot_text(fake, thread)
        assert len(fake.messages(thread)) == 2


@pytest.mark.parametrize("streams", [True, False])
async def test_a_crash_after_the_answer_repeats_nothing(desk: Connect, fake: FakeSlack, streams: bool) -> None:
    if not streams:
        without_streams(fake)
    async with desk() as at:
        thread, question, receipt = await start(at)
        files = tuple(at.store.keep(f"f{n}.txt", b"x" * n, "text/plain") for n in range(3))
        last = answer(question, long_answer(), files=files)
        done = await at.chat.show(question.thread, last, receipt)
        assert done.files == {"f0.txt": "fallback", "f1.txt": "delivered", "f2.txt": "delivered"}
        before = fake.transcript(thread)
    async with desk(at.inbox) as at:
        again = await at.chat.show(question.thread, working(question, 2), receipt)
        again = await at.chat.show(question.thread, last, again)
        assert fake.transcript(thread) == before
        assert again.files == done.files


async def test_an_answer_whose_delivery_is_in_doubt_is_not_posted_twice(desk: Connect, fake: FakeSlack) -> None:
    without_streams(fake)
    async with desk() as at:
        thread, question = await at.begin()
        card = answer(question, long_answer())
        fake.cut("chat.postMessage", after=2)
        with pytest.raises(aiohttp.ClientError):
            await at.chat.show(question.thread, card, None)
        await at.chat.show(question.thread, card, Receipt())
        assert unfenced(bot_text(fake, thread)) == unfenced(card.text)


# --- Files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direct", [True, False])
async def test_all_files_of_a_turn_are_one_message_after_the_text(desk: Connect, fake: FakeSlack, direct: bool) -> None:
    async with desk() as at:
        thread, question = await at.begin(direct=direct)
        await fake.ask("and more", thread=thread)
        question = await at.asked(2)
        names = [f"out/plot-{number}.png" for number in range(12)] + ["a/same.csv", "b/same.csv"]
        files = tuple(
            at.store.keep(name, f"bytes of {name}".encode() * 500, "image/png", alt=f"What {name} shows" * 90) for name in names
        )
        receipt = await at.chat.show(question.thread, answer(question, files=files), None)
        text, shown = fake.messages(thread)[-2:]
        assert text.text.endswith("It is 42.")
        assert [file.name for file in shown.files] == names
        assert [file.content for file in shown.files] == [f"bytes of {name}".encode() * 500 for name in names]
        assert all(file.alt.startswith("What out/plot-") or "same" in file.alt for file in shown.files)
        assert dict(receipt.files) == dict.fromkeys(names, "delivered")


async def test_a_file_that_slack_refuses_is_a_line_in_the_thread(desk: Connect, fake: FakeSlack) -> None:
    async with desk() as at:
        thread, question = await at.begin()
        files = tuple(
            at.store.keep(name, content, "text/plain")
            for name, content in (("a.txt", b"a"), ("b.exe", b"b"), ("empty.txt", b""))
        )
        fake.fail("files.completeUploadExternal", "file_type_not_allowed", times=2)
        receipt = await at.chat.show(question.thread, answer(question, files=files), None)
        assert dict(receipt.files) == {"a.txt": "fallback", "b.exe": "delivered", "empty.txt": "fallback"}
        last = fake.messages(thread)[-1].text
        assert "empty.txt (0 bytes) could not be posted here: it is empty" in last and "a.txt (1 byte)" in last


async def test_an_upload_that_breaks_off_is_tried_again_and_text_is_not(desk: Connect, fake: FakeSlack) -> None:
    async with desk() as at:
        thread, question = await at.begin()
        card = answer(question, files=(at.store.keep("a.txt", b"a", "text/plain"),))
        fake.fail("upload", status=500)
        with pytest.raises(aiohttp.ClientResponseError, match="500"):
            await at.chat.show(question.thread, card, None)
        receipt = await at.chat.show(question.thread, card, Receipt())
        assert dict(receipt.files) == {"a.txt": "delivered"}
        assert bot_text(fake, thread).count("It is 42.") == 1 and len(fake.messages(thread)) == 3
