"""Whole questions on both platforms: what a member of the channel sees."""

import asyncio
import re
from pathlib import Path

import pytest

from tests.fakes.model import Code
from tests.flows.conftest import World, said

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

CSV = b"month,revenue\n1,10\n2,30\n3,20\n"
PLOT = 'df = pd.read_csv("sales.csv")\ndf.plot(x="month", y="revenue", title="Revenue by month")\nprint(df.revenue.sum())'


async def test_a_mention_with_a_csv_becomes_a_figure_and_an_answer_in_the_thread(world: World) -> None:
    world.model.on("plot the revenue", Code(PLOT), "Revenue peaks in **February**.")
    thread = await world.platform.ask("please plot the revenue", files=[("sales.csv", CSV)])
    await world.platform.until(thread, lambda messages: any(m.files for m in said(messages)))
    messages = await world.answer(thread, "Revenue peaks")
    figures = [file for message in said(messages) for file in message.files]
    assert [file.name for file in figures] == ["figure-1.png"]
    assert figures[0].content.startswith(b"\x89PNG\r\n")
    assert "Revenue by month" in figures[0].alt and "month" in figures[0].alt
    golden = Path(__file__).parent / "golden" / f"{world.platform.name}-figure.txt"
    told = re.sub(r"[\d.]+ s\b", "N s", world.platform.transcript(thread))
    lines = re.sub(r"Done$", "Done in N s", told, flags=re.MULTILINE).splitlines()  # under a second it is not said
    assert [line.rstrip() for line in lines] == golden.read_text("utf-8").splitlines()


async def test_a_direct_message_needs_no_mention(world: World) -> None:
    world.model.on("what is six times seven", Code("6 * 7"), "It is 42.")
    thread = await world.platform.ask("what is six times seven?", direct=True)
    await world.answer(thread, "It is 42.")


async def test_a_reply_in_the_thread_goes_on_with_its_variables(world: World) -> None:
    world.model.on("remember the number", Code("kept = 1234"), "I will remember.")
    thread = await world.platform.ask("remember the number 1234")
    await world.answer(thread, "I will remember.")
    world.model.on("double it", Code("print(kept * 2)"), world.model.echo)
    await world.platform.ask("now double it", thread=thread, mention=False)
    await world.answer(thread, "2468")


async def test_all_of_five_attachments_are_used(world: World) -> None:
    code = 'from pathlib import Path\nprint(sum(int(p.read_text()) for p in Path().glob("part-*.txt")))'
    world.model.on("add these five", Code(code), world.model.echo)
    files = [(f"part-{n}.txt", str(10**n).encode()) for n in range(5)]
    thread = await world.platform.ask("add these five", files=files)
    await world.answer(thread, "11111")


async def test_a_30_kb_answer_with_three_fences_arrives_whole_and_in_order(world: World) -> None:
    words = [f"word{n:04d}" for n in range(2_800)]
    thirds = [words[:900], words[900:1800], words[1800:]]
    blocks = [f"Part {n}.\n\n```python\n" + "\n".join(third) + "\n```" for n, third in enumerate(thirds)]
    text = "\n\n".join(blocks) + "\n\nThat is all."
    assert len(text) > 25_000
    world.model.on("write at length", text)
    thread = await world.platform.ask("write at length")
    messages = await world.answer(thread, "That is all.")
    seen = re.findall(r"word\d{4}", "\n".join(message.text for message in said(messages)))
    assert list(dict.fromkeys(seen)) == words
    assert len(seen) == len(words), "nothing arrives twice"
    for message in said(messages):
        assert len(re.findall(r"^```", message.text, re.MULTILINE)) % 2 == 0, message.text[:200]


async def test_fourteen_files_two_with_one_name_all_arrive(world: World) -> None:
    code = (
        "import os\n"
        'for n in range(12):\n    open(f"table-{n:02d}.csv", "w").write(f"n\\n{n}\\n")\n'
        'for folder in ("north", "south"):\n    os.makedirs(folder)\n    open(f"{folder}/same.csv", "w").write(folder)\n'
    )
    world.model.on("fourteen files", Code(code), "There are fourteen.")
    thread = await world.platform.ask("make fourteen files")
    messages = await world.platform.until(
        thread,
        lambda messages: sum(len(m.files) for m in said(messages)) >= 14 and any("fourteen" in m.text for m in said(messages)),
    )
    contents = {file.content for message in said(messages) for file in message.files}
    assert contents == {f"n\n{n}\n".encode() for n in range(12)} | {b"north", b"south"}
    names = [file.name for message in said(messages) for file in message.files]
    assert len(set(names)) == 14, names


