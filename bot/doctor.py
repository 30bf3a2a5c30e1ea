"""The check-up behind `cellmate doctor`: everything Cellmate needs, tried as the bot would use it.

Checks run side by side and each has its own time; nothing that hangs holds up the rest.
"""

import asyncio
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

from bot import journal
from bot.errors import ConfigError, JournalError
from bot.files import open_folder
from bot.models.check import check as check_model
from bot.settings import Settings
from bot.types import Finding
from sandbox import MIB, About, Engine, Printed, SandboxDown, SandboxError, Spec

Check = Callable[[], Awaitable[Sequence[Finding]]]
OpenEngine = Callable[[], AbstractAsyncContextManager[Engine]]
T = TypeVar("T")

PATIENCE = 8.0
"""Seconds that a check may take, unless told otherwise."""
_REACH = 2.5
"""Seconds in which an engine says who it is; a local one takes some milliseconds."""
_CLEAR_UP = 1.0
_LEAST = 64 * MIB
"""Free bytes below which an answer's files have no room."""
_ESCAPES = (((1, 1, 12), "CVE-2024-21626"), ((1, 2, 8), "CVE-2025-31133, CVE-2025-52565, CVE-2025-52881"))
"""Escapes from containers, by the first runc without them (runc's security advisories)."""
_COPYING = (29, 5, 1), "CVE-2026-41567, CVE-2026-42306"
"""Escapes by copying into containers, by the first Docker Engine without them (its security advisories of May 2026)."""
_KEPT_BY_1 = 1 << 5 | 1 << 6 | 1 << 7
"""KILL, SETGID and SETUID, which the supervisor keeps: the most that can be in a sandbox's bounding set."""
_MARKS = {"ok": "✓", "warn": "!", "fail": "✗"}
_AGAIN = "Look at what holds it up (`uptime`), or give it longer: cellmate doctor --patience 60"


async def diagnose(
    settings: Settings, spec: Spec, open_engine: OpenEngine, platforms: Mapping[str, Check], patience: float = PATIENCE
) -> list[Finding]:
    """Every finding, in an order to read them in. Opens the journal as the bot does, which brings it up to date; starts one
    sandbox and removes it. A check that takes longer than `patience` seconds has failed; all of them last few more."""

    async def bounded(name: str, work: Awaitable[Sequence[Finding]], seconds: float = patience) -> Sequence[Finding]:
        try:
            return await within(seconds, work)
        except TimeoutError:
            return [Finding(name, "fail", f"no answer within {seconds:g} s", _AGAIN)]

    found = await asyncio.gather(
        bounded("engine", _engine(settings, spec, open_engine, patience), patience + _REACH),
        bounded("model", _model(settings, patience)),
        bounded("disk", _home(settings)),
        bounded("journal", _journal(settings)),
        bounded("files", _files(settings)),
        *(bounded(name, check()) for name, check in platforms.items()),
    )
    return [finding for findings in found for finding in findings]


async def within(seconds: float, work: Awaitable[T]) -> T:
    """What `work` gives. Raises TimeoutError after `seconds`; where its clearing up hangs too, it is cancelled again."""
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    finally:
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=_CLEAR_UP)
    if not done and (task.cancelled() or task.exception()):
        raise TimeoutError
    return task.result()


