"""Users, capabilities, memory and the processes of the container, as the kernel (Linux) shows and takes them."""

import contextlib
import ctypes
import os
import resource
import signal
import struct
from collections.abc import Collection, Iterator
from pathlib import Path

_SETGID, _SETUID, _KILL = 6, 7, 5  # capability numbers, <linux/capability.h>
_VERSION_3 = 0x20080522
_PR_SET_DUMPABLE, _PR_SET_KEEPCAPS = 4, 8  # <linux/prctl.h>

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")


def _set_capabilities(bits: int) -> None:
    header = struct.pack("=Ii", _VERSION_3, 0)
    data = struct.pack("=6I", bits, bits, 0, 0, 0, 0)
    if _libc.capset(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def become_supervisor(uid: int) -> None:
    """From root to a user of our own that may still start and end the processes of others; nobody may look inside."""
    _prctl(_PR_SET_KEEPCAPS, 1)
    _become(uid)
    _set_capabilities(1 << _SETUID | 1 << _SETGID | 1 << _KILL)
    hide()


def become_user(uid: int) -> None:
    """To the user that code runs as, with no capability."""
    _become(uid)
    _set_capabilities(0)
    hide()


def open_folder_as(uid: int, path: str) -> int:
    """A folder that this user alone may enter, open for a look at the names in it. Not once there are children."""
    own = os.geteuid()
    os.seteuid(uid)
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    finally:
        os.seteuid(own)
        hide()


def _become(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def hide() -> None:
    """Neither traceable nor readable under /proc for others of the same user."""
    _prctl(_PR_SET_DUMPABLE, 0)


def show() -> None:
    """An ordinary process again."""
    _prctl(_PR_SET_DUMPABLE, 1)


def prefer_for_oom(score: int) -> None:
    """Be the one that goes when memory is out. Raising needs no capability; where it is refused things stay as they are."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(score))


def oom_kills() -> int:
    """How many processes of this container the kernel has ended for want of memory; 0 where it does not say."""
    for path, key in (("/sys/fs/cgroup/memory.events", "oom_kill"), ("/sys/fs/cgroup/memory/memory.oom_control", "oom_kill")):
        with contextlib.suppress(OSError, ValueError, KeyError):
            return int(dict(line.split() for line in Path(path).read_text().splitlines())[key])
    return 0


def memory() -> int:
    """Bytes that this container uses, tmpfs included; 0 where the kernel does not say."""
    for path in ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            return int(Path(path).read_text())
    return 0


def limit_processes(most: int) -> None:
    """How many processes and threads each user may have, ours and the code's."""
    resource.setrlimit(resource.RLIMIT_NPROC, (most, most))


def memory_in_use() -> int:
    """Bytes that the container holds, files in memory included, as gVisor counts them: its machine is the container."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("AnonPages:")).split()[1]) * 1024


def ticks() -> int:
    """Now, in the unit and from the origin of a process's start time, rounded down as that is."""
    return int(float(Path("/proc/uptime").read_text().split()[0]) * os.sysconf("SC_CLK_TCK"))


def _others(spare: Collection[int], since: int) -> Iterator[int]:
    for entry in os.listdir("/proc"):  # noqa: PTH208 (names are all that is wanted)
        if not entry.isdigit() or int(entry) in spare:
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{entry}/stat").read_bytes().rpartition(b")")[2].split()
            if fields[0] != b"Z" and int(fields[19]) >= since:
                yield int(entry)


def sweep(spare: Collection[int], since: int = 0) -> bool:
    """End every process but `spare` that started at `since` ticks or later; False when they multiply faster."""
    for _ in range(30):
        found = list(_others(spare, since))
        if not found:
            return True
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
    return False


def end_all() -> None:
    """End every process but PID 1, at once."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
