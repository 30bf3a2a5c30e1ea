"""The model's port against a server that refuses what real servers refuse, and that fails in all the ways real ones do."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.agent import report
from bot.errors import ModelError
from bot.mending import FILES_MARK, mended
from bot.models import failures, transcript
from bot.models.chat_completions import ChatCompletions, Mode, connect
from bot.models.transcript import Draft, fit, messages
from bot.types import Called, CellError, Delta, Item, Reply, Returned, Said
from tests.fakes.model import KEY, Answer, Code, Fault, ScriptedModel, Text, ToolCalls, misuse

ASKED = [Said("user", "plot it")]
LONG = "The quick brown fox jumps over the lazy dog, again and again, until the evening comes."


@asynccontextmanager
async def client(server: ScriptedModel, mode: Mode = "auto", key: str = KEY, **more: Any) -> AsyncIterator[ChatCompletions]:
    settings = {"patience": 5.0, "stall": 5.0, **more}
    base = server.env["OPENAI_BASE_URL"]
    async with connect(api_key=key, base_url=base, model="scripted", mode=mode, report=report, **settings) as model:
        yield model


async def whole(model: ChatCompletions, items: Sequence[Item] = ASKED) -> tuple[list[str], Reply]:
    """The deltas' texts and the one reply. Each delta extends the one before it: nothing is shown twice or taken back."""
    parts = [part async for part in model.stream(items)]
    deltas = [part.text for part in parts[:-1] if isinstance(part, Delta)]
    assert len(deltas) == len(parts) - 1 and isinstance(parts[-1], Reply)
    for before, after in pairwise(deltas):
        assert after.startswith(before) and len(after) > len(before)
    return deltas, parts[-1]


async def answers(*script: Answer, mode: Mode = "auto", items: Sequence[Item] = ASKED, **more: Any) -> tuple[list[str], Reply]:
    async with ScriptedModel() as server, client(server, mode, **more) as model:
        server.reply(*script)
        return await whole(model, items)


# --- Answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["auto", "tool", "fenced"])
async def test_text_streams_and_is_the_reply(mode: Mode) -> None:
    deltas, reply = await answers(LONG, mode=mode)
    assert len(deltas) > 3 and deltas[-1] == LONG
    assert reply.items == (Said("assistant", LONG),)


@pytest.mark.parametrize("mode", ["auto", "tool", "fenced"])
async def test_code_is_a_call_and_never_a_delta(mode: Mode) -> None:
    code = "import math\nprint('a \"quoted\" line')\nmath.pi"
    deltas, reply = await answers(Code(code, "Let me see."), mode=mode)
    (call,) = reply.items
    assert isinstance(call, Called)
    assert (call.code or "").rstrip() == code and call.text == "Let me see."
    assert all("math" not in text for text in deltas)


async def test_calls_made_at_once_keep_their_order_and_get_ids_of_our_own() -> None:
    _, reply = await answers(ToolCalls(['{"code": "1"}', '{"code": "2"}', '{"code": "3"}'], "three"))
    calls = [call for call in reply.items if isinstance(call, Called)]
    assert [(call.code, call.text) for call in calls] == [("1", "three"), ("2", ""), ("3", "")]
    assert len({call.id for call in calls}) == 3 and all(len(call.id) == 12 for call in calls)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ('{"code": "print(1)"}', "print(1)"),
        ('{"code": "a\nb"}', "a\nb"),
        ('"print(1)"', "print(1)"),
        ("print(1)", "print(1)"),
        ('{"code": "\\ud83d\\ude00 \\ud83d"}', "\U0001f600 �"),
        ('{"code": "print(', None),
        ('{"code": 7}', None),
        ('{"cmd": "ls"}', None),
        ("[1]", None),
        ("", None),
        ("{" * 10_000, None),
        ("[" * 100_000, None),
    ],
)
async def test_arguments_are_read_or_the_call_is_malformed(arguments: str, code: str | None) -> None:
    _, reply = await answers(ToolCalls([arguments]))
    (call,) = reply.items
    assert isinstance(call, Called) and call.code == code