async def test_stop_ends_the_run_and_keeps_the_variables(world: World) -> None:
    endless = "kept = 41\nimport time\nwhile True:\n    time.sleep(0.01)"
    world.model.on("run for ever", Code(endless), "never said")
    thread = await world.platform.ask("run for ever")
    await world.platform.until(thread, lambda messages: any("kept = 41" in m.text for m in said(messages)))
    await asyncio.sleep(1)  # the step is shown just before its code begins
    await world.platform.press(thread, "Stop")
    await world.answer(thread, "Stopped by")
    world.model.on("is it still there", Code("print(kept + 1)"), world.model.echo)
    await world.platform.ask("is it still there?", thread=thread)
    messages = await world.answer(thread, "42")
    assert not any("never said" in message.text for message in messages)


async def test_two_people_in_two_threads_are_answered_side_by_side(world: World) -> None:
    """Each cell waits for a file that its own thread never gets from the other: were they one session, both would see it."""
    for name in ("ada", "bob"):
        code = f'import os\nopen("{name}.txt", "w").write("x")\nprint(sorted(os.listdir()))'
        world.model.on(f"files of {name}", Code(code), world.model.echo)
    threads = await asyncio.gather(
        world.platform.ask("list the files of ada", user="ada"), world.platform.ask("list the files of bob", user="bob")
    )
    seen = await asyncio.gather(world.answer(threads[0], "['ada.txt']"), world.answer(threads[1], "['bob.txt']"))
    assert all(messages for messages in seen)


async def test_two_people_in_one_thread_are_answered_in_order(world: World) -> None:
    world.model.on("start the list", Code('steps = ["opened"]'), "Started.")
    thread = await world.platform.ask("start the list", user="ada")
    await world.answer(thread, "Started.")
    for name in ("ada", "bob"):
        world.model.on(
            f"add {name}", Code(f'import time\ntime.sleep(0.3)\nsteps.append("{name}")\nprint(steps)'), world.model.echo
        )
    await world.platform.ask("add ada", user="ada", thread=thread)
    await world.platform.ask("add bob", user="bob", thread=thread)
    await world.answer(thread, "['opened', 'ada', 'bob']")


async def test_nothing_that_is_printed_or_said_pings_anybody(world: World) -> None:
    hostile = "@everyone @here <!channel> <!here> <@U0ADA> <@111111111111111111> <@&222222222222222222> <!subteam^S1>"
    code = f'print("""{hostile}""")\nopen("@everyone <!channel>.txt", "w").write("x")\nraise ValueError("""{hostile}""")'
    world.model.on("say it loud", Code(code), f"Here: {hostile}\n\n```\n{hostile}\n```")
    thread = await world.platform.ask("say it loud")
    messages = await world.answer(thread, "Here:")
    assert [message.notified for message in said(messages)] == [[] for _ in said(messages)]


async def test_a_redelivered_question_is_answered_once(world: World) -> None:
    world.model.on("once only", Code("print('ran')"), "Exactly one answer.")
    thread = await world.platform.ask("once only, please")
    await world.platform.redeliver()
    messages = await world.answer(thread, "Exactly one answer.")
    await world.platform.redeliver()
    await asyncio.sleep(1.5)  # longer than the adapters hold a twin
    messages = world.platform.messages(thread)
    assert sum("Exactly one answer." in message.text for message in said(messages)) == 1


async def test_an_edited_question_that_waits_is_run_as_edited(world: World) -> None:
    world.model.on("hold the line", Code("import time\ntime.sleep(4)"), "Held.")
    thread = await world.platform.ask("hold the line")
    await world.platform.until(thread, lambda messages: any("Stop" in m.buttons for m in said(messages)))
    world.model.on("the new wording", Code("print('new')"), "Answer to the new wording.")
    waiting = await world.platform.ask("the old wording", thread=thread)
    await world.platform.edit(waiting, "the new wording")
    await world.answer(thread, "Answer to the new wording.")


async def test_the_code_of_an_answer_is_shown_to_whoever_asks_for_it(world: World) -> None:
    world.model.on("show your work", Code("shown = 'this very line'"), "Worked.")
    thread = await world.platform.ask("show your work")
    await world.answer(thread, "Worked.")
    await world.platform.press(thread, "Show code", user="bob")
    messages = await world.platform.until(thread, lambda messages: any(m.only_for for m in messages))
    shown = [message for message in messages if message.only_for]
    assert [message.only_for for message in shown] == ["bob"]
    assert "shown = 'this very line'" in shown[0].text
