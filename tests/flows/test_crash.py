"""SIGKILL at every recorded step of a turn, then started again: one answer, no cell twice, files and variables there."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.bot_process import BotProcess
from tests.fakes.model import Code, ScriptedModel
from tests.fakes.platform import Message, Platform, Thread
from tests.flows.conftest import PLATFORMS, said

pytestmark = [pytest.mark.engine, pytest.mark.timeout(240)]

FIRST = 'rows = open("data.csv").read().split()\nopen("log.txt", "a").write("first\\n")\nprint(len(rows))'
SECOND = 'open("log.txt", "a").write("second\\n")\nplt.plot([1, 2], [3, 4]); plt.title("Drawn once")'
LATER = 'print(open("log.txt").read().split(), rows)'

POINTS = [
    f"{when} {write}"
    for write in (
        "accept 1",
        "append 1",  # the question's words
        "append 2",  # what is in its file
        "append 3",  # the first call
        "append 4",  # its outcome
        "append 5",  # the second call
        "append 6",  # its outcome
        "append 7",  # the answer
        "receipt 1",  # a message may stand from here on
        "receipt 2",  # where it stands
        "save 1",  # the files
        "finish 1",
        "save 2",  # its variables
    )
    for when in ("before", "after")
]
"""Receipts of progress come as often as the clock says, so only the first two are points."""


PLATFORMS_OWN = {
    f"{when} {write}" for write in ("accept 1", "receipt 1", "receipt 2", "finish 1") for when in ("before", "after")
}
"""The points where what a platform has seen and what is recorded may differ; the others are the same on every platform."""
CASES = [("slack", point) for point in POINTS] + [("discord", point) for point in POINTS if point in PLATFORMS_OWN]


class Stage:
    """A platform, a model and a bot that can die."""

    def __init__(self, platform: Platform, model: ScriptedModel, folder: Path) -> None:
        self.platform, self.model = platform, model
        self.points = folder / "points"
        settings = {**platform.env, **model.env, "CRASH_LOG": str(self.points)}
        self.bot = BotProcess(folder / "home", settings, ("-m", "tests.flows.crashing"))

    async def ask(self) -> Thread:
        self.model.on("use the file", Code(FIRST), Code(SECOND), "This is the answer.")
        return await self.platform.ask("use the file", files=[("data.csv", b"a b c")])


@pytest.fixture
async def stage(platform_name: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with PLATFORMS[platform_name]() as platform, ScriptedModel() as model:
        stage = Stage(platform, model, tmp_path)
        try:
            yield stage
        finally:
            if stage.bot.running:
                await stage.bot.stop()
            print(stage.bot.output)


@pytest.mark.parametrize(("platform_name", "point"), CASES, indirect=["platform_name"])
async def test_killed_at_a_recorded_step_and_started_again(stage: Stage, point: str) -> None:
    await stage.bot.start(CRASH_AT=point)
    await stage.platform.connected()
    thread = await stage.ask()
    assert await stage.bot.ended() == -9, f"never reached {point!r}:\n{stage.bot.output}"

    await stage.bot.start(CRASH_AT="never")
    await stage.platform.connected()
    if point in ("before accept 1", "after accept 1"):
        await stage.platform.redeliver()  # the event was never acknowledged
    messages = await stage.platform.until(
        thread, lambda messages: any("This is the answer." in m.text for m in said(messages)) and len(_files(messages)) >= 2
    )
    stage.model.on("what is left", Code(LATER), stage.model.echo)
    await stage.platform.ask("what is left?", thread=thread)
    messages = await stage.platform.until(
        thread, lambda messages: any("['first', 'second'] ['a', 'b', 'c']" in m.text for m in said(messages))
    )
    assert sum(m.text.count("This is the answer.") for m in said(messages)) == 1, stage.platform.transcript(thread)
    assert sorted(_files(messages)) == ["figure-1.png", "log.txt"], stage.platform.transcript(thread)


async def test_the_points_are_all_there_are(stage: Stage) -> None:
    await stage.bot.start(CRASH_AT="never")
    await stage.platform.connected()
    thread = await stage.ask()
    await stage.platform.until(thread, lambda messages: any("This is the answer." in m.text for m in said(messages)))
    await stage.bot.stop()
    reached = stage.points.read_text().splitlines()
    twin = {"before accept 2", "after accept 2"}  # Slack sends a mention twice; the second changes nothing
    assert {p for p in reached if "receipt" not in p} - twin == {p for p in POINTS if "receipt" not in p}


def _files(messages: list[Message]) -> list[str]:
    return [file.name for message in said(messages) for file in message.files]
