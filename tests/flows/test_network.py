"""A channel whose code may install packages, and one whose code may not, in the same bot's settings."""

from pathlib import Path

import pytest

from tests.bot_process import running_bot
from tests.fakes.model import Code, ScriptedModel
from tests.fakes.web import FakeIndex
from tests.flows.conftest import PLATFORMS, said

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]

TRY = "import blue_whale"
INSTALL = "!pip install blue-whale\nimport blue_whale\nprint('weighs', blue_whale.TONS)"


async def test_a_package_comes_where_the_channel_has_leave_and_its_absence_is_told_where_not(
    platform_name: str, tmp_path: Path
) -> None:
    async with FakeIndex() as index, PLATFORMS[platform_name]() as platform, ScriptedModel() as model:
        index.add("blue-whale", "1.0", {"blue_whale.py": "TONS = 150"})
        pip = {"PIP_INDEX_URL": index.url, "PIP_CONFIG_FILE": "/dev/null", "CELLMATE_EGRESS": "slack = pypi"}
        async with running_bot(tmp_path / "home", {**platform.env, **model.env, **pip}):
            await platform.connected()
            model.reply(Code(TRY), Code(INSTALL), lambda messages: f"It printed: {messages[-1]['content']}")
            thread = await platform.ask("how heavy?")
            messages = await platform.until(thread, lambda them: any("It printed:" in m.text for m in said(them)))
    shown = "\n".join(message.text for message in said(messages))
    first = str(model.requests[0]["messages"])
    if platform_name == "slack":
        assert "installs Python packages" in first
        assert "weighs 150" in shown and "fetched 1 package (" in shown
    else:
        assert "installs Python packages" not in first
        assert "weighs 150" not in shown and index.asked == []
        assert "there is no network here to install it from" in str(model.requests[1]["messages"])