async def test_a_call_cut_by_the_token_limit_is_malformed_even_if_it_parses() -> None:
    _, reply = await answers(ToolCalls(['{"code": "1"}', '{"code": "2"}'], finish="length"))
    assert [call.code for call in reply.items if isinstance(call, Called)] == ["1", None]


async def test_text_cut_by_the_token_limit_says_so() -> None:
    _, reply = await answers(Text(LONG, finish="length"))
    (said,) = reply.items
    assert said.text.startswith(LONG) and "cut off" in said.text


async def test_thoughts_are_not_shown() -> None:
    deltas, reply = await answers(f"<think>\nWhat is a fox? It is an animal.\n</think>\n\n{LONG}")
    assert reply.items == (Said("assistant", LONG),)
    assert all(LONG.startswith(text) for text in deltas)


# --- Which mode -----------------------------------------------------------------------------------------------------


async def test_auto_goes_over_to_fenced_for_good_where_tools_are_refused() -> None:
    async with ScriptedModel(tools="refuse") as server, client(server) as model:
        server.reply(Code("1"), Code("2"))
        for code in ("1", "2"):
            _, reply = await whole(model)
            (call,) = reply.items
            assert isinstance(call, Called) and (call.code or "").strip() == code
        assert ["tools" in request for request in server.requests] == [True, False, False]


async def test_two_questions_at_once_both_survive_the_change_of_mode() -> None:
    async with ScriptedModel(tools="refuse") as server, client(server) as model:
        server.reply(Code("1"), Code("1"))
        for _, reply in await asyncio.gather(whole(model), whole(model)):
            assert isinstance(reply.items[0], Called)


async def test_auto_goes_over_to_fenced_where_tools_are_ignored() -> None:
    async with ScriptedModel(tools="ignore") as server, client(server) as model:
        server.reply(Code("1", "Let me see."), "It is one.")
        _, reply = await whole(model)
        (call,) = reply.items
        assert isinstance(call, Called) and (call.code, call.text) == ("1\n", "Let me see.")
        await whole(model, [*ASKED, call, Returned(call.id, result="1")])
        assert ["tools" in request for request in server.requests] == [True, False]


async def test_code_shown_in_an_answer_is_not_run_where_tools_are_used() -> None:
    shown = "So it is done:\n\n```python\nprint(1)\n```"
    async with ScriptedModel() as server, client(server) as model:
        server.reply(Code("1"), shown, f"{shown}\n\nThat is all.")
        await whole(model)
        assert (await whole(model))[1].items == (Said("assistant", shown),)


async def test_tool_mode_that_is_refused_says_what_to_set() -> None:
    async with ScriptedModel(tools="refuse") as server, client(server, "tool") as model:
        with pytest.raises(ModelError, match="CELLMATE_MODEL_MODE=fenced"):
            await whole(model)


@pytest.mark.parametrize(
    "message",
    [
        "registry.ollama.ai/library/x:latest does not support tools",
        '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
        "No endpoints found that support tool use",
        "tools param requires --jinja flag",
        "Unrecognized request argument supplied: tools",
        "This model does not support function calling",
    ],
)
async def test_servers_say_in_many_ways_that_they_know_no_tools(message: str) -> None:
    async with ScriptedModel() as server, client(server) as model:
        server.reply(Fault.status(400, message), "plain")
        assert (await whole(model))[1].items == (Said("assistant", "plain"),)
        assert "tools" not in server.requests[-1]


# --- Failures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["tool", "fenced"])
@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(429, Retry_After="0"),
        Fault.status(500),
        Fault.status(503),
        Fault.cut(LONG),
        Fault.corrupt(LONG),
        Fault.unfinished(LONG),
        Fault.unfinished(Code("print(1)"), after=1),
        Fault.cut(LONG, after=0),
        Text(""),
        Text("  \n "),
    ],
    ids=lambda fault: getattr(fault, "kind", "empty"),
)
async def test_one_failure_is_got_over_without_showing_anything_twice(fault: Fault | Text, mode: Mode) -> None:
    deltas, reply = await answers(fault, LONG, mode=mode)
    assert reply.items == (Said("assistant", LONG),)
    assert deltas[-1] == LONG


