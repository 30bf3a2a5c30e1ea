"""A thread never forgets: after an orderly restart, after the loss of its container, and when a killed bot left it running."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiodocker
import pytest

from bot import journal
from tests.bot_process import BotProcess
from tests.fakes.platform import Thread
from tests.fakes.slack import FakeSlack
from tests.flows.conftest import said

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]


REMEMBER = """```
kept = {'a': 1}
gen = (n for n in ())
open('note.txt', 'w').write('here')
print('remembered')
```"""
WEEK = timedelta(days=7)


class Stage:
    """A bot without a model on one home, and a thread that holds a variable and a file."""

    def __init__(self, slack: FakeSlack, home: Path) -> None:
        self.slack, self.home = slack, home
        self._recalls = 0
        self.bot = BotProcess(home, {**slack.env, "CELLMATE_MODEL": "none"})

    async def start(self, **settings: str) -> None:
        await self.bot.start(**settings)
        await self.slack.connected()

    async def remember(self) -> Thread:
        thread = await self.slack.ask(REMEMBER)
        await self.hear(thread, "remembered")
        await self.until_saved()
        return thread

    async def recall(self, thread: Thread) -> None:
        self._recalls += 1
        code = f"print(kept, open('note.txt').read(), 'time', {self._recalls})"
        await self.slack.ask(f"```\n{code}\n```", thread=thread, files=[("new.txt", b"new")])
        await self.hear(thread, f"{{'a': 1}} here time {self._recalls}")

    async def lose_container(self) -> None:
        async with aiodocker.Docker() as docker:
            (container,) = await self.containers()
            await docker.containers.container(container.id).delete(force=True)

    async def end_container(self) -> None:
        """What the end of its engine or of the machine does to it: it has ended, and is still there."""
        async with aiodocker.Docker() as docker:
            (container,) = await self.containers()
            await docker.containers.container(container.id).kill()

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
            for _ in range(200):
                kept = [await records.checkpoint(thread) for thread in await records.asleep(datetime.now(UTC))]
                if any(checkpoint and checkpoint.variables.variables for checkpoint in kept):
                    return
                await asyncio.sleep(0.05)
        raise AssertionError("the variables are not saved after 10 s")

    async def until_closed(self) -> None:
        """The last answer is given and closed: what is edited from here on is asked again."""
        async with journal.connect(f"sqlite:///{self.home}/journal.db") as records:
            for _ in range(100):
                if not await records.unfinished():
                    return
                await asyncio.sleep(0.05)
        raise AssertionError("a turn is still open after 5 s")

    async def age(self, by: timedelta) -> None:
        """As if all that is on disk had been there for so long."""
        then = (datetime.now(UTC) - by).strftime("%Y-%m-%d %H:%M:%S.%f")

        def set_back() -> None:
            with closing(sqlite3.connect(self.home / "journal.db")) as connection, connection:
                connection.execute("UPDATE checkpoints SET saved_at = ?", (then,))
                connection.execute("UPDATE turns SET accepted_at = ?, finished_at = ?", (then, then))

        await asyncio.to_thread(set_back)

    async def pieces(self) -> list[Path]:
        """The files that hold the one thread's checkpoint."""
        async with journal.connect(f"sqlite:///{self.home}/journal.db") as records:
            (asleep,) = await records.asleep(datetime.now(UTC))
            kept = await records.checkpoint(asleep)
        assert kept is not None
        return [self.home / "files" / piece.blob.digest[:2] / piece.blob.digest for piece in kept.pieces]

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
    await stage.hear(thread, "Restored 1 variable and 1 file; gen could not be kept (a generator cannot be kept")


async def test_a_thread_left_for_a_week_answers_though_bot_and_container_were_killed(stage: Stage) -> None:
    thread = await stage.remember()
    await stage.bot.kill()
    await stage.end_container()
    await stage.age(WEEK)
    await stage.start()
    await stage.recall(thread)


async def test_a_checkpoint_that_was_altered_is_refused_and_said(stage: Stage) -> None:
    thread = await stage.remember()
    assert await stage.bot.stop() == 0
    for piece in await stage.pieces():
        spoiled = bytearray(piece.read_bytes())
        spoiled[-1] ^= 1
        piece.write_bytes(spoiled)
    await stage.start()
    await stage.slack.ask("```\nprint('kept' in globals(), __import__('os').listdir())\n```", thread=thread)
    await stage.hear(thread, "variables could not be brought back (what is on disk is not what was kept there")
    await stage.hear(thread, "False []")


async def test_a_killed_python_has_the_last_answers_variables_and_an_edited_question_the_ones_before_it(stage: Stage) -> None:
    thread = await stage.remember()
    await stage.slack.ask(
        "```\nfresh = 1; kept['a'] = 5\n```\n```\nimport os\nlater = 2; os._exit(1)\n```\n"
        "```\nprint(kept, 'fresh' in globals())\n```",
        thread=thread,
    )
    await stage.hear(
        thread, "Variables are as they were at the end of the previous answer; fresh and later of this one are lost."
    )
    await stage.hear(thread, "{'a': 1} False")
    await stage.slack.ask(
        "```\nkept['a'] = 2; open('note.txt', 'w').write('changed'); print('first wording')\n```", thread=thread
    )
    await stage.hear(thread, "first wording")
    await stage.until_closed()
    await stage.slack.edit(thread, "```\nprint('second wording', kept, open('note.txt').read())\n```")
    await stage.hear(thread, "second wording {'a': 1} here")
    await stage.hear(thread, "The question was edited, so files and variables were set back")
    await stage.recall(thread)


async def test_stop_by_force_gives_the_last_answers_variables_back(stage: Stage) -> None:
    thread = await stage.remember()
    stubborn = "fresh = 1\nwhile True:\n    try:\n        while True: pass\n    except KeyboardInterrupt: pass"
    await stage.slack.ask(f"```\n{stubborn}\n```", thread=thread)
    await stage.slack.until(thread, lambda messages: "Stop" in said(messages)[-1].buttons)
    await asyncio.sleep(1)  # into the loop
    await stage.slack.press(thread, "Stop")
    await stage.hear(thread, "Variables are as they were at the end of the previous answer; fresh of this one is lost.")
    await stage.recall(thread)


async def test_a_lost_container_costs_nothing_that_was_saved(stage: Stage) -> None:
    thread = await stage.remember()
    await stage.lose_container()
    await stage.recall(thread)
    await stage.end_container()
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
