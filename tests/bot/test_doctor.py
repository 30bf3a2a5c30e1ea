"""The check-up: each thing that can be wrong is found, named, and comes with what to type."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bot import doctor, journal
from bot.models.check import check as check_model
from bot.settings import Settings
from bot.types import Finding
from sandbox import About, Limits, Spec, docker
from tests.engine import IMAGE, missing, remove_all
from tests.fakes.disk import fill, small_disk
from tests.fakes.model import KEY, Fault, ScriptedModel

SPEC = Spec(IMAGE, Limits(memory=512 << 20, workspace=64 << 20))
NEWEST = max(path.name for path in Path(journal.__file__).parent.glob("migrations/versions/0*.py"))[:4]
SOUND = About(
    address="unix:///run/docker.sock",
    name="Docker Engine",
    version="29.5.1",
    runtime="runc",
    runtime_version="1.3.3",
    runtimes=("runc", "runsc"),
    memory=8 << 30,
    folder="/nowhere",
    missing=(),
    image=1 << 30,
)


def settings(home: Path, **changes: Any) -> Settings:
    nothing: dict[str, Any] = {"openai_api_key": "", "openai_base_url": "", "image": IMAGE}
    nothing["model"] = "openai" if changes.get("openai_base_url") else "none"
    return Settings(home=home, **(nothing | changes))


async def diagnosed(its: Settings, spec: Spec = SPEC, url: str | None = None) -> dict[str, list[Finding]]:
    """Every finding by its check. The sandbox's label is the test's own."""
    name = f"test-{secrets.token_hex(6)}"
    try:
        found = await doctor.diagnose(its, spec, partial(docker.connect, name, spec, pool=0, url=url), {}, patience=60)
    finally:
        if url is None:
            await remove_all(name)
    by_check: dict[str, list[Finding]] = {}
    for finding in found:
        by_check.setdefault(finding.check, []).append(finding)
    return by_check


def states(findings: Sequence[Finding]) -> set[str]:
    return {finding.state for finding in findings}


@pytest.fixture
async def real_engine() -> None:
    if why := await missing():
        pytest.skip(why)


# --- The engine and the sandbox


@pytest.mark.engine
@pytest.mark.usefixtures("real_engine")
async def test_on_a_sound_machine_nothing_fails(tmp_path: Path) -> None:
    found = await diagnosed(settings(tmp_path / "home"))
    assert {"engine", "image", "runtime", "memory", "disk", "sandbox", "model", "journal", "files"} == found.keys()
    assert all("fail" not in states(findings) for findings in found.values()), found
    assert found["sandbox"][0].state == "ok"
    assert all(finding.remedy for findings in found.values() for finding in findings if finding.state != "ok")
    assert f"version {NEWEST}" in found["journal"][0].said


async def test_an_engine_that_is_away_is_named_and_the_rest_is_still_looked_at(tmp_path: Path) -> None:
    found = await diagnosed(settings(tmp_path / "home"), url=f"unix://{tmp_path}/none.sock")
    assert f"unix://{tmp_path}/none.sock cannot be reached" in found["engine"][0].said
    assert found["engine"][0].remedy and states(found["sandbox"]) == {"fail"}
    assert states(found["journal"]) == states(found["files"]) == states(found["model"]) == {"ok"}


async def test_an_engine_that_may_not_be_used_says_how_to(tmp_path: Path) -> None:
    down = docker._unreachable("unix:///run/docker.sock", "[Errno 13] Permission denied")
    assert "usermod -aG docker" in down.remedy


async def test_an_engine_that_never_answers_holds_nothing_up(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gone.wait()
        writer.close()

    async with await asyncio.start_unix_server(mute, tmp_path / "mute.sock"):
        found = await diagnosed(settings(tmp_path / "home"), url=f"unix://{tmp_path}/mute.sock")
        gone.set()
    assert "does not answer within" in found["engine"][0].said and found["engine"][0].remedy
    assert states(found["journal"]) == {"ok"}


async def test_an_address_that_is_none_is_explained(tmp_path: Path) -> None:
    found = await diagnosed(settings(tmp_path / "home"), url="ssh://somewhere")
    assert found["engine"][0].state == "fail" and "DOCKER_HOST" in found["engine"][0].remedy


@pytest.mark.engine
@pytest.mark.usefixtures("real_engine")
async def test_a_missing_image_and_an_unknown_runtime_are_named(tmp_path: Path) -> None:
    found = await diagnosed(settings(tmp_path / "home"), Spec("cellmate-no-such-image", SPEC.limits, "no-such-runtime"))
    assert (found["image"][0].state, found["image"][0].said) == ("fail", "cellmate-no-such-image is not there")
    assert found["image"][0].remedy.startswith("./run")
    assert found["runtime"][-1].state == "fail" and "no-such-runtime" in found["runtime"][-1].said
    assert "not tried" in found["sandbox"][0].said


MANY = [{"PathOnHost": "/dev/zero", "PathInContainer": f"/dev/extra{i}", "CgroupPermissions": "r"} for i in range(30)]
WEAKER: dict[str, tuple[dict[str, Any], set[str]]] = {
    "as a privileged one": (  # not with `Privileged`: the engine's own machine may lack some of what that gives
        {"CapDrop": [], "Devices": MANY, "SecurityOpt": ["seccomp=unconfined"], "NetworkMode": "host", "ReadonlyRootfs": False}
        | {"Memory": 0, "MemorySwap": 0, "PidsLimit": -1, "Ulimits": []},
        {"it has a network", "no seccomp filter", "the code may gain privileges", "its system is writable", "no memory limit"}
        | {"no limit on processes", "no limit on files", "the code could get capabilities", "it has the machine's devices"},
    ),
    "with the engine's own filter": ({"SecurityOpt": ["no-new-privileges"]}, {"another seccomp filter than Cellmate's"}),
}


@pytest.mark.engine
@pytest.mark.usefixtures("real_engine")
@pytest.mark.parametrize("what", sorted(WEAKER))
async def test_a_sandbox_that_is_not_confined_is_refused(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real container with some of its protection taken away."""
    changes, words = WEAKER[what]
    sound = docker._body

    def weaker(spec: Spec, instance: str, token: bytes, *, podman: bool) -> dict[str, Any]:
        body = sound(spec, instance, token, podman=podman)
        body["HostConfig"] |= changes
        body["NetworkDisabled"] = body["HostConfig"]["NetworkMode"] == "none"
        return body

    monkeypatch.setattr(docker, "_body", weaker)
    found = await diagnosed(settings(tmp_path / "home"))
    assert found["sandbox"][0].state == "fail"
    assert words <= set(found["sandbox"][0].said.partition(": ")[2].split(", ")), found["sandbox"]