async def test_a_retry_that_says_something_else_takes_nothing_back() -> None:
    deltas, reply = await answers(Fault.cut("The quick brown fox jumps over", after=3), "Something else entirely, and longer.")
    assert deltas and all("The quick brown fox jumps over".startswith(text) for text in deltas)
    assert reply.items == (Said("assistant", "Something else entirely, and longer."),)


async def test_a_call_that_was_cut_off_is_asked_for_again() -> None:
    _, reply = await answers(Fault.cut(Code("print(1)", "Let me see."), after=5), Code("print(1)", "Let me see."))
    assert [call.code for call in reply.items if isinstance(call, Called)] == ["print(1)"]


async def test_a_stalled_stream_ends_and_is_tried_again() -> None:
    deltas, reply = await answers(Fault.stall(LONG, after=3), LONG, stall=0.3)
    assert reply.items == (Said("assistant", LONG),) and deltas[-1] == LONG


async def test_the_server_s_wish_to_wait_is_heeded() -> None:
    _, reply = await answers(Fault.status(429, Retry_After="2"), "thanks")  # the server counts it as misuse to come earlier
    assert reply.items == (Said("assistant", "thanks"),)


async def test_a_wish_to_wait_longer_than_patience_is_passed_on_at_once() -> None:
    async with ScriptedModel() as server, client(server) as model:
        server.reply(Fault.status(429, Retry_After="600"))
        with pytest.raises(ModelError, match="10 minutes"):
            await whole(model)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault.status(503), "problem of its own"),
        (Fault.cut(LONG), "cut off"),
        (Fault.corrupt(LONG), "cut off"),
        (Fault.unfinished(LONG), "cut off"),
        (Fault.status(429), "busy"),
    ],
    ids=lambda value: getattr(value, "kind", value),
)
async def test_patience_ends_with_a_sentence(fault: Fault, words: str) -> None:
    async with ScriptedModel() as server, client(server, patience=1.0) as model:
        server.reply(*[fault] * 50)
        with pytest.raises(ModelError, match=words):
            await whole(model)
        assert 1 < len(server.requests) < 10


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault.status(401, f"Incorrect API key provided: {KEY}"), "OPENAI_API_KEY"),
        (Fault.status(403, KEY), "OPENAI_API_KEY and CELLMATE_MODEL_NAME"),
        (Fault.status(404, "The model does not exist", type="model_not_found"), "CELLMATE_MODEL_NAME and OPENAI_BASE_URL"),
        (Fault.status(429, "You exceeded your quota", type="insufficient_quota"), "quota"),
        (Fault.status(400, f"something about {KEY}"), "refused the request"),
    ],
    ids=lambda value: str(getattr(value, "code", value)),
)
async def test_what_cannot_get_better_is_not_tried_again(fault: Fault, words: str) -> None:
    async with ScriptedModel() as server, client(server) as model:
        server.reply(fault)
        with pytest.raises(ModelError, match=words) as failed:
            await whole(model)
        assert len(server.requests) == 1
        assert KEY not in str(failed.value) and "\n" not in str(failed.value)


async def test_a_wrong_key_is_not_repeated() -> None:
    async with ScriptedModel() as server, client(server, key="sk-wrong-42") as model:
        with pytest.raises(ModelError, match="OPENAI_API_KEY") as failed:
            await whole(model)
        assert "sk-wrong-42" not in str(failed.value)


async def test_a_server_that_is_not_there() -> None:
    async with ScriptedModel() as server:
        pass
    async with client(server, patience=1.0) as model:
        with pytest.raises(ModelError, match="OPENAI_BASE_URL"):
            await whole(model)


async def test_two_empty_answers_are_an_error() -> None:
    async with ScriptedModel() as server, client(server) as model:
        server.reply("", " \n", "never asked for")
        with pytest.raises(ModelError, match="empty answer"):
            await whole(model)
        assert len(server.requests) == 2


async def test_leaving_early_ends_the_request() -> None:
    async with ScriptedModel(pace=50) as server, client(server) as model:
        server.reply(LONG * 100, "next")
        async with aclosing(model.stream(ASKED)) as stream:
            assert isinstance(await anext(stream), Delta)
        assert (await whole(model))[1].items == (Said("assistant", "next"),)


