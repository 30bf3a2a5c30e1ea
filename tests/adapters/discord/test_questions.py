"""What becomes a question, and what does not."""

import asyncio
from collections.abc import Callable

import pytest

from bot.errors import Refused
from bot.types import Card, ThreadRef, turn_id
from tests.adapters.discord.conftest import Bot, Inbox, bot_on, card
from tests.fakes.discord import FakeDiscord
from tests.fakes.discord.world import Message as Raw
from tests.fakes.discord.world import User
from tests.fakes.platform import Thread

CSV = b"month,revenue\n2026-01,3\n"


async def read(bot: Bot, number: int = 0) -> bytes:
    attachment = bot.inbox.questions[-1].attachments[number]
    return b"".join([chunk async for chunk in bot.chat.fetch(attachment)])


def has_opened(thread: Thread) -> Callable[[Inbox], bool]:
    return lambda inbox: any(question.thread.thread == thread.thread for question in inbox.questions)


async def nothing_else(bot: Bot) -> None:
    """A question asked now is the next one the inbox gets: what came before it was not meant for us."""
    count = len(bot.inbox.questions)
    await bot.fake.ask("marker", user="zoe", channel="random")
    await bot.inbox.until(lambda inbox: len(inbox.questions) > count)
    assert [question.text for question in bot.inbox.questions[count:]] == ["marker"]


async def test_a_mention_with_a_file_is_a_question(bot: Bot) -> None:
    thread = await bot.fake.ask("plot this", files=[("sales.csv", CSV)])
    question = await bot.inbox.question()
    general = bot.fake.world.named("general").id
    assert question.text == "plot this"
    assert question.keys == (f"discord:{general}:{thread.thread}",)
    assert question.id == turn_id(question.keys[0])
    assert question.thread == ThreadRef("discord", f"{bot.fake.world.guild}/{general}", thread.thread)
    assert (question.asker.name, question.asker.bot, question.place.direct) == ("ada", False, False)
    assert [(file.name, file.size, file.media_type) for file in question.attachments] == [("sales.csv", len(CSV), "text/csv")]
    assert await read(bot) == CSV
    assert bot.fake.rest.typing == [general]


async def test_the_first_sign_waits_for_nothing(bot: Bot) -> None:
    bot.inbox.open.clear()
    await bot.fake.ask("first")
    async with bot.fake.rest.changed:
        await bot.fake.rest.changed.wait_for(lambda: bot.fake.rest.typing)
    assert bot.inbox.questions == []
    bot.inbox.open.set()
    await bot.inbox.question()


async def test_a_mention_of_the_role_is_a_mention(bot: Bot) -> None:
    await bot.fake.ask("plot this", role=True)
    assert (await bot.inbox.question()).text == "plot this"


async def test_a_direct_message_needs_no_mention(bot: Bot) -> None:
    thread = await bot.fake.ask("hello", direct=True)
    question = await bot.inbox.question()
    assert question.place.direct and question.thread == ThreadRef("discord", f"@me/{thread.thread}", thread.thread)


async def test_five_attachments_all_arrive(bot: Bot) -> None:
    await bot.fake.ask("read", files=[(f"{n}.csv", b"x" * n) for n in range(1, 6)])
    question = await bot.inbox.question()
    assert [file.size for file in question.attachments] == [1, 2, 3, 4, 5]


async def test_a_file_name_that_discord_cannot_hold_is_taken_from_the_title(bot: Bot) -> None:
    await bot.fake.ask("read", files=[("Umsätze März.csv", CSV), ("данные.parquet", b"1")])
    names = [file.name for file in (await bot.inbox.question()).attachments]
    assert names == ["Umsätze März.csv", "данные.parquet"]


