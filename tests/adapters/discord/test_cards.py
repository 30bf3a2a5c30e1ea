"""How a turn is shown: thread, placeholder, edits, answer, files, pings, limits, faults, restarts."""

import asyncio
import re

import pytest

from adapters.discord import deliver, render
from bot.types import Card, CellError, Question, Receipt, Step, Table
from tests.adapters.discord.conftest import Bot, bot_on, card
from tests.fakes.discord import FakeDiscord
from tests.fakes.discord.rest import Call
from tests.fakes.platform import Thread

MIB = 1024 * 1024
SEND, EDIT = "POST /channels/{channel_id}/messages", "PATCH /channels/{channel_id}/messages/{message_id}"
THREAD = "POST /channels/{channel_id}/messages/{message_id}/threads"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 64


async def asked(bot: Bot, text: str = "plot this", **how: object) -> tuple[Thread, Question]:
    count = len(bot.inbox.questions)
    thread = await bot.fake.ask(text, **how)  # type: ignore[arg-type]
    return thread, await bot.inbox.question(count + 1)


def calls(bot: Bot, route: str) -> list[Call]:
    return [call for call in bot.fake.rest.calls if call.route == route]


def working(question: Question, **fields: object) -> Card:
    return card(question, **{"state": "working", "actions": ("stop",), **fields})  # type: ignore[arg-type]


# --- The thread and its first message -------------------------------------------------------------------------------------


async def test_the_answer_stands_in_a_thread_made_from_the_question(bot: Bot) -> None:
    thread, question = await asked(bot, "plot the revenue")
    await bot.show(question, working(question))
    await bot.show(question, card(question, "It grew.", actions=("code",), footer="1 cell · 3.1 s"))
    opening, answer = bot.fake.messages(thread)
    assert bot.fake.world.channels[thread.thread].name == "plot the revenue"
    assert answer.text == "It grew.\n\n-# 1 cell · 3.1 s" and answer.buttons == ["Show code"] and answer.author == "cellmate"
    general = bot.fake.world.named("general")
    assert [m.id for m in general.messages] == [opening.id]


async def test_the_placeholder_says_what_goes_on_and_can_be_stopped(bot: Bot) -> None:
    thread, question = await asked(bot)
    await bot.show(question, card(question, state="queued", ahead=2, actions=("stop",)))
    (_, shown) = bot.fake.messages(thread)
    assert shown.text == "*In line, 2 before you*" and shown.buttons == ["Stop"]


async def test_progress_is_paced_and_the_final_card_is_not(bot: Bot) -> None:
    thread, question = await asked(bot)
    first = await bot.show(question, working(question))
    assert await bot.show(question, working(question, steps=(Step("print(1)"),))) is first
    assert not calls(bot, EDIT)
    await bot.show(question, card(question, "Done here."))
    assert bot.fake.messages(thread)[-1].text == "Done here." and len(calls(bot, EDIT)) == 1


async def test_progress_shows_the_code_that_runs(bot: Bot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "GAP", 0.0)
    thread, question = await asked(bot)
    await bot.show(question, working(question))
    await bot.show(question, working(question, steps=(Step("x = 1\nprint(x)", stdout="1\n"),), elapsed=3.0))
    assert bot.fake.messages(thread)[-1].text == "*Working… step 1 · 3 s*\n\n```python\nx = 1\nprint(x)\n```\n\n```\n1\n```"


async def test_a_direct_message_is_answered_where_it_was_asked(bot: Bot) -> None:
    thread, question = await asked(bot, "hello", direct=True)
    await bot.show(question, card(question, "Hello."))
    assert [(m.author, m.text) for m in bot.fake.messages(thread)] == [("ada", "hello"), ("cellmate", "Hello.")]
    assert not calls(bot, THREAD)


async def test_where_no_thread_may_be_made_the_answer_is_a_reply(bot: Bot) -> None:
    await bot.fake.deny("general", "create_public_threads")
    thread, question = await asked(bot)
    await bot.show(question, card(question, "Here."))
    assert [m.text for m in bot.fake.messages(thread)][1:] == ["Here."]
    assert bot.fake.raw(thread)[-1].reference is not None and not calls(bot, THREAD)
    assert bot.fake.messages(thread)[-1].notified == []


