"""Everything that confines a sandbox, line by line: read back from inside, and seen to be missing where the line is taken away.

A line is what keeps one thing in: a field of the container, a word of a mount, a rule of the filter, a step of the image. Its
probe must hold in a sandbox as people get it, and must not hold in one that differs by the line. Lines do not touch each
other, so that two kinds of weak sandbox carry all of them: `OPEN`, without nearly everything, and `BARE`, without a filter.
"""

import ast
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import aiodocker
import pytest
import pytest_asyncio

from sandbox import Limits, Spec, docker
from sandbox.docker import DockerEngine
from sandbox.runner import network
from tests.attacks.attempts import TOOLS
from tests.cells import run
from tests.engine import IMAGE, docker_engine, missing

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]
MIB = 1 << 20
LIMITS = Limits(seconds=20, memory=512 * MIB, workspace=64 * MIB, tmp=32 * MIB, file=48 * MIB, processes=60)
SPEC = Spec(IMAGE, LIMITS)
WEAK = f"{IMAGE.partition(':')[0]}:weak-{secrets.token_hex(4)}"

Body = dict[str, Any]
Seen = dict[str, Any]

CALLS = {
    "AF_ALG": "socket.socket(38, socket.SOCK_SEQPACKET)",
    "AF_VSOCK": "socket.socket(40)",
    "AF_PACKET": "socket.socket(17, 99)",
    "AF_TIPC, a pair": "socket.socketpair(30, socket.SOCK_STREAM)",
    "NETLINK_XFRM": "socket.socket(16, socket.SOCK_RAW, 6)",
    "io_uring_setup": "call('io_uring_setup', 0, 0)",
    "keyctl": "call('keyctl', -1)",
    "add_key": "call('add_key', 0, 0, 0, 0, 0)",
    "request_key": "call('request_key', 0, 0, 0, 0)",
    "userfaultfd": "call('userfaultfd', 0x8001)",
    "bpf": "call('bpf', 999, 0, 0)",
    "perf_event_open": "call('perf_event_open', 0, 0, -1, -1, -1)",
    "process_vm_readv": "call('process_vm_readv', os.getpid(), 0, 0, 0, 0, 0)",
    "process_vm_writev": "call('process_vm_writev', os.getpid(), 0, 0, 0, 0, 0)",
    "ptrace": "call('ptrace', 12, os.getpid(), 0, 0)",
    "kcmp": "call('kcmp', os.getpid(), os.getpid(), 1, 0, 0)",
    "open_by_handle_at": "call('open_by_handle_at', -1, 0, 0)",
    "memfd_secret": "call('memfd_secret', -1)",
    "unshare": "call('unshare', 0)",
    "setns": "call('setns', -1, 0)",
    "clone with a new user namespace": "call('clone', 0x10000200, 0, 0, 0, 0)",
    "personality": "call('personality', 0x40000)",
}
"""Calls that the filter refuses with EPERM, with arguments to which Linux itself would say something else."""

PROBE = f"""{TOOLS}
import glob, resource, subprocess
def first(*paths): return next(open(path).read().strip() for path in paths if os.path.exists(path))
def size(path): return os.statvfs(path).f_blocks * os.statvfs(path).f_frsize
me = dict(line.split(':\\t', 1) for line in open('/proc/self/status').read().splitlines() if ':\\t' in line)
print(dict(
    bounding=int(me['CapBnd'], 16), privileges=me['NoNewPrivs'], seccomp=me['Seccomp'], users=me['Uid'].split(),
    command=first('/proc/1/cmdline'),
    setuid=subprocess.run(['find', '/', '-xdev', '-perm', '/6000'], capture_output=True).stdout,
    mounts={{line.split()[1]: line.split()[3].split(',') for line in open('/proc/mounts')}},
    sizes={{path: size(path) for path in ('/workspace', '/tmp', '/dev/shm')}},
    inodes={{path: os.statvfs(path).f_files for path in ('/workspace', '/tmp')}},
    memory=first('/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory/memory.limit_in_bytes'),
    swap=first('/sys/fs/cgroup/memory.swap.max', '/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes', '/dev/null'),
    processes=first('/sys/fs/cgroup/pids.max', '/sys/fs/cgroup/pids/pids.max'),
    cores=first('/sys/fs/cgroup/cpu.max', '/sys/fs/cgroup/cpu/cpu.cfs_quota_us').split()[0],
    oom=int(first('/proc/1/oom_score_adj')), ipc=os.readlink('/proc/self/ns/ipc'), network=os.readlink('/proc/self/ns/net'),
    limits={{name: resource.getrlimit(getattr(resource, 'RLIMIT_' + name)) for name in ('NOFILE', 'CORE', 'FSIZE')}},
    interfaces=[line.split(':')[0].strip() for line in open('/proc/net/dev') if ':' in line],
    host=socket.gethostname(), environment=set(os.environ), devices=set(os.listdir('/dev')),
    zygote=errno_of(lambda: open(f'/proc/{{os.getppid()}}/maps').read()),
    calls={{{", ".join(f"{name!r}: errno_of(lambda: {attempt})" for name, attempt in CALLS.items())}}},
    clone3=errno_of(lambda: call('clone3', 0, 0)),
))
"""


