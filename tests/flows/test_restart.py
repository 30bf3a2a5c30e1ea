"""A thread never forgets: after an orderly restart, after the loss of its container, and when a killed bot left it running."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aiodocker
import pytest

from bot import journal
from tests.bot_process import BotProcess
from tests.fakes.platform import Thread
from tests.fakes.slack import FakeSlack
from tests.flows.conftest import said

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]


class Stage:
    """A bot without a model on one home, and a thread that holds a variable and a file."""

    def __init__(self, slack: FakeSlack, home: Path) -> None:
        self.slack, self.home = slack, home
        self.bot = BotProcess(home, {**slack.env, "CELLMATE_MODEL": "none"})

    async def start(self, **settings: str) -> None:
        await self.bot.start(**settings)
        await self.slack.connected()

    async def remember(self) -> Thread:
        thread = await self.slack.ask("```\nkept = {'a': 1}\nopen('note.txt', 'w').write('here')\nprint('remembered')\n```")
        await self.hear(thread, "remembered")
        await self.until_saved()
        return thread

    async def recall(self, thread: Thread) -> None:
        await self.slack.ask("```\nprint(kept, open('note.txt').read())\n```", thread=thread, files=[("new.txt", b"new")])
        await self.hear(thread, "{'a': 1} here")

    async def lose_container(self) -> None:
        async with aiodocker.Docker() as docker:
            (container,) = await self.containers()
            await docker.containers.container(container.id).delete(force=True)

    async def hear(self, thread: Thread, words: str) -> None:
        await self.slack.until(thread, lambda messages: any(words in message.text for message in said(messages)))

    async def containers(self) -> list[aiodocker.containers.DockerContainer]:
        async with journal.connect(f"sqlite:///{self.home}/journal.db") as records:
            instance = await records.installation()
        async with aiodocker.Docker() as docker:
            return await docker.containers.list(all=True, filters={"label": [f"io.cellmate.instance={instance}.0"]})

    async def until_saved(self) -> None:
        """Variables are saved behind the answer."""
        async with journal.connect(f"sqlite:///{self.home}/journal.db") as records:
            (asleep,) = await records.asleep(datetime.now(UTC))
            for _ in range(100):
                kept = await records.checkpoint(asleep)
                if kept and kept.variables.variables:
                    return
                await asyncio.sleep(0.05)
        raise AssertionError("the variables are not saved after 5 s")

    async def until_none_runs(self) -> None:
        for _ in range(150):
            if not await self.containers():
                return
            await asyncio.sleep(0.2)
        raise AssertionError("containers are still there after 30 s")


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with FakeSlack() as slack:
        stage = Stage(slack, tmp_path)
        await stage.start()
        try:
            yield stage
        finally:
            if stage.bot.running:
                await stage.bot.stop()
            print(stage.bot.output)
        assert await stage.containers() == [], "an orderly end leaves no container"


async def test_an_orderly_restart_gives_the_thread_back(stage: Stage) -> None:
    thread = await stage.remember()
    assert len(await stage.containers()) == 1
    assert await stage.bot.stop() == 0
    assert await stage.containers() == []
    await stage.start()
    await stage.recall(thread)


async def test_a_lost_container_costs_nothing_that_was_saved(stage: Stage) -> None:
    thread = await stage.remember()
    await stage.lose_container()
    await stage.recall(thread)


async def test_a_container_lost_in_the_middle_of_an_answer_is_said_and_the_thread_set_back(stage: Stage) -> None:
    thread = await stage.remember()
    await stage.slack.ask(
        "```\nkept['a'] = 2\n```\n```\nimport time\ntime.sleep(60)\n```\n```\nprint(kept)\n```", thread=thread
    )
    await stage.slack.until(
        thread, lambda messages: "time.sleep(60)" in said(messages)[-1].text or "import time" in said(messages)[-1].text
    )
    await stage.lose_container()
    await stage.hear(thread, "The sandbox was lost while this ran.")
    await stage.hear(thread, "{'a': 1}")
    await stage.recall(thread)


async def test_what_a_killed_bot_left_running_is_put_to_sleep_and_wakes(stage: Stage) -> None:
    thread = await stage.remember()
    await stage.bot.kill()
    assert len(await stage.containers()) == 1
    await stage.start(CELLMATE_IDLE="1")
    await stage.until_none_runs()
    await stage.recall(thread)
