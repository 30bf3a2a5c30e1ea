"""Set-up beside the chats: what waits for it is told, what fails says so and can be tried again, and a model can be chosen."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bot.errors import ConfigError
from bot.settings import Settings, read
from bot.setup import Setup
from bot.types import Finding, Stage
from tests.fakes.model import ScriptedModel

PROGRAM = """#!/bin/sh
cd {folder}
printf 'engine\\trunning\\tInstalling an engine\\n'
until [ -e engine ]; do
    sleep 0.02
    if [ -e broken ]; then rm broken; echo 'cellmate: no network' >&2; exit 1; fi
done
printf 'engine\\tdone\\tunix:///engine.sock\\nimage\\trunning\\tBuilding the image\\nnonsense\\nother\\tdone\\tx\\n'
until [ -e image ]; do sleep 0.02; done
printf 'image\\tdone\\tcellmate-sandbox\\n'
"""


async def nothing() -> list[Finding]:
    return []


def settings(home: Path, **changes: Any) -> Settings:
    return read(Settings).model_copy(
        update={"home": home, "model": "none", "openai_base_url": "", "cache": home / "cache", **changes}
    )


def program(folder: Path) -> Path:
    path = folder / "prepare"
    path.write_text(PROGRAM.format(folder=folder))
    path.chmod(0o755)
    return path


@asynccontextmanager
async def at_work(its: Settings, *, asks: bool = False) -> AsyncIterator[Setup]:
    setup = Setup(its, asks=asks, diagnose=nothing)
    working = asyncio.create_task(setup.run())
    try:
        yield setup
    finally:
        working.cancel()
        await asyncio.wait({working})


async def until(setup: Setup, holds: Callable[[dict[str, Stage]], object]) -> None:
    async with asyncio.timeout(20):
        async for _ in setup.changes():
            if holds({stage.name: stage for stage in setup.stages()}):
                return


async def test_what_waits_hears_what_for(tmp_path: Path) -> None:
    told: list[str] = []
    async with at_work(settings(tmp_path, setup=program(tmp_path))) as setup:
        waiting = asyncio.create_task(setup.ready(told.append, model=True))
        await until(setup, lambda s: s["engine"].said == "Installing an engine")
        (tmp_path / "engine").touch()
        await until(setup, lambda s: s["image"].said == "Building the image")
        assert not waiting.done()
        (tmp_path / "image").touch()
        await asyncio.wait_for(waiting, 20)
        assert [stage.state for stage in setup.stages()] == ["done", "done"]
    assert "Setting up: Installing an engine" in told and told[-1] == "Setting up: Building the image"


async def test_a_failure_is_said_and_tried_again_when_somebody_asks(tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    async with at_work(settings(tmp_path, setup=program(tmp_path))) as setup:
        with pytest.raises(ConfigError, match=r"no network.*ask again"):
            await asyncio.wait_for(setup.ready(lambda _: None, model=False), 20)
        engine = setup.stages()[0]
        assert (engine.state, engine.said, engine.log) == ("failed", "no network", "")
        (tmp_path / "engine").touch()
        (tmp_path / "image").touch()
        setup.again()
        await until(setup, lambda s: s["image"].state == "done")
        await asyncio.wait_for(setup.ready(lambda _: None, model=False), 20)


async def test_a_program_that_is_not_there_is_a_failure_and_no_end(tmp_path: Path) -> None:
    async with at_work(settings(tmp_path, setup=tmp_path / "none")) as setup:
        await until(setup, lambda s: s["engine"].state == "failed")


async def test_without_a_program_cells_run_at_once_and_without_a_model_nobody_answers(tmp_path: Path) -> None:
    async with at_work(settings(tmp_path)) as setup:
        await asyncio.wait_for(setup.ready(lambda _: None, model=True), 5)
        assert setup.model is None and not setup.expects_model and setup.stages() == ()


async def test_a_model_that_listens_here_is_offered_and_the_choice_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ScriptedModel() as server:
        server.names = ["qwen3:8b"]
        url = server.env["OPENAI_BASE_URL"]
        port = int(url.rpartition(":")[2].partition("/")[0])
        monkeypatch.setattr("bot.models.nearby.PORTS", {"Ollama": port})
        async with at_work(settings(tmp_path, model=""), asks=True) as setup:
            await until(setup, lambda s: s["model"].state == "asking")
            choices = dict(setup.stages()[0].choices)
            (offered,) = [value for value, label in choices.items() if label.endswith("(Ollama)")]
            assert offered.startswith(f"http://127.0.0.1:{port}/v1 ") and "embedded" in choices
            setup.choose("something else")
            assert setup.stages()[0].state == "asking"
            setup.choose(offered)
            await asyncio.wait_for(setup.ready(lambda _: None, model=True), 20)
            assert setup.model is not None and setup.label == ""
        async with at_work(settings(tmp_path, model=""), asks=True) as setup:
            await until(setup, lambda s: s["model"].state == "done")
    assert json.loads((tmp_path / "model.json").read_text()) == offered


async def test_a_demo_model_that_cannot_be_had_is_said_with_the_way_out(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(b"no model")
    its = settings(tmp_path, model="local", model_weights=str(wrong))
    async with at_work(its) as setup:
        with pytest.raises(ConfigError, match="CELLMATE_MODEL_WEIGHTS"):
            await asyncio.wait_for(setup.ready(lambda _: None, model=True), 20)
        await asyncio.wait_for(setup.ready(lambda _: None, model=False), 5)