def table(findings: Sequence[Finding]) -> str:
    """The findings for a person: a mark, the check, what was found, and under it what to type."""
    width = max(len(finding.check) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{_MARKS[finding.state]} {finding.check:{width}}  {_plain(finding.said)}")
        if finding.remedy:
            lines.append(f"  {'':{width}}  → {_plain(finding.remedy)}")
    return "\n".join(lines)


def _plain(text: str) -> str:
    """No escape sequence of a server's reaches the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


# --- The engine and the sandbox ---------------------------------------------------------------------------------------


async def _engine(settings: Settings, spec: Spec, open_engine: OpenEngine, patience: float) -> Sequence[Finding]:
    found: list[Finding] = []
    try:
        async with open_engine() as engine:
            about = await within(_REACH, engine.about())
            inside = await asyncio.to_thread(_inside_a_container)
            found += [*_about(about, spec, inside=inside), *await asyncio.to_thread(_machine, about, settings)]
            if all(finding.state != "fail" for finding in found):
                return [*found, await _sandbox(engine, spec, patience - _CLEAR_UP)]
    except SandboxDown as down:
        found.append(Finding("engine", "fail", str(down).rstrip("."), down.remedy))
    except TimeoutError:
        said = f"the engine takes the call, but does not answer within {_REACH} s"
        found.append(Finding("engine", "fail", said, "sudo systemctl restart docker"))
    except ValueError as problem:
        found.append(
            Finding("engine", "fail", str(problem), "unset DOCKER_HOST, or export DOCKER_HOST=unix:///path/docker.sock")
        )
    return [*found, Finding("sandbox", "fail", "not tried, for want of what failed above", "Mend that first")]


def _about(about: About, spec: Spec, *, inside: bool) -> list[Finding]:
    """The engine by what it says of itself. `inside`: the bot runs in a container."""
    found = [Finding("engine", "ok", f"{about.name} {about.version} at {about.address}"), *_versions(about)]
    if inside and about.address.startswith("unix://"):
        said = (
            "the engine's socket is inside the bot's own container: whoever gets into the bot is root on the engine's machine"
        )
        found.append(Finding("engine", "warn", said, "Run ./run under a user of its own instead, best with a rootless engine"))
    if about.address.startswith(("tcp://", "http://")):
        said = f"{about.address} is not encrypted: whoever can reach it is root on the engine's machine"
        found.append(
            Finding(
                "engine",
                "warn",
                said,
                "ssh -NL /tmp/docker.sock:/run/docker.sock HOST, and DOCKER_HOST=unix:///tmp/docker.sock",
            )
        )
    if about.missing:
        said = f"the engine cannot enforce: {', '.join(about.missing)}"
        found.append(
            Finding("engine", "fail", said, "Use a kernel and an engine that can; `docker info` names what is missing")
        )
    if about.image is None:
        found.append(
            Finding("image", "fail", f"{spec.image} is not there", "./run (it builds the image, or set CELLMATE_IMAGE)")
        )
    else:
        found.append(Finding("image", "ok", f"{spec.image}, {_size(about.image)}"))
    if spec.runtime and spec.runtime not in about.runtimes:
        said = f"the engine knows no runtime {spec.runtime}; it has {', '.join(about.runtimes) or 'none by name'}"
        found.append(Finding("runtime", "fail", said, f"Install {spec.runtime} there, or unset CELLMATE_RUNTIME"))
    else:
        found.append(Finding("runtime", "ok", f"{about.runtime} {about.runtime_version}".rstrip()))
    return found


def _versions(about: About) -> list[Finding]:
    """Versions that are out of care or have known escapes, as far as numbers tell."""
    found = [
        Finding("engine", "warn", said, "sudo apt-get update && sudo apt-get install --only-upgrade docker.io")
        for said in _engine_ails(about)
    ]
    numbers = _numbers(about.runtime_version)
    known = [names for mended, names in _ESCAPES if about.runtime == "runc" and (0,) < numbers < mended]
    if about.runtime == "runc" and (1, 3) <= numbers < (1, 3, 3):
        known.append(_ESCAPES[-1][1])
    if known:
        said = f"runc {about.runtime_version} has known escapes, unless your distribution mended them: {', '.join(known)}"
        remedy = "sudo apt-get update && sudo apt-get install --only-upgrade runc; where strangers ask: CELLMATE_RUNTIME=runsc"
        found.append(Finding("runtime", "warn", said, remedy))
    return found


def _engine_ails(about: About) -> Iterator[str]:
    version = _numbers(about.version)
    if about.name != "Docker Engine" or not version:
        return
    if version < (20, 10, 10):
        yield f"{about.version} refuses the call `clone3` in a way that newer programs do not know: threads may not start"
    if version < (23,):
        yield f"Docker has ended its own care for {about.version} (20.10: December 2023); your distribution may still mend it"
    elif version < _COPYING[0]:
        yield f"{about.version} has known escapes by `docker cp` ({_COPYING[1]}); Cellmate never copies so, you may"


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers: (1, 1, 5) of "1.1.5+ds1"; none where there are none."""
    leading = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, leading[0].split("."))) if leading else ()


def _inside_a_container() -> bool:
    """Docker and Podman leave a file each."""
    return any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv"))