async def test_a_conversation_that_is_too_long_is_shortened_until_it_fits() -> None:
    items: list[Item] = []
    for n in range(10):
        items += [Said("user", f"question {n} " + "x" * 1000), Said("assistant", "y" * 1000)]
    items.append(Said("user", "the last question"))
    async with ScriptedModel() as server, client(server) as model:
        too_long = Fault.status(400, "This model's maximum context length is 8192 tokens", type="context_length_exceeded")
        server.reply(too_long, too_long, "fine", "fine again")
        for _ in range(2):
            assert (await whole(model, items))[1].items[0].text.startswith("fine")
        sizes = [len(str(request["messages"])) for request in server.requests]
        assert sizes[0] > sizes[1] > sizes[2] == sizes[3]
        assert all(request["messages"][-1]["content"].endswith("the last question") for request in server.requests)
        server.reply(too_long)
        with pytest.raises(ModelError, match="new thread"):
            await whole(model, ASKED)


# --- The transcript -------------------------------------------------------------------------------------------------


async def test_a_whole_conversation_is_sent_back_as_servers_want_it() -> None:
    items: list[Item] = [
        Said("user", "first"),
        Said("note", "Files in the workspace:\na.csv"),
        Called("aaa", None, "Let me see."),
        Called("bbb", "1/0"),
        Said("note", "the bot restarted"),
        Returned("aaa", error=CellError("BadArguments", "The arguments could not be read.")),
        Returned("bbb", error=CellError("ZeroDivisionError", "division by zero")),
        Said("assistant", "It cannot be."),
        Called("question.1", "print('by a person')"),
        Returned("question.1", stdout="by a person\n"),
        Called("lost", "1"),
        Said("user", ""),
    ]
    modes: tuple[Mode, ...] = ("tool", "fenced")
    for mode in modes:
        async with ScriptedModel() as server, client(server, mode) as model:
            server.reply("fine")
            await whole(model, items)
            sent = server.requests[-1]["messages"]
    roles = [message["role"] for message in messages(items, "system", report, fenced=False)]
    assert roles == ["system", "user", "assistant", "tool", "tool", "user", "assistant", "tool", "assistant", "tool", "user"]
    assert [message["role"] for message in sent] == ["system", *["user", "assistant"] * 4, "user"]
    assert "The arguments could not be read." in str(sent) and "is not known" in str(sent)


READ = 'trips = pd.read_csv("trips.csv")\n'
TABLES = Said("note", f"{FILES_MARK}\n`trips`: 9 rows\nThe code that reads them:\n```python\n{READ}```")


async def test_a_reply_that_must_be_a_block_is_begun_for_a_server_that_goes_on_from_there() -> None:
    items: list[Item] = [Said("user", "how many?"), TABLES]
    async with ScriptedModel() as server, client(server, "fenced", lead=True) as model:
        server.reply(" count them\nprint(len(trips))\n```", " count them\nprint(len(trips))\n```", "Nine.")
        deltas, reply = await whole(model, items)
        (call,) = reply.items
        assert isinstance(call, Called) and call.code == f"{READ}# count them\nprint(len(trips))\n"
        assert deltas == [], "code is not shown as words"
        assert server.requests[-1]["messages"][-1] == {"role": "assistant", "content": f"```python\n{READ}#"}
        await whole(model, [*items, call, Returned(call.id, error=CellError("ValueError", "no"))])
        assert server.requests[-1]["messages"][-1] == {"role": "assistant", "content": "```python\n"}
        await whole(model, [*items, call, Returned(call.id, stdout="9")])
        assert server.requests[-1]["messages"][-1]["role"] == "user", "after an output it may answer"


def test_a_question_stands_behind_the_note_on_its_files() -> None:
    for fenced in (True, False):
        sent = messages([Said("user", "how many?"), TABLES, *BROKEN], "system", report, fenced=fenced)
        assert sent[1]["content"].startswith("[note]") and sent[1]["content"].endswith("how many?")


BROKEN: list[Item] = [Called("c", "len(trips)"), Returned("c", error=CellError("NameError", "name 'trips' is not defined"))]