async def test_a_forwarded_message_brings_its_text_and_files(bot: Bot) -> None:
    await bot.fake.ask("numbers", files=[("old.csv", CSV)], mention=False, user="bob", channel="random")
    source = bot.fake.world.named("random").messages[-1]
    await bot.fake.ask("plot", forward=source)
    question = await bot.inbox.question()
    assert question.text == "plot\n\nForwarded:\nnumbers"
    assert await read(bot) == CSV


async def test_a_reply_with_a_mention_brings_what_it_replies_to(bot: Bot) -> None:
    await bot.fake.ask("our numbers", files=[("old.csv", CSV)], mention=False, user="bob")
    source = bot.fake.world.named("general").messages[-1]
    await bot.fake.ask("plot that", reply=source)
    question = await bot.inbox.question()
    assert question.text == "plot that\n\nIn reply to bob:\nour numbers"
    assert await read(bot) == CSV


async def test_a_reply_to_an_answer_goes_on_in_its_conversation(bot: Bot) -> None:
    await bot.fake.deny("general", "create_public_threads")
    thread = await bot.fake.ask("first")
    question = await bot.inbox.question()
    await bot.show(question, card(question, "an answer"))
    await bot.fake.ask("and now?", thread=thread, mention=False)
    assert (await bot.inbox.question(2)).thread == question.thread


async def test_a_post_in_a_forum_is_answered_in_the_post(bot: Bot) -> None:
    thread = await bot.fake.ask("which is best?", channel="ideas")
    question = await bot.inbox.question()
    assert question.thread == ThreadRef("discord", f"{bot.fake.world.guild}/{bot.fake.world.named('ideas').id}", thread.thread)
    await bot.show(question, card(question, "The first."))
    assert [m.text for m in bot.fake.messages(thread)][1:] == ["The first."]


async def test_in_its_own_thread_the_asker_needs_no_mention_until_somebody_joins(bot: Bot) -> None:
    thread = await bot.fake.ask("first")
    question = await bot.inbox.question()
    await bot.show(question, card(question, "one"))
    await bot.fake.ask("second", thread=thread, mention=False)
    assert (await bot.inbox.question(2)).thread == question.thread
    await bot.fake.ask("what is this?", thread=thread, mention=False, user="bob")
    await bot.fake.ask("I will tell you", thread=thread, mention=False)
    await nothing_else(bot)
    await bot.fake.ask("third", thread=thread, user="bob")
    await bot.inbox.until(lambda inbox: inbox.questions[-1].text == "third")
    assert bot.inbox.questions[-1].thread == question.thread


async def test_in_a_thread_of_others_only_a_mention_counts(bot: Bot) -> None:
    thread = await bot.fake.thread()
    await bot.fake.ask("talk", thread=thread, mention=False)
    await nothing_else(bot)
    await bot.fake.ask("plot", thread=thread)
    await bot.inbox.until(lambda inbox: inbox.questions[-1].text == "plot")
    assert bot.inbox.questions[-1].thread.thread == thread.thread


async def test_an_archived_thread_that_was_never_seen(fake: FakeDiscord) -> None:
    thread = await fake.thread(archived=True)
    async with bot_on(fake) as bot:
        await fake.ask("plot", thread=thread)
        question = await bot.inbox.question()
        assert question.thread == ThreadRef("discord", f"{fake.world.guild}/{fake.world.named('general').id}", thread.thread)
        await bot.show(question, card(question, "Plotted."))
        assert fake.messages(thread)[-1].text == "Plotted."


async def test_talk_bots_webhooks_and_everyone_are_no_questions(bot: Bot) -> None:
    general, world = bot.fake.world.named("general"), bot.fake.world
    await bot.fake.ask("just talking", mention=False)
    await bot.fake.say(Raw(general, User("robot", bot=True), f"<@{world.bot.id}> hi"))
    await bot.fake.say(Raw(general, world.user("hook"), f"<@{world.bot.id}> hi", webhook=True))
    await bot.fake.say(Raw(general, world.user("ada"), f"<@{world.bot.id}> joined", type=7))
    await bot.fake.say(Raw(general, world.user("ada"), "@everyone hi", notified=["everyone"]))
    await nothing_else(bot)