class Line(NamedTuple):
    """One thing that confines: how a body loses it, and what is seen while it is there (in one sandbox, beside another)."""

    lose: Callable[[Body], object]
    holds: Callable[[Seen, Seen], bool]


def _field(name: str, value: object = None) -> Callable[[Body], object]:
    """Without a field of HostConfig, or with another value where the engine's own default is the same."""
    return lambda body: body["HostConfig"].pop(name) if value is None else body["HostConfig"].update({name: value})


def _option(path: str, pattern: str, instead: str = "") -> Callable[[Body], object]:
    """A mount without a word."""

    def lose(body: Body) -> None:
        options = body["HostConfig"]["Tmpfs"]
        changed = re.sub(pattern, instead, options[path])
        assert changed != options[path]
        options[path] = changed.replace(",,", ",")

    return lose


def _flag(path: str, flag: str) -> Line:
    """The engine puts `noexec`, `nosuid` and `nodev` on a tmpfs of its own accord, unless the opposite is asked for."""
    return Line(_option(path, rf"\b{flag}\b", flag.removeprefix("no")), lambda seen, _: flag in seen["mounts"][path])


def _is(name: str, value: object) -> Callable[[Seen, Seen], bool]:
    return lambda seen, _: bool(seen[name] == value)


def _user(uid: int, body: Body) -> None:
    """The supervisor as `uid`, the code as the one after it."""
    body["Cmd"][1] = str(uid)
    tmpfs = body["HostConfig"]["Tmpfs"]
    tmpfs.update({path: re.sub(r"id=\d+", f"id={uid + 1}", options) for path, options in tmpfs.items()})


def _security(opt: str) -> Callable[[Body], object]:
    def lose(body: Body) -> None:
        options = body["HostConfig"]["SecurityOpt"]
        options.remove(next(option for option in options if option.startswith(opt)))

    return lose


def _limit(name: str, value: int) -> Line:
    def lose(body: Body) -> None:
        ulimits = body["HostConfig"]["Ulimits"]
        ulimits.remove(next(limit for limit in ulimits if limit["Name"] == name))

    return Line(lose, lambda seen, _: bool(seen["limits"][name.upper()] == (value, value)))