async def test_where_discord_refuses_a_thread_the_answer_is_a_reply(bot: Bot) -> None:
    bot.fake.fail(THREAD, status=403, code=50013)
    thread, question = await asked(bot)
    await bot.show(question, card(question, "Here."))
    assert [m.text for m in bot.fake.messages(thread)][1:] == ["Here."]


async def test_in_a_voice_channel_the_answer_is_a_reply(bot: Bot) -> None:
    thread, question = await asked(bot, channel="lounge")
    await bot.show(question, card(question, "Here."))
    assert [m.text for m in bot.fake.messages(thread)][1:] == ["Here."] and not calls(bot, THREAD)


async def test_a_question_deleted_before_its_answer_is_answered_in_the_channel(bot: Bot) -> None:
    thread, question = await asked(bot)
    await bot.fake.delete(bot.fake.opening(thread))
    await bot.show(question, card(question, "Here."))
    assert bot.fake.world.named("general").messages[-1].content == "Here."


async def test_a_deleted_thread_takes_its_answer_with_it(bot: Bot) -> None:
    thread, question = await asked(bot)
    await bot.show(question, working(question))
    await bot.fake.delete_thread(thread)
    file = bot.store.add("a.csv", b"1")
    receipt = await bot.show(question, card(question, "Nobody reads this.", files=(file,)))
    assert receipt.files == {"a.csv": "fallback"}


async def test_a_deleted_placeholder_is_replaced(bot: Bot) -> None:
    thread, question = await asked(bot)
    await bot.show(question, working(question))
    await bot.fake.delete(bot.fake.raw(thread)[-1])
    await bot.show(question, card(question, "Here."))
    assert [m.text for m in bot.fake.messages(thread)][1:] == ["Here."]


async def test_a_thread_that_exists_already_is_used(bot: Bot) -> None:
    thread, question = await asked(bot)
    bot.fake.fail(THREAD, abort=True, after=True)
    await bot.show(question, card(question, "Here."))
    assert [m.text for m in bot.fake.messages(thread)][1:] == ["Here."]
    assert [call.status for call in calls(bot, THREAD)][1:] == [400]


# --- Text -------------------------------------------------------------------------------------------------------------------


async def test_a_long_answer_with_fences_is_split_whole(bot: Bot) -> None:
    blocks = ["\n\n".join(f"Paragraph {n}.{m} " + "words " * 40 for m in range(20)) for n in range(3)]
    fences = ["```python\n" + "\n".join(f"value_{n}_{m} = {m} * {n}" for m in range(200)) + "\n```" for n in range(3)]
    text = "\n\n".join(part for pair in zip(blocks, fences, strict=True) for part in pair)
    assert len(text) > 25_000
    thread, question = await asked(bot)
    await bot.show(question, working(question))
    await bot.show(question, card(question, text, actions=("code",)))
    parts = [message.text for message in bot.fake.messages(thread)[1:]]
    assert all(len(part) <= 1900 and part.count("```") % 2 == 0 for part in parts)
    seen = re.sub(r"```(python)?|\s", "", "".join(parts))
    assert seen == re.sub(r"```(python)?|\s", "", text)
    assert [message.buttons for message in bot.fake.messages(thread)[1:]] == [[]] * (len(parts) - 1) + [["Show code"]]


