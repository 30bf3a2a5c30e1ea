"""`cellmate doctor` as an operator meets it: a process, its output and its status."""

import asyncio
import hashlib
import json
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiodocker
import pytest

from tests.bot_process import ENVIRONMENT
from tests.engine import missing
from tests.fakes.discord import FakeDiscord
from tests.fakes.model import ScriptedModel
from tests.fakes.slack import FakeSlack


async def doctor(*arguments: str, home: Path, **settings: str) -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    base = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", "doctor", *arguments),
        env={**base, "CELLMATE_HOME": str(home), **settings},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(90):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def by_check(out: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in json.loads(out):
        assert finding.keys() == {"check", "state", "said", "remedy"}
        found.setdefault(finding["check"], []).append(finding)
    return found


def states(findings: list[dict[str, Any]]) -> set[str]:
    return {finding["state"] for finding in findings}


async def containers_of(home: Path) -> set[str]:
    """The containers of this home's check-ups, which are known by its path."""
    mine = f"doctor.{hashlib.sha256(bytes(home)).hexdigest()[:12]}."
    async with aiodocker.Docker() as docker:
        found = await docker.containers.list(all=True, filters={"label": ["io.cellmate.instance"]})
        return {c.id for c in found if c["Labels"]["io.cellmate.instance"].startswith(mine)}


@pytest.mark.engine
async def test_where_all_is_well_it_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    if why := await missing():
        pytest.skip(why)
    async with AsyncExitStack() as stack:
        slack = await stack.enter_async_context(FakeSlack())
        discord = await stack.enter_async_context(FakeDiscord())
        model = await stack.enter_async_context(ScriptedModel())
        model.reply("yes")
        env = {**slack.env, **discord.env, **model.env}
        status, out, err = await doctor("--json", "--patience", "60", home=tmp_path / "home", **env)
        assert (status, err) == (0, ""), out
        found = by_check(out)
        expected = ["discord", "disk", "engine", "files", "image", "journal", "memory", "model", "runtime", "sandbox", "slack"]
        assert set(expected) <= found.keys()
        assert all(states(findings) <= {"ok", "warn"} for findings in found.values())
        assert states(found["slack"]) == states(found["discord"]) == states(found["model"]) == {"ok"}
        assert not any(secret in out for secret in (slack.env["SLACK_BOT_TOKEN"], discord.token, model.env["OPENAI_API_KEY"]))
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700
    assert await containers_of(tmp_path / "home") == set()


async def test_what_is_wrong_is_a_line_each_with_its_remedy_and_status_1(tmp_path: Path) -> None:
    async with FakeSlack() as slack, FakeDiscord() as discord, ScriptedModel() as model:
        env = {**slack.env, **discord.env, **model.env}
        wrong = {"SLACK_BOT_TOKEN": "xoxb-wrong", "DISCORD_TOKEN": "wrong", "OPENAI_API_KEY": "sk-wrong-wrong"}
        away = {"DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
        status, out, err = await doctor(home=tmp_path / "home", **(env | wrong | away))
    assert (status, err) == (1, "")
    lines = out.splitlines()
    failed = [line.split()[1] for line in lines if line.startswith("✗")]
    assert failed == ["engine", "sandbox", "model", "discord", "slack"]
    for number, line in enumerate(lines):
        if line.startswith(("✗", "!")):
            assert lines[number + 1].lstrip().startswith("→ "), out
    assert "unset DOCKER_HOST" in out and "OPENAI_API_KEY" in out
    assert not any(secret in out for secret in wrong.values() if len(secret) > 5)


async def test_a_platform_without_a_token_is_not_set_up_and_no_failure(tmp_path: Path) -> None:
    status, out, _ = await doctor("--json", home=tmp_path / "home", DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    found = by_check(out)
    assert status == 1  # the engine
    assert [found[name][0]["said"] for name in ("slack", "discord")] == ["not set up", "not set up"]
    assert states(found["slack"]) == states(found["discord"]) == {"ok"}
    assert (found["model"][0]["state"], found["model"][0]["said"]) == ("warn", "the small demo model, on this machine")
    assert "OPENAI_API_KEY" in found["model"][0]["remedy"]


async def test_whatever_hangs_it_comes_to_an_end(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gone.wait()
        writer.close()

    local = await asyncio.start_unix_server(mute, tmp_path / "mute.sock")
    remote = await asyncio.start_server(mute, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{remote.sockets[0].getsockname()[1]}"
    async with local, remote:
        status, out, err = await doctor(
            "--json",
            home=tmp_path / "home",
            DOCKER_HOST=f"unix://{tmp_path}/mute.sock",
            OPENAI_BASE_URL=f"{url}/v1",
            SLACK_API_URL=f"{url}/api/",
            SLACK_BOT_TOKEN="xoxb-1",
            SLACK_APP_TOKEN="xapp-1",
            DISCORD_API_URL=f"{url}/api/v10",
            DISCORD_TOKEN="token",
        )
        gone.set()
    assert (status, err) == (1, "")
    found = by_check(out)
    assert {name for name in found if states(found[name]) == {"fail"}} == {"engine", "sandbox", "model", "slack", "discord"}
    assert all(finding["remedy"] for name in found for finding in found[name] if finding["state"] == "fail")
    assert states(found["journal"]) == states(found["files"]) == {"ok"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"CELLMATE_MEMROY": "1"}, "CELLMATE_MEMROY is not a setting. Did you mean CELLMATE_MEMORY?"),
        ({"SLACK_API_URL": "slack"}, "SLACK_API_URL: "),
    ],
)
async def test_a_bad_setting_is_one_line_and_status_2(settings: dict[str, str], words: str, tmp_path: Path) -> None:
    status, out, err = await doctor(home=tmp_path / "home", **settings)
    assert (status, out) == (2, "")
    assert words in err and len(err.strip().splitlines()) == 1


@pytest.mark.engine
async def test_what_a_killed_check_up_left_is_removed_by_the_next(tmp_path: Path) -> None:
    if why := await missing():
        pytest.skip(why)
    home = tmp_path / "home"
    base = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    first = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", "doctor", "--patience", "60"),
        env={**base, "CELLMATE_HOME": str(home)},
        stdout=asyncio.subprocess.DEVNULL,
    )
    for _ in range(2000):
        if left := await containers_of(home):
            break
        await asyncio.sleep(0.02)
    first.kill()
    await first.wait()
    assert left and left <= await containers_of(home)
    status, out, _ = await doctor("--json", "--patience", "60", home=home)
    assert status == 0, out
    assert await containers_of(home) == set()