ENVIRONMENT = {
    "HOME",
    "LANG",
    "PATH",
    "TMPDIR",
    "MPLBACKEND",
    "MPLCONFIGDIR",
    "IPYTHONDIR",
    "XDG_CACHE_HOME",
    "PYTHONUNBUFFERED",
}
ENVIRONMENT |= network.ENVIRONMENT.keys()
ENVIRONMENT |= {f"{library}_NUM_THREADS" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")} | {"LC_CTYPE"}
DEVICES = {"core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty"}
DEVICES |= {"urandom", "zero"}
MASKED = {"/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware"}
OURS = ("/workspace", "/tmp", "/dev", "/proc", "/sys", "/etc/resolv.conf", "/etc/hostname", "/etc/hosts")

OPEN: dict[str, Line] = {
    "1 no capability to be had": Line(_field("CapDrop"), _is("bounding", 1 << 5 | 1 << 6 | 1 << 7)),
    "2 no new privileges": Line(_security("no-new-privileges"), _is("privileges", "1")),
    "2 no setuid files in the image": Line(lambda body: body.update(Image=WEAK), _is("setuid", b"")),
    "3 users of its own": Line(partial(_user, 10_000), lambda one, two: one["users"] != two["users"]),
    "4 a read-only system": Line(_field("ReadonlyRootfs"), lambda seen, _: "ro" in seen["mounts"]["/"]),
    "4 nothing of the host's is mounted": Line(
        _field("Binds", ["/usr:/mnt:ro"]), lambda seen, _: all(path.startswith(OURS) for path in seen["mounts"].keys() - {"/"})
    ),
    "4 no device": Line(
        _field("Devices", [{"PathOnHost": "/dev/zero", "PathInContainer": "/dev/extra", "CgroupPermissions": "rwm"}]),
        lambda seen, _: bool(seen["devices"] <= DEVICES),
    ),
    "4 size of /workspace": Line(_option("/workspace", r"size=\d+"), lambda seen, _: seen["sizes"]["/workspace"] == 64 * MIB),
    "4 inodes of /workspace": Line(
        _option("/workspace", r"nr_inodes=\d+"), lambda seen, _: seen["inodes"]["/workspace"] == 50_000
    ),
    "4 nosuid of /workspace": _flag("/workspace", "nosuid"),
    "4 nodev of /workspace": _flag("/workspace", "nodev"),
    "4 size of /tmp": Line(_option("/tmp", r"size=\d+"), lambda seen, _: seen["sizes"]["/tmp"] == 32 * MIB),
    "4 inodes of /tmp": Line(_option("/tmp", r"nr_inodes=\d+"), lambda seen, _: seen["inodes"]["/tmp"] == 50_000),
    "4 noexec of /tmp": _flag("/tmp", "noexec"),
    "4 nosuid of /tmp": _flag("/tmp", "nosuid"),
    "4 nodev of /tmp": _flag("/tmp", "nodev"),
    "5 memory": Line(_field("Memory"), _is("memory", str(512 * MIB))),
    "5 no swap": Line(_field("MemorySwap"), lambda seen, _: seen["swap"] in ("0", str(512 * MIB))),
    "5 processes": Line(_field("PidsLimit"), _is("processes", "60")),
    "5 cores": Line(_field("CpuQuota"), _is("cores", "200000")),
    "5 it goes first when memory is out": Line(_field("OomScoreAdj"), _is("oom", 500)),
    "5 its own IPC": Line(_field("IpcMode", "host"), lambda one, two: one["ipc"] != two["ipc"]),
    "5 open files": _limit("nofile", 1024),
    "5 no core files": _limit("core", 0),
    "5 size of a file": _limit("fsize", 48 * MIB),
    "6 no network": Line(
        lambda body: (body["HostConfig"].update(NetworkMode="host"), body.update(NetworkDisabled=False)),
        lambda one, two: one["interfaces"] == ["lo"] and one["network"] != two["network"],
    ),
    "7 our filter, not the engine's": Line(
        # What no engine's own filter refuses; newer ones refuse AF_ALG and io_uring too.
        _security("seccomp="),
        lambda seen, _: {seen["calls"][name] for name in ("ptrace", "memfd_secret")} == {"EPERM"},
    ),
    "8 no log": Line(_field("LogConfig"), _is("logged", False)),
    "9 it ends at once": Line(lambda body: body.pop("StopTimeout"), _is("patience", 1)),
    "12 a folder that exists": Line(lambda body: body.pop("WorkingDir"), _is("folder", "/")),
    "13 nothing in the environment": Line(
        lambda body: body.update(Env=["SOME_TOKEN=secret"]), lambda seen, _: bool(seen["environment"] <= ENVIRONMENT)
    ),
    "13 a name that says nothing": Line(lambda body: body.pop("Hostname"), _is("host", "sandbox")),
    "the zygote cannot be looked into": Line(lambda body: None, _is("zygote", "EACCES")),
    "the engine's own: masked paths": Line(_field("MaskedPaths", []), lambda seen, _: MASKED & seen["mounts"].keys() != set()),
    "the engine's own: read-only paths": Line(
        _field("ReadonlyPaths", []), lambda seen, _: "ro" in seen["mounts"].get("/proc/sys", ())
    ),
}
"""By the numbers of the checklist in the sandbox's notes. What the weak image loses is in `WEAKEN`."""

UNFILTERED = _field("SecurityOpt", ["no-new-privileges", "seccomp=unconfined"])
BARE: dict[str, Line] = {
    "5 shared memory": Line(_field("ShmSize", 128 * MIB), lambda seen, _: seen["sizes"]["/dev/shm"] == 64 * MIB),
    "3 not root": Line(partial(_user, -1), lambda seen, _: "0" not in seen["users"]),
    "7 a filter at all": Line(UNFILTERED, _is("seccomp", "2")),
    "7 clone3 is not there": Line(UNFILTERED, _is("clone3", "ENOSYS")),
    "9 process 1 is our supervisor": Line(_field("Init", True), lambda seen, _: seen["command"].startswith("python3\0-I\0")),
}

WEAKEN = r"""
set -e
cp /bin/true /usr/local/bin/setuid; chmod u+s /usr/local/bin/setuid
cd /opt/cellmate/runner; rm -r __pycache__
weaken() { grep -q "$2" "$1"; sed -i "s/$2/$3/" "$1"; }
weaken children.py 'for name in _PASSED_ON if name in os.environ' 'for name in os.environ'
weaken processes.py '_prctl(_PR_SET_DUMPABLE, 0)' '_prctl(_PR_SET_DUMPABLE, 1)'
"""
"""What a weak image lacks: a setuid file is in it, the environment is passed on whole, and processes may be looked into."""


async def _open(engine: DockerEngine, key: str, lines: dict[str, Line]) -> Seen:
    """What is seen in a sandbox without these lines."""
    sound = docker._body

    def weaker(spec: Spec, instance: str, token: bytes, *, podman: bool) -> Body:
        body = sound(spec, instance, token, podman=podman)
        for lose in {line.lose: None for line in lines.values()}:
            lose(body)
        return body

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(docker, "_body", weaker)
        session = await engine.session(key, SPEC)
    outcome = await run(session, PROBE)
    assert outcome.ended.reason == "ok", outcome.outputs
    shown = await engine._docker.containers.container(engine._claimed[key].id).show()
    told = {
        "logged": shown["LogPath"] != "",
        "patience": shown["Config"].get("StopTimeout"),
        "folder": shown["Config"]["WorkingDir"],
    }
    seen: Seen = ast.literal_eval(outcome.stdout)
    return seen | told


@asynccontextmanager
async def _weak_image() -> AsyncIterator[None]:
    async with aiodocker.Docker() as client:
        changing = await client.containers.run({"Image": IMAGE, "Entrypoint": ["sh", "-c", WEAKEN], "NetworkDisabled": True})
        try:
            assert (await changing.wait())["StatusCode"] == 0
            await changing.commit(repository=IMAGE.partition(":")[0], tag=WEAK.partition(":")[2])
        finally:
            await changing.delete(force=True, v=True)
        try:
            yield
        finally:
            await client.images.delete(WEAK, force=True)


class Sandboxes(NamedTuple):
    """What is seen in each: two as people get them, two without nearly everything, and one without a filter."""

    sound: tuple[Seen, Seen]
    open: tuple[Seen, Seen]
    bare: Seen


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandboxes() -> AsyncIterator[Sandboxes]:
    if why := await missing():
        pytest.skip(why)
    async with _weak_image(), docker_engine(spec=SPEC) as engine:
        yield Sandboxes(
            (await _open(engine, "sound", {}), await _open(engine, "also sound", {})),
            (await _open(engine, "open", OPEN), await _open(engine, "also open", OPEN)),
            await _open(engine, "bare", BARE),
        )


@pytest.mark.parametrize("name", OPEN)
async def test_a_line_of_the_container(sandboxes: Sandboxes, name: str) -> None:
    assert OPEN[name].holds(*sandboxes.sound)
    assert not OPEN[name].holds(*sandboxes.open), "it does not see what it is there for"


@pytest.mark.parametrize("name", BARE)
async def test_a_line_beside_the_filter(sandboxes: Sandboxes, name: str) -> None:
    assert BARE[name].holds(*sandboxes.sound)
    assert not BARE[name].holds(sandboxes.bare, sandboxes.bare), "it does not see what it is there for"


@pytest.mark.parametrize("name", CALLS)
async def test_a_rule_of_the_filter(sandboxes: Sandboxes, name: str) -> None:
    assert sandboxes.sound[0]["calls"][name] == "EPERM"
    if sandboxes.bare["calls"][name] == "EPERM":
        pytest.skip("this machine's kernel refuses it with the same words, filter or none")


async def test_no_rule_is_the_kernels_own(sandboxes: Sandboxes) -> None:
    """At least these are refused by the filter alone, so that the rules above cannot all be vacuous."""
    alone = {name for name, error in sandboxes.bare["calls"].items() if error != "EPERM"}
    assert {"io_uring_setup", "process_vm_readv", "ptrace", "unshare", "setns", "personality"} <= alone