async def test_a_redelivered_message_is_brought_with_the_same_keys(bot: Bot) -> None:
    await bot.fake.ask("once")
    question = await bot.inbox.question()
    await bot.fake.redeliver()
    await bot.inbox.until(lambda inbox: inbox.refused)
    assert bot.inbox.refused[0].keys == question.keys and len(bot.inbox.questions) == 1


async def test_messages_in_one_breath_are_one_question(bot: Bot) -> None:
    bot.chat._client.burst = 1.0  # type: ignore[attr-defined]
    await bot.fake.ask("plot this")
    await bot.fake.ask("", files=[("sales.csv", CSV)], mention=False)
    await bot.fake.redeliver()
    await bot.inbox.until(lambda inbox: inbox.amended)
    (question,), (first,) = bot.inbox.amended, bot.inbox.questions
    assert question.text == "plot this" and len(question.keys) == 2
    assert [file.name for file in question.attachments] == ["sales.csv"]
    assert (question.follows, question.hold, first.hold) == (first.id, 1.0, 1.0), "accepted at once, held for the rest"


async def test_a_turn_that_has_begun_takes_no_more_of_its_question(bot: Bot) -> None:
    bot.chat._client.burst = 1.0  # type: ignore[attr-defined]
    bot.inbox.too_late = Card("t", 1, "done", audience="asker", text="too late")
    await bot.fake.ask("plot this", direct=True)
    await bot.fake.ask("and this", direct=True)
    second = await bot.inbox.question(2)
    assert second.text == "and this"


async def test_an_edit_that_comes_too_late_is_answered_with_that(bot: Bot) -> None:
    bot.inbox.too_late = Card("t", 1, "done", audience="asker", text="It was too late.")
    thread = await bot.fake.ask("plot it")
    await bot.inbox.question()
    await bot.fake.edit(thread, "plot it in red")
    await bot.fake.until(thread, lambda messages: any("It was too late." in m.text for m in messages))


async def test_a_second_mention_is_a_second_question(bot: Bot) -> None:
    await bot.fake.ask("one")
    await bot.fake.ask("two")
    await bot.inbox.question(2)
    assert {question.text for question in bot.inbox.questions} == {"one", "two"}


async def test_other_peoples_names_are_read_as_names(bot: Bot) -> None:
    bob = bot.fake.world.user("bob")
    await bot.fake.ask(f"what did <@{bob.id}> sell?")
    assert (await bot.inbox.question()).text == "what did @bob sell?"


async def test_an_edit_is_brought_and_an_unfurled_link_is_not(bot: Bot) -> None:
    thread = await bot.fake.ask("plot https://example.org/x")
    question = await bot.inbox.question()
    await bot.fake.unfurl(thread)
    await bot.fake.edit(thread, "plot it in red")
    await bot.inbox.until(lambda inbox: inbox.amended)
    assert [(q.text, q.follows, q.id, q.keys) for q in bot.inbox.amended] == [
        ("plot it in red", question.id, question.id, question.keys)
    ]
    await bot.fake.unfurl(thread)
    await nothing_else(bot)
    assert len(bot.inbox.amended) == 1


async def test_an_edit_in_the_same_breath_is_the_question(bot: Bot) -> None:
    bot.chat._client.burst = 1.0  # type: ignore[attr-defined]
    thread = await bot.fake.ask("plot ti")
    await bot.inbox.question()
    await bot.fake.edit(thread, "plot it")
    await bot.inbox.until(lambda inbox: inbox.amended)
    assert [(q.text, q.hold) for q in bot.inbox.amended] == [("plot it", 1.0)]