async def test_nothing_printed_pings_or_unfurls_on_any_path(bot: Bot) -> None:
    ada = bot.fake.world.user("ada")
    bad = f"@everyone @here <@{ada.id}> <@!{ada.id}> <@&{bot.fake.world.role}> <#{ada.id}> https://example.org ![x](https://example.org/i.png)"
    thread, question = await asked(bot)
    await bot.show(question, working(question, text=bad))
    step = Step("raise", "failed", error=CellError("Bad", bad))
    big = bot.store.add(f"{bad[:20]}.bin", b"x" * (21 * MIB))
    await bot.show(
        question,
        card(question, bad * 30, steps=(step,), table=Table((bad,), ((bad,),), 1), notes=(bad,), files=(big,), footer=bad),
    )
    bot.inbox.answer = lambda action: card(question, bad, audience="asker")
    await bot.fake.ask("files", thread=thread)
    await bot.fake.until(thread, lambda messages: messages[-1].author == "cellmate" and "example" in messages[-1].text, 10)
    await bot.fake.slash("cellmate files", thread=thread)
    await bot.fake.until(thread, lambda messages: messages[-1].only_for == "ada" and messages[-1].text != "", 10)
    ours = [message for message in bot.fake.messages(thread) if message.author == "cellmate"]
    assert len(ours) > 4 and all(message.notified == [] for message in ours)
    for call in bot.fake.rest.calls:
        if call.body and "content" in call.body:
            allowed = call.body["allowed_mentions"]
            assert allowed["parse"] == [] and not any(allowed.get(kind) for kind in ("users", "roles", "replied_user"))
            assert f"<@{ada.id}>" not in (call.body["content"] or "") and "@everyone" not in (call.body["content"] or "")


async def test_tables_are_aligned_and_other_markup_is_translated(bot: Bot) -> None:
    text = "#### Revenue\n\n| region | revenue |\n|---|---:|\n| north | 12 |\n| south | 7.5 |\n\n---\n\n~~~py\nx = '```'\n~~~"
    thread, question = await asked(bot)
    await bot.show(question, card(question, text, table=Table(("a", "b"), (("1", "漢字"), ("2", "x")), 40)))
    assert bot.fake.messages(thread)[-1].text == (
        "**Revenue**\n\n```\nregion  revenue\n──────  ───────\nnorth        12\nsouth       7.5\n```\n\n\n\n"
        "```py\nx = '`\u200b`\u200b`'\n```\n\n```\na  b\n─  ────\n1  漢字\n2  x\n```\n-# first 2 of 40 rows"
    )


async def test_wide_tables_lose_nothing_of_the_text_and_are_clipped_from_results(bot: Bot) -> None:
    cells = [f"value{n}" * 3 for n in range(6)]
    text = "|" + "|".join(f"c{n}" for n in range(6)) + "|\n|" + "-|" * 6 + "\n|" + "|".join(cells) + "|"
    thread, question = await asked(bot)
    await bot.show(question, card(question, text, table=Table(tuple("abcdefghijkl"), (tuple(cells * 2),), 1)))
    shown = bot.fake.messages(thread)[-1].text
    assert all(cell in shown.split("```")[0] for cell in cells)
    block = shown.split("```")[1]
    assert max(map(len, block.splitlines())) <= 55 and "…" in block and "first 9 of 12 columns" in shown


async def test_what_automod_blocks_is_said(bot: Bot) -> None:
    bot.fake.rest.automod = "forbidden"
    thread, question = await asked(bot)
    await bot.show(question, card(question, "the forbidden word"))
    assert bot.fake.messages(thread)[-1].text == "This server's AutoMod blocked what belongs here."


# --- Files ------------------------------------------------------------------------------------------------------------------


async def test_a_figure_comes_after_the_text_with_its_description(bot: Bot) -> None:
    thread, question = await asked(bot)
    figure = bot.store.add("figure-1.png", PNG, "Revenue by month", figure=True)
    receipt = await bot.show(question, card(question, "It grew.", files=(figure,)))
    _, text, picture = bot.fake.messages(thread)
    assert text.text == "It grew." and [(f.name, f.content, f.alt) for f in picture.files] == [
        ("figure-1.png", PNG, "Revenue by month")
    ]
    assert receipt.files == {"figure-1.png": "delivered"} and len(receipt.handles) == 2


async def test_fourteen_files_two_of_one_name_one_too_large_one_not_ascii(bot: Bot) -> None:
    names = ["a/x.csv", "b/x.csv", "Umsätze.csv", "big.bin", *(f"{n}.csv" for n in range(10))]
    files = tuple(bot.store.add(name, b"x" * (60 * MIB) if name == "big.bin" else name.encode()) for name in names)
    thread, question = await asked(bot)
    receipt = await bot.show(question, card(question, "All of them.", files=files))
    messages = bot.fake.messages(thread)[2:]
    assert [len(message.files) for message in messages] == [10, 3, 0]
    assert [file.name for message in messages for file in message.files][:3] == ["x.csv", "x-2.csv", "Ums_tze.csv"]
    assert messages[0].files[2].alt == "Umsätze.csv"
    assert messages[2].text == "big.bin (63 MB) could not be posted here: the limit here is 21 MB."
    assert receipt.files == {name: "fallback" if name == "big.bin" else "delivered" for name in names}
    assert all(call.status == 200 for call in calls(bot, SEND))