SEEN = {
    "CapEff": "0000000000000000",
    "CapBnd": "00000000000000e0",
    "algorithms": "EPERM",
    "tracing": "EPERM",
    "devices": 15,
    "spawned": 120,
    "NoNewPrivs": 1,
    "Seccomp": "2",
    "Uid": "10001\t10001\t10001\t10001",
    "read_only": True,
    "network": False,
    "memory": str(512 << 20),
    "machine": 8 << 30,
    "processes": "128",
    "file": 512 << 20,
    "workspace": 64 << 20,
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"CapEff": "00000000a80425fb"}, "the code has capabilities"),
        ({"CapBnd": "00000000a80425fb"}, "the code could get capabilities"),
        ({"devices": 200}, "it has the machine's devices"),
        ({"NoNewPrivs": 0}, "the code may gain privileges"),
        ({"Seccomp": "0"}, "no seccomp filter"),
        ({"algorithms": None}, "another seccomp filter than Cellmate's"),
        ({"tracing": "ESRCH"}, "another seccomp filter than Cellmate's"),
        ({"algorithms": "EAFNOSUPPORT"}, "another seccomp filter than Cellmate's"),
        ({"read_only": False}, "its system is writable"),
        ({"processes": "max"}, "no limit on processes"),
        ({"spawned": 128}, "no limit on processes"),
        ({"Uid": "0 0 0 0"}, "the code runs as root"),
        ({"network": True}, "it has a network"),
        ({"memory": "max"}, "no memory limit"),
        ({"memory": None}, "no memory limit"),
        ({"file": -1}, "no limit on files"),
        ({"workspace": 1 << 40}, "no limit on files"),
    ],
)
def test_each_line_is_judged_by_itself(change: dict[str, Any], words: str | None) -> None:
    assert doctor._broken(SEEN | change, SPEC) == ([words] if words else [])