async def test_deleting_a_question_stops_it(bot: Bot) -> None:
    thread = await bot.fake.ask("never mind")
    question = await bot.inbox.question()
    await bot.fake.delete(bot.fake.opening(thread))
    await bot.inbox.until(lambda inbox: inbox.actions)
    assert [(a.name, a.turn, a.thread) for a in bot.inbox.actions] == [("stop", question.id, question.thread)]


async def test_a_deleted_or_locked_thread_stops_its_work(bot: Bot) -> None:
    for end in (bot.fake.delete_thread, bot.fake.lock):
        thread = await bot.fake.ask("work")
        await bot.inbox.until(has_opened(thread))
        question = bot.inbox.questions[-1]
        await bot.show(question, card(question, state="working", actions=("stop",)))
        await end(thread)
        await bot.inbox.until(lambda inbox: inbox.actions)
        assert [(a.name, a.turn, a.thread) for a in bot.inbox.actions] == [("stop", None, question.thread)]
        bot.inbox.actions.clear()


async def test_an_expired_address_is_looked_up_anew(bot: Bot) -> None:
    await bot.fake.ask("plot", files=[("sales.csv", CSV)])
    await bot.inbox.question()
    bot.fake.expire()
    assert await read(bot) == CSV


async def test_a_file_that_is_gone_is_refused_with_a_sentence(bot: Bot) -> None:
    thread = await bot.fake.ask("plot", files=[("sales.csv", CSV)])
    await bot.inbox.question()
    await bot.fake.delete(bot.fake.opening(thread))
    with pytest.raises(Refused, match=r"sales\.csv is no longer on Discord\. Attach it again\."):
        await read(bot)


async def test_a_file_larger_than_declared_is_cut_off(bot: Bot) -> None:
    thread = await bot.fake.ask("plot", files=[("sales.csv", b"1")])
    await bot.inbox.question()
    bot.fake.opening(thread).files[0].content = b"1" * 1000
    with pytest.raises(Refused, match="larger than Discord said"):
        await read(bot)


@pytest.mark.parametrize(
    "address", ["http://169.254.169.254/latest", "https://cdn.discordapp.com.example.org/x", "http://cdn.discordapp.com/x"]
)
async def test_nothing_is_fetched_from_elsewhere(bot: Bot, address: str) -> None:
    await bot.fake.ask("plot", files=[("sales.csv", b"1")])
    (attachment,) = (await bot.inbox.question()).attachments
    attachment.locator["url"] = address  # type: ignore[index]
    with pytest.raises(Refused, match="does not lie on Discord"):
        await read(bot)


async def test_context_is_what_others_said_before(bot: Bot) -> None:
    thread = await bot.fake.thread()
    await bot.fake.ask("the north did well", thread=thread, mention=False, user="bob")
    await bot.fake.ask("plot it", thread=thread)
    question = await bot.inbox.question()
    assert await bot.chat.context(question) == ("bob: the north did well",)


async def test_without_the_intent_mentions_replies_and_direct_messages_work(fake: FakeDiscord) -> None:
    fake.gateway.message_content = False
    async with bot_on(fake) as bot:
        thread = await fake.ask("plot", files=[("sales.csv", CSV)])
        question = await bot.inbox.question()
        assert question.text == "plot" and await read(bot) == CSV
        await bot.show(question, card(question, "done"))
        await fake.ask("hello", direct=True)
        assert (await bot.inbox.question(2)).text == "hello"
        for _ in range(2):
            await fake.ask("and in red?", thread=thread, mention=False)
        await fake.until(thread, lambda messages: "message content" in messages[-1].text, 10)
        await nothing_else(bot)
        assert sum("message content" in message.text for message in fake.messages(thread)) == 1


async def test_two_people_at_once(bot: Bot) -> None:
    await asyncio.gather(bot.fake.ask("one"), bot.fake.ask("two", user="bob"))
    await bot.inbox.question(2)
    assert {(q.asker.name, q.text) for q in bot.inbox.questions} == {("ada", "one"), ("bob", "two")}