async def test_bodies_stay_under_what_one_request_may_have(bot: Bot) -> None:
    files = tuple(bot.store.add(f"{n}.bin", bytes([n]) * (9 * MIB)) for n in range(3))
    thread, question = await asked(bot)
    await bot.show(question, card(question, "Large.", files=files))
    assert [len(message.files) for message in bot.fake.messages(thread)[2:]] == [2, 1]


async def test_a_smaller_limit_is_learnt_and_siblings_arrive(bot: Bot) -> None:
    bot.fake.rest.upload_limit = 10 * MIB
    small, large = bot.store.add("small.csv", b"1"), bot.store.add("large.bin", b"x" * (11 * MIB))
    thread, question = await asked(bot)
    receipt = await bot.show(question, card(question, "Two.", files=(small, large)))
    assert receipt.files == {"small.csv": "delivered", "large.bin": "fallback"}
    assert "large.bin (12 MB) could not be posted here" in bot.fake.messages(thread)[-1].text
    count = len(calls(bot, SEND))
    await bot.fake.ask("again", thread=thread)
    again = await bot.inbox.question(2)
    await bot.show(again, card(again, "Again.", files=(large,)))
    assert [call.status for call in calls(bot, SEND)][count:] == [200, 200]
    assert "the limit here is 10 MB" in bot.fake.messages(thread)[-1].text


async def test_files_that_may_not_be_attached_or_are_lost_are_named(bot: Bot) -> None:
    await bot.fake.deny("general", "attach_files")
    thread, question = await asked(bot)
    kept, lost = bot.store.add("kept.csv", b"1"), bot.store.add("lost.csv", b"2")
    del bot.store.contents[lost.blob.digest]
    receipt = await bot.show(question, card(question, "Text.", files=(kept,)))
    assert receipt.files == {"kept.csv": "fallback"}
    assert "I may not attach files here" in bot.fake.messages(thread)[-1].text
    receipt = await bot.show(question, card(question, "Text.", files=(kept, lost)))
    assert "lost.csv" in bot.fake.messages(thread)[-1].text and receipt.files["lost.csv"] == "fallback"


# --- Faults -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        {"status": 503},
        {"status": 503, "times": 2},
        {"status": 502},
        {"status": 429},
        {"abort": True},
        {"abort": True, "after": True},
        {"status": 503, "after": True},
    ],
)
async def test_a_fault_neither_loses_nor_doubles_an_answer(bot: Bot, how: dict[str, int]) -> None:
    thread, question = await asked(bot)
    bot.fake.fail(SEND, **how)  # type: ignore[arg-type]
    await bot.show(question, working(question))
    bot.fake.fail(EDIT, **how)  # type: ignore[arg-type]
    file = bot.store.add("a.csv", b"1")
    await bot.show(question, card(question, "Once.", files=(file,)))
    assert [(m.text, len(m.files)) for m in bot.fake.messages(thread)[1:]] == [("Once.", 0), ("", 1)]


async def test_a_fault_while_files_go_out_neither_loses_nor_doubles_them(bot: Bot) -> None:
    thread, question = await asked(bot)
    await bot.show(question, working(question))
    bot.fake.fail(SEND, abort=True, after=True)
    await bot.show(question, card(question, "Once.", files=(bot.store.add("a.csv", b"123"),)))
    assert [(m.text, [f.content for f in m.files]) for m in bot.fake.messages(thread)[1:]] == [("Once.", []), ("", [b"123"])]