def _machine(about: About, settings: Settings) -> list[Finding]:
    """Memory and disk of the engine's machine; its disk, and what memory is free, where that is this one. Blocking."""
    wanted = settings.memory * MIB
    said = f"{_size(about.memory)}, of which a thread may use {_size(wanted)}"
    local = about.address.startswith("unix://")
    free = _available() if local else None
    if about.memory < wanted:
        remedy = f"export CELLMATE_MEMORY={max(128, about.memory // MIB // 2)}"
        found = [Finding("memory", "fail", f"the engine's machine has {said}", remedy)]
    elif free is not None and free < wanted:
        remedy = "Close other programs (`free -h`), or set CELLMATE_MEMORY and CELLMATE_SESSIONS lower"
        found = [Finding("memory", "warn", f"{said}; only {_size(free)} is free now", remedy)]
    else:
        found = [Finding("memory", "ok", said + (f"; {_size(free)} is free now" if free is not None else ""))]
    folder = Path(about.folder)
    if local and about.folder and folder.exists():
        left = shutil.disk_usage(folder).free
        little = left < 2048 * MIB
        remedy = f"df -h {folder}; docker system df" if little else ""
        found.append(Finding("disk", "warn" if little else "ok", f"{_size(left)} free for the engine in {folder}", remedy))
    return found


def _available() -> int | None:
    """Bytes that programs could still get (proc(5), MemAvailable); None where Linux is not there to ask."""
    try:
        line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None
    return int(line.split()[1]) * 1024


_PROBE = """
import ctypes, errno, json, os, resource, signal, socket
libc = ctypes.CDLL(None, use_errno=True)
def first(*paths):
    for path in paths:
        if os.path.exists(path):
            return open(path).read().strip()
def size(path): return os.statvfs(path).f_blocks * os.statvfs(path).f_frsize
def reaches():
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("192.0.2.1", 9))  # sends nothing: asks for a route
    except OSError:
        return False
    return True
def error(act):
    try:
        act()
    except OSError as problem:
        return errno.errorcode[problem.errno]
def trace(*arguments):
    if libc.ptrace(*arguments) == -1:
        raise OSError(ctypes.get_errno(), "")
def spawned(most):
    children = []
    try:
        while len(children) < most:
            children.append(os.posix_spawn("/bin/sleep", ["sleep", "60"], {}))
    except OSError:
        pass
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return len(children)
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
mounts = {line.split()[1]: line.split()[3].split(",") for line in open("/proc/mounts")}
print(json.dumps({
    **{name: status.get(name, "").strip() for name in ("CapEff", "CapBnd", "Seccomp", "Uid")},
    "NoNewPrivs": libc.prctl(39, 0, 0, 0, 0),
    "algorithms": error(lambda: socket.socket(38, socket.SOCK_SEQPACKET)), "devices": len(os.listdir("/dev")),
    "tracing": error(lambda: trace(12, os.getpid(), 0, 0)),
    "spawned": spawned(PROCESSES), "read_only": "ro" in mounts["/"], "network": reaches(),
    "memory": first("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    "processes": first("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"),
    "machine": int(open("/proc/meminfo").readline().split()[1]) * 1024,
    "file": resource.getrlimit(resource.RLIMIT_FSIZE)[1], "workspace": size("/workspace"),
}))
"""


async def _sandbox(engine: Engine, spec: Spec, seconds: float) -> Finding:
    """Start a sandbox as a thread gets it, and read back from inside what is in force."""
    try:
        said = await within(seconds, _probe(engine, spec))
        broken = _broken(json.loads(said), spec)
    except TimeoutError:
        return Finding("sandbox", "fail", f"none starts and answers within {seconds:g} s", _AGAIN)
    except SandboxError as problem:
        return Finding("sandbox", "fail", str(problem).rstrip("."), getattr(problem, "remedy", "") or "./run")
    except (ValueError, KeyError, TypeError):
        return Finding("sandbox", "fail", "one starts, but cannot say what confines it", "./run (it builds the image anew)")
    if broken:
        said = f"one starts, but not confined as it must be: {', '.join(broken)}"
        remedy = "Look at /etc/docker/daemon.json and `docker info` (seccomp, cgroups), mend them and restart the engine"
        return Finding("sandbox", "fail", said, remedy)
    return Finding("sandbox", "ok", "starts and answers; read-only, no privileges, no network, calls filtered, limits in force")


async def _probe(engine: Engine, spec: Spec) -> str:
    session = await engine.session("doctor", spec)
    if session.origin == "adopted":  # a check-up that was killed left it: its answer is an old one, perhaps of another image
        await session.close()
        session = await engine.session("doctor", spec)
    try:
        code = f"PROCESSES = {spec.limits.processes}\n{_PROBE}"
        outputs = [output async for output in session.run("doctor", code)]
    finally:
        await session.close()
    return "".join(output.text for output in outputs if isinstance(output, Printed) and output.stream == "stdout")