def test_the_model_does_not_read_a_block_that_was_put_right_for_it() -> None:
    items: list[Item] = [Said("user", "how many?"), TABLES, *BROKEN]
    better = mended(items)
    assert better is not None
    sent = messages([*items, better, Returned(better.id, stdout="9")], "system", report, fenced=True)
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "user"]
    assert READ in sent[2]["content"] and "9" in sent[3]["content"] and "NameError" not in str(sent)


WORDS = st.text(st.characters(exclude_categories=()), max_size=30)  # halves of surrogate pairs included
ITEMS = st.lists(
    st.one_of(
        st.builds(Said, st.sampled_from(["user", "assistant", "note"]), WORDS),
        st.builds(Called, st.sampled_from("abcd"), st.none() | WORDS, WORDS),
        st.builds(Returned, st.sampled_from("abcd"), stdout=WORDS),
    ),
    max_size=15,
)


def _distinct(items: list[Item]) -> list[Item]:
    """Without a second call of an id, as in a journal."""
    seen: set[tuple[str, str]] = set()
    result = []
    for item in items:
        key = ("", "") if isinstance(item, Said) else (type(item).__name__, item.id)
        if key == ("", "") or key not in seen:
            result.append(item)
        seen.add(key)
    return result


@given(ITEMS.map(_distinct), st.booleans(), st.integers(0, 200))
def test_any_transcript_becomes_messages_that_servers_take(items: list[Item], fenced: bool, budget: int) -> None:
    asked = [*items, Said("user", "and now?")]
    sent = messages(fit(asked, budget, report), "system", report, fenced=fenced)
    assert misuse({"model": "m", "messages": sent}) is None
    json.dumps(sent, ensure_ascii=False).encode()


@given(ITEMS.map(_distinct), st.integers(0, 300))
def test_fit_keeps_the_newest_and_the_question_and_splits_no_pair(items: list[Item], budget: int) -> None:
    asked = [*items, Said("user", "and now?"), Called("z", "1"), Returned("z", result="1")]
    kept = fit(asked, budget, report)
    assert Said("user", "and now?") in kept
    calls = [item.id for item in kept if isinstance(item, Called)]
    assert calls == [item.id for item in kept if isinstance(item, Returned)] or sorted(calls) == sorted(
        item.id for item in kept if isinstance(item, Returned)
    )
    if kept[0] == transcript._LEFT_OUT:
        assert transcript.size(kept[1:], report) <= max(budget, len("and now?"))
        assert fit(kept, budget, report) == kept
    else:
        assert [item for item in kept if not isinstance(item, Returned)] == [i for i in asked if not isinstance(i, Returned)]


@pytest.mark.parametrize(
    ("text", "finish", "code"),
    [
        ("```python\n1\n```", "stop", "1\n"),
        ("```py\n1\n```\nwhich is one", "stop", "1\n"),
        ("First\n~~~python\n1\n~~~\n```python\n2\n```", "stop", "1\n"),
        ("````python\nprint('''\n```\n''', x)\n````", "stop", "print('''\n```\n''', x)\n"),
        ("```python\nx = f(1)\n```", "stop", "x = f(1)\nx\n"),
        ("```python\nx = f(1)\nprint(x)\n```", "stop", "x = f(1)\nprint(x)\n"),
        ("```python\nx[0] = f(1)\n```", "stop", "x[0] = f(1)\n"),
        ("Look:\n```\nx = f(1)\nprint(x)\n```", "stop", "x = f(1)\nprint(x)\n"),
        ("```python\n1", "stop", "1"),
        ("```python\n1", "length", None),
    ],
)
def test_the_first_block_of_a_fenced_reply_is_the_call(text: str, finish: str, code: str | None) -> None:
    reply = transcript.reply(Draft(text, finish=finish), fenced=True)
    assert reply is not None
    (call,) = reply.items
    assert isinstance(call, Called) and call.code == code


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ("320 rows (of 400) are left.", "320 rows (of 400) are left."),
        ('print("320 rows are left.")', "320 rows are left."),
        ("320 rows = f(1) and", None),
        ('print("rows")', None),
        ('print(f"{n} rows are left.")', None),
        ('n = f(1)\nprint("that was it")', None),
    ],
)
def test_a_block_of_words_is_the_answer(block: str, words: str | None) -> None:
    reply = transcript.reply(Draft(f"```python\n{block}\n```", finish="stop"), fenced=True)
    assert reply is not None
    (item,) = reply.items
    assert item == Said("assistant", words) if words else isinstance(item, Called)


