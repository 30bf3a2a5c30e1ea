"""Buttons, reactions, words and slash commands."""

import pytest

from bot.types import Action, Card, Question
from tests.adapters.discord.conftest import Bot, bot_on, card
from tests.fakes.discord import FakeDiscord
from tests.fakes.discord.world import Message as Raw
from tests.fakes.platform import Thread


async def shown(bot: Bot, **fields: object) -> tuple[Thread, Question]:
    thread = await bot.fake.ask("work")
    question = await bot.inbox.question()
    await bot.show(question, card(question, **{"state": "working", "actions": ("stop",), **fields}))  # type: ignore[arg-type]
    return thread, question


def answering(text: str, audience: str = "asker") -> Card:
    return Card("answer", 1, "done", audience="asker" if audience == "asker" else "thread", text=text)


async def acted(bot: Bot) -> Action:
    await bot.inbox.until(lambda inbox: inbox.actions)
    (action,) = bot.inbox.actions
    return action


async def test_the_stop_button_is_acknowledged_and_acts(bot: Bot) -> None:
    thread, question = await shown(bot)
    await bot.fake.press(thread, "Stop", user="bob")
    action = await acted(bot)
    assert (action.name, action.turn, action.thread, action.asker.name) == ("stop", question.id, question.thread, "bob")
    assert len(bot.fake.messages(thread)) == 2


async def test_the_stop_button_works_after_a_restart(fake: FakeDiscord) -> None:
    async with bot_on(fake) as bot:
        thread, question = await shown(bot)
    async with bot_on(fake, bot.inbox) as again:
        await fake.press(thread, "Stop")
        assert (await acted(again)).turn == question.id


async def test_every_button_goes_on_working_through_many_edits(bot: Bot) -> None:
    """discord.py 2.7.1 forgets buttons of a class when one view ends; ours wait in no view."""
    thread, question = await shown(bot)
    await bot.fake.ask("second", user="bob")
    other = await bot.inbox.question(2)
    await bot.show(other, card(other, "Done.", actions=()))
    for _ in range(2):
        await bot.fake.press(thread, "Stop")
    await bot.inbox.until(lambda inbox: len(inbox.actions) == 2)
    assert {action.turn for action in bot.inbox.actions} == {question.id}


async def test_a_button_in_an_inline_conversation_knows_its_thread(bot: Bot) -> None:
    await bot.fake.deny("general", "create_public_threads")
    thread, question = await shown(bot)
    await bot.fake.press(thread, "Stop")
    assert (await acted(bot)).thread == question.thread


async def test_code_is_shown_to_the_one_who_asks_for_it(bot: Bot) -> None:
    thread, _ = await shown(bot, state="done", text="42", actions=("code",))
    bot.inbox.answer = lambda action: answering("```python\nprint(42)\n```")
    await bot.fake.press(thread, "Show code", user="bob")
    messages = await bot.fake.until(thread, lambda messages: messages[-1].only_for == "bob", 10)
    assert messages[-1].text == "```python\nprint(42)\n```"


async def test_long_code_is_a_file(bot: Bot) -> None:
    thread, _ = await shown(bot, state="done", text="42", actions=("code",))
    code = "\n".join(f"value_{n} = {n}" for n in range(300))
    bot.inbox.answer = lambda action: answering(f"```python\n{code}\n```\n\n```python\nprint(1)\n```")
    await bot.fake.press(thread, "Show code")
    messages = await bot.fake.until(thread, lambda messages: messages[-1].only_for == "ada", 10)
    (file,) = messages[-1].files
    assert file.name == "code.py"
    compile(file.content, "code.py", "exec")
    assert code in file.content.decode() and "print(1)" in file.content.decode()


async def test_a_control_of_another_time_says_so(bot: Bot) -> None:
    thread, _ = await shown(bot)
    button = {"type": 2, "style": 1, "label": "Old", "custom_id": "old:1", "id": 2}
    place = bot.fake.world.channels[thread.thread]
    await bot.fake.say(Raw(place, bot.fake.world.bot, "old", components=[{"type": 1, "id": 1, "components": [button]}]))
    await bot.fake.press(thread, "Old")
    messages = await bot.fake.until(thread, lambda messages: messages[-1].only_for == "ada", 10)
    assert messages[-1].text == "This control has expired; ask again." and bot.inbox.actions == []


