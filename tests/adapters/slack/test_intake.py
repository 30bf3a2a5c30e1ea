"""What people do in Slack, as questions and actions."""

import asyncio
from dataclasses import replace

import pytest

from adapters.slack import connect
from bot.errors import ConfigError
from bot.types import Card, Receipt, ThreadRef
from tests.adapters.slack.conftest import PACE, Connect, Notes, Store, settings
from tests.fakes.slack import FakeSlack


@pytest.mark.parametrize("mention_first", [True, False])
async def test_a_mention_and_its_twin_are_one_question_with_its_files(
    desk: Connect, fake: FakeSlack, mention_first: bool
) -> None:
    fake.mention_first = mention_first
    async with desk() as at:
        thread = await fake.ask("plot it", files=[("sales.csv", b"a,b\n1,2\n")])
        question = await at.asked()
        assert (question.text, question.asker.id) == ("plot it", "U0ADA")
        assert [(file.name, file.size, file.media_type) for file in question.attachments] == [("sales.csv", 8, "text/csv")]
        assert question.thread == ThreadRef("slack", f"T0CELLMATE/{thread.channel}", thread.thread)
        assert question.keys[0] == f"slack:T0CELLMATE/{thread.channel}/{thread.thread}"
        assert not question.place.direct
        assert len(at.inbox.questions) == 1


async def test_a_mention_without_a_twin_is_a_question_too(desk: Connect, fake: FakeSlack) -> None:
    fake.mention_twin = False
    async with desk() as at:
        await fake.ask("plot it")
        assert (await at.asked()).text == "plot it"


async def test_nothing_is_acknowledged_before_it_is_accepted(desk: Connect, fake: FakeSlack) -> None:
    notes = Notes(gate=asyncio.Event())
    async with desk(notes) as at:
        await fake.ask("hello", direct=True)
        await at.wait(lambda: bool(fake.of("agents.sessions.setStatus")))
        await asyncio.sleep(0.3)
        assert [one.answer for one in fake.envelopes] == [None]
        assert notes.gate is not None
        notes.gate.set()
        await fake.acknowledged()
        assert len(notes.questions) == 1


async def test_what_could_not_be_accepted_is_not_acknowledged_and_comes_again(desk: Connect, fake: FakeSlack) -> None:
    async with desk(Notes(broken=1)) as at:
        await fake.ask("hello", direct=True)
        await at.wait(lambda: at.inbox.broken == 0)
        assert fake.envelopes[0].answer is None
        await fake.drop()
        assert (await at.asked()).text == "hello"
    assert fake.envelopes[0].attempt >= 1


async def test_a_redelivery_and_a_second_send_are_no_second_question(desk: Connect, fake: FakeSlack) -> None:
    async with desk() as at:
        thread, question = await at.begin()
        await fake.redeliver()
        await fake.acknowledged()
        again = dict(fake.posts(thread)[0].event) | {"ts": "1795999999.000001", "event_ts": "1795999999.000001"}
        fake.world.posts.append(type(fake.posts(thread)[0])(thread.channel, again["ts"], question.asker.id, event=again))
        await fake.event(again)
        await fake.acknowledged()
        assert at.inbox.questions == [question]
        await at.wait(lambda: fake.world.statuses[thread.channel, again["ts"]][-1] == "sessions:active")


async def test_a_redelivery_that_was_never_seen_is_a_question(desk: Connect, fake: FakeSlack) -> None:
    await fake.ask("are you there?", direct=True)
    async with desk() as at:
        assert (await at.asked()).text == "are you there?"


async def test_the_sign_comes_before_the_twin_is_waited_for(desk: Connect, fake: FakeSlack) -> None:
    fake.mention_first, fake.twin_gap = True, 0.5
    async with desk() as at:
        asking = asyncio.create_task(fake.ask("hello"))
        await at.wait(lambda: bool(fake.of("agents.sessions.setStatus")))
        assert not at.inbox.questions and len(fake.envelopes) == 1
        await asking
        await at.asked()
        assert len(fake.of("agents.sessions.setStatus")) == 1


@pytest.mark.parametrize(
    ("refused", "sign"),
    [
        ([], "agents.sessions.setStatus"),
        (["agents.sessions.setStatus"], "assistant.threads.setStatus"),
        (["agents.sessions.setStatus", "assistant.threads.setStatus"], "reactions.add"),
    ],
)
async def test_the_sign_steps_down_to_what_slack_allows(desk: Connect, fake: FakeSlack, refused: list[str], sign: str) -> None:
    for method in refused:
        fake.fail(method, "not_authorized", times=-1)
    async with desk() as at:
        await at.begin()
        await at.begin()
        assert len(fake.of(sign)) == 2
        assert [len([call for call in fake.calls if call.method == method]) for method in refused] == [1] * len(refused)