@pytest.mark.parametrize("text", ["plain", "```json\n{}\n```", "```\nls\n```", "`python`"])
def test_other_blocks_are_text(text: str) -> None:
    reply = transcript.reply(Draft(text, finish="stop"), fenced=True)
    assert reply is not None and reply.items == (Said("assistant", text),)


def test_fragments_of_calls_find_each_other() -> None:
    draft = Draft(finish="tool_calls")
    for index, id, piece in (
        (0, "x", '{"co'),
        (1, "y", '{"code":'),
        (0, None, 'de": "1"}'),
        (1, "y", ' "2"}'),
        (0, "z", '{"code": "3"}'),
    ):
        draft.add_call(index, id, piece)
    reply = transcript.reply(draft, fenced=False)
    assert reply is not None
    assert [call.code for call in reply.items if isinstance(call, Called)] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("headers", "low", "high"),
    [
        ({"retry-after": "7"}, 7, 7),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5, 1.5),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0, 0),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, 1e9, 1e12),
        ({"retry-after": "-3"}, 0, 0),
    ],
)
def test_retry_after_is_read(headers: dict[str, str], low: float, high: float) -> None:
    after = failures.retry_after(headers)
    assert after is not None and low <= after <= high
    assert failures.retry_after({}) is None and failures.retry_after({"retry-after": "soon"}) is None


# --- The fake itself ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ([{"role": "user", "content": None}], "content must be a string"),
        ([{"role": "robot", "content": "x"}], "unknown role"),
        ([{"role": "tool", "tool_call_id": "a", "content": "x"}], "must answer a preceding call"),
        ([{"role": "assistant", "content": "", "tool_calls": [("a", "{")]}], "not JSON"),
        ([{"role": "assistant", "content": "", "tool_calls": [("a", "[]")]}], "not an object"),
        ([{"role": "assistant", "content": "", "tool_calls": [("a", "{}")]}], "without an answer"),
        ([{"role": "assistant", "content": "", "tool_calls": [("a", "{}")]}, {"role": "user", "content": "x"}], "right after"),
        ([{"role": "assistant", "content": "", "tool_calls": [("a", "{}"), ("a", "{}")]}], "two calls"),
        ([{"role": "assistant", "content": ""}], "empty message"),
        ([], "at least one message"),
    ],
)
def test_the_fake_refuses_what_real_servers_refuse(bad: list[dict[str, Any]], words: str) -> None:
    for message in bad:
        if "tool_calls" in message:
            calls = [
                {"id": i, "type": "function", "function": {"name": "python", "arguments": a}} for i, a in message["tool_calls"]
            ]
            message["tool_calls"] = calls
    assert words in (misuse({"model": "m", "messages": bad}) or "")


async def test_the_fake_fails_its_test_for_misuse_and_for_what_nobody_scripted() -> None:
    with pytest.raises(AssertionError, match="nothing is scripted for 'plot it'"):
        async with ScriptedModel() as server, client(server) as model:
            with pytest.raises(ModelError):
                await whole(model)
    async with ScriptedModel() as server, client(server) as model:
        server.allow("nothing is scripted")
        with pytest.raises(ModelError):
            await whole(model)


async def test_a_script_is_followed_by_the_conversation_not_by_the_count_of_requests() -> None:
    async with ScriptedModel() as server, client(server) as model:
        server.on("plot it", Fault.status(500), Code("first"), Code("second"), server.echo)
        server.when(lambda sent: "someone else" in sent[-1]["content"], "hello, someone else")
        items: list[Item] = list(ASKED)
        for code in ("first", "second"):
            for _ in range(2):  # asked twice, as after a crash: answered alike
                _, reply = await whole(model, items)
                assert [call.code for call in reply.items if isinstance(call, Called)] == [code]
            items += [Called(code, code), Returned(code, result=code)]
        assert (await whole(model, items))[1].items == (Said("assistant", report(Returned("x", result="second"))),)
        other = [*items, Said("assistant", "done"), Said("user", "someone else")]
        assert (await whole(model, other))[1].items == (Said("assistant", "hello, someone else"),)