@pytest.mark.parametrize("emoji", ["🛑", "❌", "⛔"])
async def test_a_reaction_on_question_or_answer_stops(bot: Bot, emoji: str) -> None:
    thread, question = await shown(bot)
    for message in bot.fake.raw(thread):
        await bot.fake.react(message, emoji, user="bob")
    await bot.inbox.until(lambda inbox: len(inbox.actions) == 2)
    assert {(a.name, a.turn, a.thread, a.asker.name) for a in bot.inbox.actions} == {
        ("stop", question.id, question.thread, "bob")
    }


async def test_other_reactions_and_reactions_elsewhere_mean_nothing(bot: Bot) -> None:
    thread, question = await shown(bot)
    await bot.fake.react(bot.fake.raw(thread)[-1], "👍")
    await bot.fake.ask("talk", channel="random", mention=False)
    await bot.fake.react(bot.fake.world.named("random").messages[-1], "🛑")
    await bot.fake.react(bot.fake.raw(thread)[-1], "🛑")
    assert (await acted(bot)).turn == question.id


@pytest.mark.parametrize(("said", "name"), [("stop", "stop"), ("Stop.", "stop"), ("files", "files"), ("Reset!", "reset")])
async def test_a_word_in_the_thread_is_a_command(bot: Bot, said: str, name: str) -> None:
    thread, question = await shown(bot)
    bot.inbox.answer = lambda action: answering(f"{action.name} done")
    await bot.fake.ask(said, thread=thread, mention=False, user="bob")
    action = await acted(bot)
    assert (action.name, action.thread, action.turn, action.asker.name) == (name, question.thread, None, "bob")
    messages = await bot.fake.until(thread, lambda messages: messages[-1].text == f"{name} done", 10)
    assert messages[-1].notified == [] and len(bot.inbox.questions) == 1


async def test_a_word_with_a_mention_in_a_channel_is_a_command_about_no_thread(bot: Bot) -> None:
    bot.inbox.answer = lambda action: answering("This is how.")
    thread = await bot.fake.ask("help")
    assert ((await acted(bot)).name, (await acted(bot)).thread) == ("help", None)
    await bot.fake.until(thread, lambda messages: messages[-1].text == "This is how.", 10)
    assert not [call for call in bot.fake.rest.calls if call.route.endswith("/threads")]


async def test_slash_commands_answer_the_asker_alone(bot: Bot) -> None:
    thread, question = await shown(bot)
    bot.inbox.answer = lambda action: answering(f"about {action.name}")
    await bot.fake.slash("help")
    await bot.inbox.until(lambda inbox: inbox.actions)
    assert (bot.inbox.actions[0].name, bot.inbox.actions[0].thread) == ("help", None)
    await bot.fake.slash("cellmate files", thread=thread, user="bob")
    messages = await bot.fake.until(thread, lambda messages: messages[-1].text == "about files", 10)
    assert messages[-1].only_for == "bob" and bot.inbox.actions[1].thread == question.thread


async def test_a_slash_command_without_an_answer_says_that_it_was_done(bot: Bot) -> None:
    thread, _ = await shown(bot)
    await bot.fake.slash("cellmate stop", thread=thread)
    messages = await bot.fake.until(thread, lambda messages: messages[-1].text == "Done.", 10)
    assert messages[-1].only_for == "ada"


async def test_an_answer_for_everybody_is_seen_by_everybody(bot: Bot) -> None:
    thread, _ = await shown(bot, state="done", text="x", actions=("code",))
    bot.inbox.answer = lambda action: answering("The files are gone.", "thread")
    await bot.fake.press(thread, "Show code")
    messages = await bot.fake.until(thread, lambda messages: messages[-1].text == "The files are gone.", 10)
    assert messages[-1].only_for is None


async def test_commands_are_registered_once(fake: FakeDiscord) -> None:
    for _ in range(2):
        async with bot_on(fake):
            pass
    assert [call.route.split()[0] for call in fake.rest.calls if "commands" in call.route] == ["GET", "PUT", "GET"]
    assert {command["name"] for command in fake.rest.commands} == {"help", "cellmate"}