async def test_direct_messages_need_no_mention_and_answer_in_their_thread(desk: Connect, fake: FakeSlack) -> None:
    async with desk() as at:
        thread, question = await at.begin(direct=True)
        assert question.place.direct and question.thread.thread == thread.thread
        await fake.ask("and now?", thread=thread)
        assert (await at.asked(2)).thread == question.thread


async def test_an_engaged_thread_follows_its_asker_and_no_other(desk: Connect, fake: FakeSlack) -> None:
    async with desk() as at:
        thread, question = await at.begin()
        await fake.ask("and by month?", thread=thread, mention=False)
        assert (await at.asked(2)).thread == question.thread
        await fake.ask("I think it is fine", thread=thread, mention=False, user="bob")
        await fake.ask("@bob, what do you say?", thread=thread, mention=False)
        await fake.ask("what do others say?", mention=False)
        await fake.acknowledged()
        assert len(at.inbox.questions) == 2
        await fake.ask("show it as bars", thread=thread, user="bob")
        assert (await at.asked(3)).asker.id == "U0BOB"


async def test_after_a_restart_the_one_who_began_the_thread_is_followed(desk: Connect, fake: FakeSlack) -> None:
    async with desk() as at:
        thread, _ = await at.begin()
        notes = at.inbox
    async with desk(notes) as at:
        await fake.ask("and by month?", thread=thread, mention=False)
        assert (await at.asked(2)).text == "and by month?"


async def test_bots_and_ourselves_are_not_asked(desk: Connect, fake: FakeSlack) -> None:
    async with desk() as at:
        thread, _ = await at.begin(direct=True)
        base = {"type": "message", "channel": thread.channel, "channel_type": "im", "thread_ts": thread.thread, "text": "hi"}
        await fake.event({**base, "user": "U0CELLMATE", "ts": "1795999999.000001"})
        await fake.event({**base, "user": "U0OTHERBOT", "bot_id": "B0OTHER", "ts": "1795999999.000002"})
        await fake.event({**base, "user": "USLACKBOT", "ts": "1795999999.000003"})
        await fake.event({**base, "subtype": "bot_message", "bot_id": "B0OTHER", "ts": "1795999999.000004"})
        await fake.event({**base, "subtype": "channel_topic", "user": "U0ADA", "ts": "1795999999.000005"})
        await fake.event({"type": "something_new", "user": "U0ADA"})
        await fake.acknowledged()
        assert len(at.inbox.questions) == 1


async def test_a_stranger_from_another_organisation_is_named_as_one(desk: Connect, fake: FakeSlack) -> None:
    fake.world.external.add("eve")
    async with desk() as at:
        await fake.ask("hello", user="eve")
        assert (await at.asked()).asker.external
        await fake.ask("hello", user="ada")
        assert not (await at.asked(2)).asker.external


async def test_text_is_what_was_written(desk: Connect, fake: FakeSlack) -> None:
    async with desk() as at:
        await fake.ask("is `a < b && c`?\n```\nif a < b:\n    print('<@U1> & co')\n```")
        text = (await at.asked()).text
        assert text == "is `a < b && c`?\n```\nif a < b:\n    print('<@U1> & co')\n```"


async def test_text_without_blocks_is_unescaped(desk: Connect, fake: FakeSlack) -> None:
    async with desk() as at:
        await fake.event(
            {
                "type": "message",
                "channel": fake.world.direct("ada"),
                "channel_type": "im",
                "user": fake.world.person("ada"),
                "ts": "1795999999.000001",
                "text": "see <https://example.org|the page> in <#C1|data>: ```print(1 &lt; 2)``` <!here>",
            }
        )
        await at.wait(lambda: bool(at.inbox.questions))
        assert at.inbox.questions[0].text == ("see the page (https://example.org) in #data: \n```\nprint(1 < 2)\n```\n @here")
        fake.allow("agents.sessions.setStatus: thread_not_found")


