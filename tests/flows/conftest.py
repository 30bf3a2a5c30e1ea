"""Whole questions: a fake platform, a scripted model, the real bot as a process, the real engine."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.bot_process import BotProcess, running_bot
from tests.fakes.discord import FakeDiscord
from tests.fakes.model import ScriptedModel
from tests.fakes.platform import Message, Platform, Thread
from tests.fakes.slack import FakeSlack

PLATFORMS: dict[str, Callable[[], Platform]] = {"slack": FakeSlack, "discord": FakeDiscord}


@dataclass
class World:
    """Everything a flow touches."""

    platform: Platform
    model: ScriptedModel
    bot: BotProcess

    async def answer(self, thread: Thread, words: str, seconds: float = 60) -> list[Message]:
        """The thread once Cellmate has said these words and nothing is in progress."""
        return await self.platform.until(
            thread,
            lambda messages: any(words in m.text for m in said(messages)) and not any("Stop" in m.buttons for m in messages),
            seconds,
        )


def said(messages: list[Message]) -> list[Message]:
    """What Cellmate has written."""
    return [message for message in messages if message.author == "cellmate"]


@pytest.fixture(
    scope="module",
    # One worker a platform: the tests of a module share its bot.
    params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in sorted(PLATFORMS)],
)
def platform_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(platform_name: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One bot with a model, shared by the tests of a module: each asks in a thread of its own."""
    home: Path = tmp_path_factory.mktemp("home")
    async with AsyncExitStack() as stack:
        platform = await stack.enter_async_context(PLATFORMS[platform_name]())
        model = await stack.enter_async_context(ScriptedModel())
        bot = await stack.enter_async_context(running_bot(home, {**platform.env, **model.env}))
        await platform.connected()
        yield World(platform, model, bot)