def test_gvisors_own_filter_is_outside_of_what_its_processes_see() -> None:
    inside = SEEN | {"Seccomp": "0", "algorithms": "EAFNOSUPPORT", "memory": None, "processes": None, "machine": 768 << 20}
    spec = Spec(IMAGE, SPEC.limits, "runsc")
    assert doctor._broken(inside, spec) == []
    assert doctor._broken(inside | {"machine": 8 << 30, "spawned": 128}, spec) == ["no memory limit", "no limit on processes"]


@pytest.mark.parametrize(
    ("changes", "inside", "state", "words"),
    [
        ({}, False, "ok", "Docker Engine 29.5.1 at unix:///run/docker.sock"),
        ({"version": "20.10.24+dfsg1"}, False, "warn", "Docker has ended its own care for 20.10.24+dfsg1"),
        ({"version": "20.10.9"}, False, "warn", "threads may not start"),
        ({"version": "28.2.2"}, False, "warn", "known escapes by `docker cp`"),
        ({"runtime_version": "1.1.5+ds1"}, False, "warn", "CVE-2024-21626, CVE-2025-31133"),
        ({"runtime_version": "1.2.7"}, False, "warn", "mended them: CVE-2025-31133"),
        ({"runtime_version": "1.3.2"}, False, "warn", "CVE-2025-31133"),
        ({"runtime_version": "1.2.8"}, False, "ok", "29.5.1"),
        ({"runtime_version": ""}, False, "ok", "29.5.1"),
        ({"runtime": "runsc", "runtime_version": "1.1.5"}, False, "ok", "29.5.1"),
        ({"name": "Podman Engine", "version": "4.3.1"}, False, "ok", "Podman Engine 4.3.1"),
        ({}, True, "warn", "inside the bot's own container"),
        ({"address": "tcp://10.0.0.1:2375"}, True, "warn", "is not encrypted"),
        ({"missing": ("seccomp",)}, False, "fail", "cannot enforce: seccomp"),
    ],
)
def test_what_an_engine_says_of_itself(changes: dict[str, Any], inside: bool, state: str, words: str) -> None:
    about = About(**{name: getattr(SOUND, name) for name in About.__slots__} | changes)
    found = doctor._about(about, SPEC, inside=inside)
    worst = max(found, key=lambda finding: ("ok", "warn", "fail").index(finding.state))
    assert worst.state == state, found
    assert any(words in finding.said for finding in found if finding.state == state), found
    assert all(bool(finding.remedy) == (finding.state != "ok") for finding in found)


def test_a_machine_with_less_memory_than_a_thread_may_use_is_told_a_smaller_number(tmp_path: Path) -> None:
    about = About(**{name: getattr(SOUND, name) for name in About.__slots__} | {"memory": 1 << 30})
    memory = doctor._machine(about, settings(tmp_path))[0]
    assert (memory.state, memory.remedy) == ("fail", "export CELLMATE_MEMORY=512")


# --- This machine


async def test_a_full_disk_is_seen_by_all_who_need_it(tmp_path: Path) -> None:
    with small_disk(tmp_path / "home", 4096) as home:
        fill(home)
        found = await diagnosed(settings(home), url=f"unix://{tmp_path}/none.sock")
        assert states(found["disk"]) == states(found["files"]) == states(found["journal"]) == {"fail"}
        assert "No space left" in found["files"][0].said and "df -h" in found["files"][0].remedy