async def test_pasted_tables_and_forwarded_files_are_attachments(desk: Connect, fake: FakeSlack) -> None:
    async with desk() as at:
        thread = await fake.ask("", direct=True, files=[("own.txt", b"own")])
        await at.asked()
        cell = {"type": "raw_text", "text": "x,1"}
        rich = {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [{"type": "text", "text": "y"}]}]}
        forwarded = {"id": "F9", "name": "old.pdf", "size": 5, "mimetype": "application/pdf", "mode": "hosted"}
        gone = {"id": "F8", "mode": "tombstone"}
        await fake.event(
            dict(fake.posts(thread)[0].event)
            | {
                "client_msg_id": "other",
                "ts": "1795999999.000001",
                "thread_ts": thread.thread,
                "text": "sum them",
                "blocks": [],
                "files": [gone],
                "attachments": [
                    {"is_share": True, "files": [forwarded]},
                    {"blocks": [{"type": "table", "rows": [[cell, rich]]}]},
                ],
            }
        )
        question = await at.asked(2)
        assert [file.name for file in question.attachments] == ["old.pdf", "pasted-table.csv"]
        assert b"".join([chunk async for chunk in at.chat.fetch(question.attachments[1])]) == b'"x,1",y\n'


async def test_an_edit_amends_and_an_unfurl_does_not(desk: Connect, fake: FakeSlack) -> None:
    async with desk() as at:
        thread, question = await at.begin("plot it")
        await fake.unfurl(thread)
        await fake.acknowledged()
        assert not at.inbox.amended
        await fake.edit(thread, "plot it by month")
        await at.wait(lambda: bool(at.inbox.amended))
        (amended,) = at.inbox.amended
        assert (amended.text, amended.follows, amended.thread) == ("plot it by month", question.id, question.thread)
        assert (amended.id, amended.keys[0]) == (question.id, question.keys[0])
        await at.chat.show(question.thread, Card(question.id, 1, "done", text="Plotted."), None)
        at.inbox.too_late = Card(question.id, 1, "done", audience="asker", text="Too late.")
        await fake.edit(thread, "plot it by week")
        await at.wait(lambda: len(fake.messages(thread)) == 3)
        assert [(message.only_for, message.text) for message in fake.messages(thread)[1:]] == [
            (None, "Plotted."),
            ("ada", "Too late."),
        ]


async def test_an_edit_that_overtakes_the_acceptance_waits_for_it(desk: Connect, fake: FakeSlack) -> None:
    notes = Notes(gate=asyncio.Event())
    async with desk(notes) as at:
        thread = await fake.ask("plot it")
        await fake.edit(thread, "plot it by month")
        await asyncio.sleep(0.2)
        assert notes.gate is not None
        notes.gate.set()
        await at.wait(lambda: bool(notes.amended))
        assert notes.amended[0].text == "plot it by month"


async def test_taking_the_question_back_stops_it(desk: Connect, fake: FakeSlack) -> None:
    async with desk() as at:
        thread, question = await at.begin()
        await fake.delete(thread)
        await at.wait(lambda: bool(at.inbox.actions))
        assert (at.inbox.actions[0].name, at.inbox.actions[0].turn) == ("stop", question.id)


async def test_words_are_commands_where_cellmate_is_spoken_to(desk: Connect, fake: FakeSlack) -> None:
    async with desk() as at:
        thread, question = await at.begin()
        at.inbox.answer = Card("t", 1, "done", audience="asker", text="Stopped <!channel>.")
        await fake.ask("stop", thread=thread, mention=False, user="bob")
        await fake.ask("Stop it, please", thread=thread, mention=False, user="bob")
        await at.wait(lambda: bool(at.inbox.actions))
        await fake.acknowledged()
        (action,) = at.inbox.actions
        assert (action.name, action.thread, action.asker.id) == ("stop", question.thread, "U0BOB")
        shown = (await fake.until(thread, lambda messages: messages[-1].only_for == "bob"))[-1]
        assert "Stopped" in shown.text and not shown.notified


async def test_a_bare_mention_asks_for_help(desk: Connect, fake: FakeSlack) -> None:
    async with desk() as at:
        await fake.ask("")
        await at.wait(lambda: bool(at.inbox.actions))
        await fake.acknowledged()
        assert [action.name for action in at.inbox.actions] == ["help"] and not at.inbox.questions


async def test_reactions_on_question_and_answer_stop(desk: Connect, fake: FakeSlack) -> None:
    async with desk() as at:
        thread, question = await at.begin()
        receipt = await at.chat.show(question.thread, Card(question.id, 1, "working", actions=("stop",)), None)
        at.inbox.shown(question, receipt)
        await fake.react(thread, "eyes")
        await fake.react(thread, "octagonal_sign::skin-tone-2")
        await fake.react(thread, "x", message=fake.posts(thread)[-1].ts, user="bob")
        await fake.acknowledged()
        assert sorted((a.name, a.turn, a.asker.id) for a in at.inbox.actions) == [
            ("stop", question.id, "U0ADA"),
            ("stop", question.id, "U0BOB"),
        ]