async def test_an_answer_that_cannot_be_sent_raises_and_the_next_try_is_whole(bot: Bot) -> None:
    thread, question = await asked(bot)
    files = (bot.store.add("a.csv", b"1"), *(bot.store.add(f"{n}.csv", b"2") for n in range(10)))
    await bot.show(question, working(question))
    await bot.fake.until(thread, lambda messages: len(messages) == 2)
    bot.fake.fail(SEND, status=429, via=False, times=0)
    bot.fake.rest.failures[-1].times = 1
    with pytest.raises(Exception, match="429"):
        await bot.show(question, card(question, "Whole.", files=files))
    await bot.show(question, card(question, "Whole.", files=files))
    assert [(m.text, len(m.files)) for m in bot.fake.messages(thread)[1:]] == [("Whole.", 0), ("", 10), ("", 1)]


async def test_a_full_bucket_is_waited_for(bot: Bot) -> None:
    bot.fake.rest.rate = (2, 0.5)
    thread, question = await asked(bot)
    await bot.show(question, card(question, "word " * 2000))
    assert len(bot.fake.messages(thread)) == 7


# --- Restarts ---------------------------------------------------------------------------------------------------------------


async def test_the_receipt_goes_on_after_a_restart(fake: FakeDiscord) -> None:
    async with bot_on(fake) as bot:
        thread, question = await asked(bot)
        receipt = await bot.show(question, working(question))
    async with bot_on(fake, bot.inbox, bot.store) as again:
        stored = Receipt(tuple(receipt.handles), dict(receipt.files), dict(receipt.data))
        await again.chat.show(question.thread, card(question, "After."), stored)
    assert [m.text for m in fake.messages(thread)][1:] == ["After."]


@pytest.mark.parametrize("nonces", [True, False], ids=["within minutes", "later"])
async def test_a_show_cut_off_by_a_crash_is_not_repeated(fake: FakeDiscord, nonces: bool) -> None:
    """The receipt of neither call was kept: only what was journalled before them is known."""
    async with bot_on(fake) as bot:
        thread, question = await asked(bot)
        placed = await bot.chat.show(question.thread, working(question), None)
        long, file = "word " * 700, bot.store.add("a.csv", b"1")
        large = bot.store.add("large.bin", b"x" * (21 * MIB))
    for final in (False, True):
        if not nonces:
            fake.rest._nonces.clear()
        async with bot_on(fake, bot.inbox, bot.store) as again:
            shown = working(question) if not final else card(question, long, files=(file, large))
            receipt = await again.chat.show(question.thread, shown, placed if final else Receipt())
    count = len(fake.messages(thread))
    if not nonces:
        fake.rest._nonces.clear()
    async with bot_on(fake, bot.inbox, bot.store) as again:
        repeated = await again.chat.show(question.thread, card(question, long, files=(file, large)), placed)
    assert count == 5 and len(fake.messages(thread)) == 5
    assert (set(repeated.handles), repeated.files) == (set(receipt.handles), receipt.files)


async def test_a_final_card_shown_again_changes_nothing(bot: Bot) -> None:
    thread, question = await asked(bot)
    final = card(question, "word " * 700, files=(bot.store.add("a.csv", b"1"),))
    first = await bot.show(question, final)
    before = bot.fake.transcript(thread)
    assert await bot.show(question, final) == first and bot.fake.transcript(thread) == before


async def test_two_turns_in_one_thread_have_messages_of_their_own(bot: Bot) -> None:
    thread, one = await asked(bot, "one")
    await bot.show(one, working(one))
    await bot.fake.ask("two", thread=thread, user="bob")
    two = await bot.inbox.question(2)
    await asyncio.gather(bot.show(two, working(two)), bot.show(one, card(one, "One.")))
    await bot.show(two, card(two, "Two."))
    assert [m.text for m in bot.fake.messages(thread) if m.author == "cellmate"] == ["One.", "Two."]


@pytest.mark.parametrize("before", range(render.LIMIT - 12, render.LIMIT))
def test_no_cut_inside_a_word_makes_one_that_pings(before: int) -> None:
    parts = render.plain("x" * before + "@hereby" * 600)
    assert len(parts) > 2 and all(len(part) <= render.LIMIT for part in parts)
    assert not any(re.search(r"@(everyone|here)\b", part) for part in parts)