async def test_a_home_that_cannot_be_is_found_not_raised(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = await diagnosed(settings(tmp_path / "file" / "home"), url=f"unix://{tmp_path}/none.sock")
    assert states(found["files"]) == states(found["journal"]) == {"fail"}


async def test_a_disk_with_less_than_a_threads_files_is_a_warning(tmp_path: Path) -> None:
    found = await diagnosed(settings(tmp_path, workspace=1 << 40), url=f"unix://{tmp_path}/none.sock")
    assert found["disk"][0].state == "warn" and found["disk"][0].remedy


async def test_a_journal_that_cannot_be_reached_says_so_without_its_password(tmp_path: Path) -> None:
    its = settings(tmp_path, database="postgresql://me:hunter2@127.0.0.1:9/none")
    found = await diagnosed(its, url=f"unix://{tmp_path}/none.sock")
    assert found["journal"][0].state == "fail" and "hunter2" not in repr(found["journal"])
    assert "CELLMATE_DATABASE" in found["journal"][0].remedy


async def test_a_journals_version_is_told(tmp_path: Path) -> None:
    async with journal.connect(f"sqlite:///{tmp_path}/journal.db") as opened:
        assert await opened.version() == f"sqlite+aiosqlite:///{tmp_path}/journal.db, version {NEWEST}"


# --- The model


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as server:
        yield server


async def asked(model: ScriptedModel, name: str = "scripted", key: str = KEY) -> Finding:
    return await check_model(api_key=key, base_url=model.env["OPENAI_BASE_URL"], model=name)


async def test_a_model_that_answers_is_well(model: ScriptedModel) -> None:
    model.reply("yes")
    found = await asked(model)
    assert found.state == "ok" and found.said.startswith("scripted answers at 127.0.0.1:")
    assert len(model.requests) == 1


async def test_a_wrong_key_is_named_and_not_repeated(model: ScriptedModel) -> None:
    found = await asked(model, key="sk-wrong-wrong")
    assert found.state == "fail" and "does not accept the key" in found.said and "OPENAI_API_KEY" in found.remedy
    assert "sk-wrong" not in repr(found)


async def test_a_wrong_name_is_told_the_right_ones(model: ScriptedModel) -> None:
    model.names = ["qwen", "llama"]
    found = await asked(model, "gwen")
    assert (found.state, found.remedy) == ("fail", "export CELLMATE_MODEL_NAME=qwen")
    assert "knows no model gwen; it has qwen, llama" in found.said


@pytest.mark.parametrize(
    ("fault", "state", "words"),
    [
        (Fault.status(404, "no such page"), "fail", "knows no model scripted, or is no model's server"),
        (Fault.status(403), "fail", "does not let this key use scripted"),
        (Fault.status(429, "no money", type="insufficient_quota"), "fail", "quota is used up"),
        (Fault.status(429), "warn", "busy"),
        (Fault.status(503), "warn", "(503)"),
        (Fault.status(400), "fail", "refuses the request (400)"),
        (Fault.stall(), "warn", "may still be loading"),
    ],
)
async def test_what_a_server_refuses_is_told_apart(model: ScriptedModel, fault: Fault, state: str, words: str) -> None:
    model.reply(fault)
    found = await asked(model)
    assert found.state == state and words in found.said and found.remedy, found


async def test_a_server_that_is_away_or_mute_is_no_model() -> None:
    gone = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gone.wait()
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1"
    async with server:
        found = await check_model(api_key="", base_url=url, model="any")
        assert found.state == "fail" and f"127.0.0.1:{port} does not answer" in found.said
        gone.set()
    found = await check_model(api_key="", base_url=url, model="any")
    assert found.state == "fail" and "cannot be reached" in found.said and "OPENAI_BASE_URL" in found.remedy


# --- All together


async def test_work_that_will_not_end_is_left(tmp_path: Path) -> None:
    tries = 0

    async def stubborn() -> None:
        nonlocal tries
        while tries < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                tries += 1

    with pytest.raises(TimeoutError):
        await doctor.within(0.01, _failing_late())
    await doctor.within(0.01, stubborn())  # it ended well after all
    assert tries == 2


async def _failing_late() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise OSError("while clearing up")


async def test_a_platform_that_hangs_is_one_failed_line(tmp_path: Path) -> None:
    async def hangs() -> Sequence[Finding]:
        await asyncio.Event().wait()
        return []

    no_engine = partial(docker.connect, "test", SPEC, pool=0, url=f"unix://{tmp_path}/none.sock")
    found = await doctor.diagnose(settings(tmp_path), SPEC, no_engine, {"slack": hangs}, patience=0.1)
    assert [(finding.state, finding.check) for finding in found][-1] == ("fail", "slack")


def test_the_table_is_aligned_and_no_escape_sequence_reaches_the_terminal() -> None:
    findings = [Finding("a", "ok", "well"), Finding("longer", "warn", "so\x1b[2J so", "type this"), Finding("b", "fail", "no")]
    assert doctor.table(findings) == "\n".join(
        ["✓ a       well", "! longer  so [2J so", "          → type this", "✗ b       no"]
    )


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere: this needs another user")
async def test_a_home_that_is_not_ours_is_found(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o500)
    found = await diagnosed(settings(tmp_path / "home"), url=f"unix://{tmp_path}/none.sock")
    assert states(found["files"]) == {"fail"}