async def test_slacks_own_stop_button(desk: Connect, fake: FakeSlack) -> None:
    async with desk() as at:
        thread, question = await at.begin()
        card = Card(question.id, 1, "working", text="so far so good ", actions=("stop",))
        receipt = await at.chat.show(question.thread, card, None)
        at.inbox.shown(question, receipt)
        await fake.press(thread, "Stop")
        await at.wait(lambda: bool(at.inbox.actions))
        assert (at.inbox.actions[0].name, at.inbox.actions[0].turn) == ("stop", question.id)
        late = await at.chat.show(question.thread, Card(question.id, 2, "working", text="so far so good and more "), receipt)
        await at.chat.show(question.thread, Card(question.id, 3, "stopped", text="so far so good and more\n\nStopped."), late)
        texts = [message.text for message in fake.messages(thread)]
        assert len(texts) == 3 and texts[1].endswith("so far so good") and texts[2].strip() == "and more\n\nStopped."


async def test_our_own_stop_button_where_slack_has_none(desk: Connect, fake: FakeSlack) -> None:
    fake.fail("agents.sessions.setStatus", "not_authorized", times=-1)
    async with desk() as at:
        thread, question = await at.begin()
        await at.chat.show(question.thread, Card(question.id, 1, "working", actions=("stop",)), None)
        await fake.press(thread, "Stop", user="bob")
        await fake.acknowledged()
        (action,) = at.inbox.actions
        assert (action.name, action.turn, action.thread, action.asker.id) == ("stop", question.id, question.thread, "U0BOB")


async def test_the_slash_command_answers_its_asker_alone(desk: Connect, fake: FakeSlack) -> None:
    async with desk() as at:
        at.inbox.answer = Card("t", 1, "done", audience="asker", text="I run Python.")
        envelope = await fake.slash("help")
        await fake.acknowledged()
        assert envelope.answer is not None
        assert (envelope.answer["response_type"], envelope.answer["text"]) == ("ephemeral", "I run Python.")
        assert at.inbox.actions[0].name == "help" and at.inbox.actions[0].thread is None


async def test_connections_are_renewed_and_what_was_lost_comes_again(desk: Connect, fake: FakeSlack) -> None:
    async with desk() as at:
        await fake.refresh()
        await fake.ask("one", direct=True)
        await at.asked(1)
        await fake.drop()
        await fake.ask("two", direct=True)
        assert (await at.asked(2)).text == "two"
        assert len(fake.of("apps.connections.open")) >= 3


async def test_an_address_that_has_expired_is_replaced(desk: Connect, fake: FakeSlack) -> None:
    async with desk(pace=replace(PACE, check=0.2)) as at:
        before = len(fake.of("apps.connections.open"))
        fake.fail("apps.connections.open", "internal_error", times=2)
        fake.expire()
        await fake.drop()
        await fake.ask("still there?", direct=True)
        assert (await at.asked()).text == "still there?"
        assert len(fake.of("apps.connections.open")) > before


async def test_tokens_that_are_revoked_end_it_with_one_line(fake: FakeSlack, store: Store) -> None:
    async with connect(settings(fake), store, replace(PACE, check=0.05)) as chat:
        listening = asyncio.create_task(chat.listen(Notes()))
        await fake.connected()
        fake.fail("auth.test", "token_revoked", times=-1)
        fake.fail("apps.connections.open", "invalid_auth", times=-1)
        fake.expire()
        await fake.drop()
        with pytest.raises(ConfigError, match=r"^Slack refused SLACK_BOT_TOKEN \(token_revoked\)"):
            await listening


async def test_context_is_what_others_said(desk: Connect, fake: FakeSlack) -> None:
    async with desk() as at:
        thread = await fake.ask("sales fell in May", mention=False, user="bob")
        await fake.ask("why?", thread=thread)
        question = await at.asked()
        assert list(await at.chat.context(question)) == ["Bob: sales fell in May"]
        receipt = await at.chat.show(question.thread, Card(question.id, 1, "done", text="Because."), Receipt())
        assert receipt.handles
        fake.fail("conversations.replies", "missing_scope", times=-1)
        assert list(await at.chat.context(question)) == []