def _broken(seen: Mapping[str, Any], spec: Spec) -> list[str]:
    """What confines the code less than the spec says; each in a few words. Raises ValueError or KeyError for nonsense."""
    limits = spec.limits
    # gVisor filters its own calls to our kernel, and shows its cgroup's limit as the memory of a machine.
    memory = seen["machine"] < 2 * limits.memory if spec.gvisor else _holds(seen["memory"], limits.memory)
    processes = spec.gvisor or _holds(seen["processes"], limits.processes)
    held = {
        "the code has capabilities": int(seen["CapEff"], 16) == 0,
        "the code could get capabilities": int(seen["CapBnd"], 16) | _KEPT_BY_1 == _KEPT_BY_1,
        "it has the machine's devices": seen["devices"] < 30,
        "the code may gain privileges": seen["NoNewPrivs"] == 1,
        "the code runs as root": "0" not in seen["Uid"].split(),
        "no seccomp filter": spec.gvisor or seen["Seccomp"] == "2",
        "another seccomp filter than Cellmate's": spec.gvisor or seen["algorithms"] == seen["tracing"] == "EPERM",
        "its system is writable": seen["read_only"] is True,
        "it has a network": seen["network"] is False,
        "no memory limit": memory,
        "no limit on processes": processes and seen["spawned"] < limits.processes,
        "no limit on files": 0 < seen["file"] <= limits.file and seen["workspace"] <= limits.workspace,
    }
    return [what for what, holds in held.items() if not holds]


def _holds(seen: str | None, limit: int) -> bool:
    """Whether a cgroup's file shows a limit that is no higher. It says "max", or is not there, where there is none."""
    return seen is not None and seen.isdecimal() and int(seen) <= limit


# --- This machine ------------------------------------------------------------------------------------------------------


async def _model(settings: Settings, patience: float) -> Sequence[Finding]:
    if settings.source == "none":
        return [Finding("model", "ok", "none: fenced code is run as it is (CELLMATE_MODEL, OPENAI_API_KEY)")]
    if settings.source != "openai":
        better = "For a better one: export OPENAI_API_KEY=..., or OPENAI_BASE_URL for a server of your own"
        return [Finding("model", "warn", "the small demo model, on this machine", better)]
    key = settings.openai_api_key.get_secret_value()
    url = settings.openai_base_url or None
    return [await check_model(api_key=key, base_url=url, model=settings.model_name, seconds=patience - 3)]


async def _home(settings: Settings) -> Sequence[Finding]:
    def look() -> tuple[Path, int]:
        home = settings.home.absolute()
        there = next(folder for folder in (home, *home.parents) if folder.exists())
        return home, shutil.disk_usage(there).free

    home, left = await asyncio.to_thread(look)
    said, remedy = (
        f"{_size(left)} free for CELLMATE_HOME {home}",
        f"Free some (df -h {home}), or export CELLMATE_HOME=/where/there/is/more",
    )
    if left < _LEAST:
        return [Finding("disk", "fail", said, remedy)]
    if left < (settings.file + settings.workspace) * MIB:
        return [Finding("disk", "warn", f"{said}: less than a thread's files", remedy)]
    return [Finding("disk", "ok", said)]


async def _journal(settings: Settings) -> Sequence[Finding]:
    try:
        async with journal.connect(settings.journal_url) as opened:
            return [Finding("journal", "ok", await opened.version())]
    except (ConfigError, JournalError) as problem:
        remedy = (
            "Mend CELLMATE_DATABASE"
            if settings.database
            else f"ls -ld {settings.home.absolute()}; df -h {settings.home.absolute()}"
        )
        return [Finding("journal", "fail", str(problem).rstrip("."), remedy)]


async def _files(settings: Settings) -> Sequence[Finding]:
    """Write, read and remove a file, unlike any other, as an answer's files are kept."""
    store, content = open_folder(settings.home / "files"), os.urandom(64 * 1024)

    async def chunks() -> AsyncIterator[bytes]:
        yield content

    try:
        blob = await store.put(chunks())
        read = b"".join([chunk async for chunk in store.open(blob)])
        await store.remove(blob)
    except OSError as problem:
        said = f"files cannot be kept in {settings.home.absolute()}: {problem.strerror}"
        remedy = f"Make it writable and free some space: ls -ld {settings.home.absolute()}; df -h {settings.home.absolute()}"
        return [Finding("files", "fail", said, remedy)]
    if read != content:
        return [
            Finding(
                "files", "fail", "what was written reads differently: the disk is failing", "Look at `dmesg`; change the disk"
            )
        ]
    return [Finding("files", "ok", "written, read and removed")]


def _size(size: int) -> str:
    return f"{size / (1024 * MIB):.1f} GiB" if size >= 1024 * MIB else f"{size // MIB} MiB"
