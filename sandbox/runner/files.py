"""The file helper: lists, reads and writes the workspace under the code's own user, so it can do no more than code can.

Every path is walked from the workspace's descriptor, one `openat` a part, following no symbolic link. Only regular files count.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import wire
from .channel import Cancelled, Channel, Refused
from .pieces import Damaged, Pieces, Source
from .text import human, safe_name

ROOT = "/workspace"
_DEPTH, _ENTRIES, _NAMES = 16, 10_000, 2 << 20
_SAVE_DEPTH, _SAVE_ENTRIES = 64, 60_000
_TEMPORARY = ".cellmate-"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def serve(connection: socket.socket, limit: int) -> None:
    """Answer PID 1 until it closes. `limit` is the size of the largest file."""
    channel = Channel(connection)
    _remove_temporary()
    while (frame := channel.next()) is not None:
        if frame.type == wire.SCAN:
            _answer_scan(channel, frame)
        elif frame.type == wire.OPEN:
            _answer(channel, frame, limit)


def _answer(channel: Channel, frame: wire.Frame, limit: int) -> None:
    channel.open(frame.op)
    request = wire.unpack(frame.payload)
    acts: dict[str, Callable[[Channel, dict[str, Any], int], dict[str, Any]]] = {
        "list": _list,
        "put": _put,
        "get": _get,
        "save_files": _save,
        "load_files": _load,
    }
    try:
        channel.tell(wire.DONE, acts[request["what"]](channel, request, limit))
    except Cancelled:
        _remove_temporary()
    except Refused as refusal:
        channel.tell(wire.REFUSED, {"why": str(refusal)})
    except OSError as error:
        channel.tell(wire.REFUSED, {"why": f"the workspace refused: {os.strerror(error.errno or errno.EIO).lower()}"})


# -- looking


def _root() -> int:
    """The workspace. Code may have taken its own rights away; they come back."""
    try:
        fd = os.open(ROOT, _DIRECTORY)
        if not os.access(".", os.R_OK | os.W_OK | os.X_OK, dir_fd=fd):
            os.fchmod(fd, 0o700)
        return fd
    except PermissionError:
        Path(ROOT).chmod(0o700)
        return os.open(ROOT, _DIRECTORY)


def is_hidden(name: str) -> bool:
    """Neither listed nor handed out."""
    return name.startswith(".") or name == "__pycache__"


def _walk(fd: int, path: str, depth: int, budget: list[int], hidden: bool) -> Iterator[tuple[str, os.stat_result, int, str]]:
    """(path, stat, directory descriptor, name) of everything below, links not followed, within the budget of entries."""
    with os.scandir(fd) as entries:
        names = []
        for entry in entries:
            budget[0] -= 1
            if budget[0] < 0:
                break
            names.append(entry.name)
    for name in names:
        if name.startswith(_TEMPORARY) or (not hidden and is_hidden(name)):
            continue
        with contextlib.suppress(OSError):
            info = os.stat(name, dir_fd=fd, follow_symlinks=False)
            yield f"{path}{name}", info, fd, name
            if stat.S_ISDIR(info.st_mode) and depth > 1:
                below = os.open(name, _DIRECTORY, dir_fd=fd)
                try:
                    yield from _walk(below, f"{path}{name}/", depth - 1, budget, hidden)
                finally:
                    os.close(below)


def _regular() -> dict[str, os.stat_result]:
    """Every visible regular file by its true path."""
    root = _root()
    found: dict[str, os.stat_result] = {}
    size = 0
    try:
        for path, info, _, _ in _walk(root, "", _DEPTH, [_ENTRIES], hidden=False):
            size += len(path)
            if size > _NAMES:
                break
            if stat.S_ISREG(info.st_mode) and _is_text(path):
                found[path] = info
    finally:
        os.close(root)
    return found


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _named() -> dict[str, tuple[str, os.stat_result]]:
    """Every visible regular file by the name it is shown under; twins after cleaning are numbered."""
    named: dict[str, tuple[str, os.stat_result]] = {}
    for path, info in sorted(_regular().items()):
        name, number = safe_name(path), 2
        stem, dot, suffix = name.rpartition(".")
        while name in named:
            name = f"{stem} ({number}){dot}{suffix}" if stem else f"{suffix} ({number})"
            number += 1
        named[name] = path, info
    return named


def _answer_scan(channel: Channel, frame: wire.Frame) -> None:
    """What there is; or, of the files that are named, their first bytes in hexadecimal."""
    try:
        entries: dict[str, Any] = _heads(wire.unpack(frame.payload)["heads"]) if frame.payload else _stamps()
    except OSError:
        entries = {}
    data = wire.pack(entries)
    for at in range(0, len(data), wire.CHUNK):
        channel.raw(wire.SCAN, frame.op, data[at : at + wire.CHUNK])
    channel.raw(wire.FINISHED, frame.op)


def _stamps() -> dict[str, list[int]]:
    return {name: [info.st_ino, info.st_size, info.st_mtime_ns] for name, (_, info) in _named().items()}


def _heads(names: list[str]) -> dict[str, str]:
    heads = {}
    for name in names:
        with contextlib.suppress(OSError, Refused):
            fd = _open_named(name)
            try:
                heads[name] = os.read(fd, wire.HEAD).hex()
            finally:
                os.close(fd)
    return heads


def _list(channel: Channel, request: dict[str, Any], limit: int) -> dict[str, Any]:
    files = [[name, info.st_size] for name, (_, info) in sorted(_named().items())]
    for at in range(0, len(files), 200):
        channel.tell(wire.NOTE, {"files": files[at : at + 200]})
    return {}


# -- paths


def _parent(path: str, create: bool = False) -> tuple[int, str]:
    """A descriptor of the directory that holds `path`, and its last part."""
    fd = _root()
    *above, name = path.split("/")
    try:
        for part in above:
            if part in ("", ".", ".."):
                raise Refused(f"{path!r} is not a name inside the workspace.")
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=fd)
            below = os.open(part, _DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = below
    except BaseException:
        os.close(fd)
        raise
    return fd, name


def _open(path: str) -> int:
    parent, name = _parent(path)
    try:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    finally:
        os.close(parent)


def _remove_temporary() -> None:
    with contextlib.suppress(OSError):
        root = _root()
        for name in os.listdir(root):  # noqa: PTH208 (by descriptor)
            if name.startswith(_TEMPORARY):
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=root)
        os.close(root)


# -- one file in, one file out


def _put(channel: Channel, request: dict[str, Any], limit: int) -> dict[str, Any]:
    name, size = safe_name(str(request["name"])), int(request["size"])
    _refuse_what_cannot_fit(name, size, limit)
    parent, last = _put_parent(name)
    temporary = f"{_TEMPORARY}{channel.op}"
    root = _root()
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=root)
        try:
            channel.tell(wire.NOTE, {"go": True})
            _receive(channel, fd, name, size)
        finally:
            os.close(fd)
        os.rename(temporary, last, src_dir_fd=root, dst_dir_fd=parent)
    except OSError as error:
        raise Refused(_why_not_written(name, error)) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=root)
        os.close(root)
        os.close(parent)
    return {"name": name, "size": size}


def _put_parent(name: str) -> tuple[int, str]:
    try:
        parent, last = _parent(name, create=True)
    except OSError as error:
        raise Refused(_why_not_written(name, error)) from error
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(os.stat(last, dir_fd=parent, follow_symlinks=False).st_mode):
            os.close(parent)
            raise Refused(f"{name} is a folder in the workspace; give the file another name.")
    return parent, last


def _refuse_what_cannot_fit(name: str, size: int, limit: int) -> None:
    if size > limit:
        raise Refused(f"{name} is too large: {human(size)}, and one file may have {human(limit)} at most.")
    root = _root()
    try:
        space = os.statvfs(root)
    finally:
        os.close(root)
    free = space.f_bavail * space.f_frsize
    if size > free:
        whole = human(space.f_blocks * space.f_frsize)
        raise Refused(f"{name} does not fit: it has {human(size)}, and {human(free)} of the workspace's {whole} are free.")
    if space.f_files and space.f_favail < 2:  # gVisor does not count them
        raise Refused(f"{name} does not fit: the workspace holds as many files as it can; delete some.")


def _receive(channel: Channel, fd: int, name: str, size: int) -> None:
    got = 0
    while data := channel.read():
        got += len(data)
        if got > size:
            break
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
    if got != size:
        raise Refused(f"{name} came with another size than announced ({human(got)}, not {human(size)}); send it again.")


def _why_not_written(name: str, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{name} does not fit: the workspace is full; delete something first."
    return f"{name} cannot be written: {os.strerror(error.errno or errno.EIO).lower()}."


def _get(channel: Channel, request: dict[str, Any], limit: int) -> dict[str, Any]:
    name = str(request["name"])
    fd = _open_named(name)
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise Refused(f"{name} is not a regular file.")
        if info.st_size > limit:
            raise Refused(
                f"{name} is too large to hand out: {human(info.st_size)}, and one file may have {human(limit)} at most."
            )
        channel.tell(wire.NOTE, {"size": info.st_size})
        left = info.st_size
        while left:
            data = os.read(fd, min(wire.CHUNK, left))
            if not data:
                raise Refused(f"{name} became shorter while it was being read.")
            left -= len(data)
            channel.write(data)
    finally:
        os.close(fd)
    return {"size": info.st_size}


def _open_named(name: str) -> int:
    try:
        return _open(name)
    except FileNotFoundError:
        known = _named().get(name)
        if known is None:
            raise Refused(f"There is no file {name} in the workspace.") from None
        return _open(known[0])
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENOTDIR):
            raise Refused(f"{name} is a symbolic link, which is not followed.") from error
        raise Refused(f"{name} cannot be read: {os.strerror(error.errno or errno.EIO).lower()}.") from error


# -- the whole workspace out and in: one record {path, kind, mode, time} with the bytes for each entry


def _save(channel: Channel, request: dict[str, Any], limit: int) -> dict[str, Any]:
    pieces = Pieces(channel, request["known"])
    count = 0
    lost: list[tuple[str, str]] = []
    budget = [_SAVE_ENTRIES]
    root = _root()
    space = os.statvfs(root)
    room = space.f_blocks * space.f_frsize
    try:
        for path, info, fd, name in _walk(root, "", _SAVE_DEPTH, budget, hidden=True):
            if path.startswith(".cache/") or "__pycache__" in path.split("/"):
                continue
            try:
                if stat.S_ISREG(info.st_mode) and (room := room - info.st_size) < 0:
                    room += info.st_size
                    raise Refused("with it the files have more than the workspace could hold again")
                count += _save_entry(pieces, path, info, fd, name, limit)
            except Refused as refusal:
                lost.append((path, str(refusal)))
    finally:
        os.close(root)
    if budget[0] < 0:
        lost.append(("workspace", f"it holds more than {_SAVE_ENTRIES:,} files; the rest was not kept"))
    pieces.flush()
    _tell_lost(channel, lost)
    return {"files": count}


def _tell_lost(channel: Channel, lost: list[tuple[str, str]]) -> None:
    for at in range(0, min(len(lost), 1000), 50):
        channel.tell(wire.NOTE, {"lost": [(safe_name(path), why[:300]) for path, why in lost[at : at + 50]]})


def _save_entry(pieces: Pieces, path: str, info: os.stat_result, fd: int, name: str, limit: int) -> int:
    kind = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l"}.get(stat.S_IFMT(info.st_mode))
    if kind is None:
        raise Refused("it is a pipe, socket or device")
    if not _is_text(path):
        raise Refused("its name is not valid UTF-8")
    head: dict[str, Any] = {"path": path, "kind": kind, "mode": stat.S_IMODE(info.st_mode), "time": info.st_mtime_ns}
    if kind == "l":
        head["link"] = os.readlink(name, dir_fd=fd)
    if kind != "f":
        pieces.put(head, lambda write: None)
        return 0
    if info.st_size > limit:
        raise Refused(f"it has {human(info.st_size)}, more than the {human(limit)} one file may have")
    try:
        source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd)
    except OSError as error:
        raise Refused(os.strerror(error.errno or errno.EIO).lower()) from error
    try:
        pieces.put(head, lambda write: _copy(source, limit, write))
    except ValueError as error:
        raise Refused(str(error)) from error
    finally:
        os.close(source)
    return 1


def _copy(source: int, limit: int, write: Callable[[bytes], object]) -> None:
    at = 0
    while at < limit and (data := os.pread(source, min(256 << 10, limit - at), at)):
        at += len(data)
        write(data)


def _load(channel: Channel, request: dict[str, Any], limit: int) -> dict[str, Any]:
    source = Source(channel)
    count = 0
    lost: list[tuple[str, str]] = []
    times: list[tuple[str, int, int]] = []
    try:
        while (head := source.head()) is not None:
            count += _load_entry(source, head, lost, times)
    except (Damaged, KeyError, TypeError, ValueError):
        lost.append(("workspace", "the kept files are damaged from here on"))
        while channel.read():
            pass
    for path, mode, when in reversed(times):
        with contextlib.suppress(OSError, Refused):
            parent, name = _parent(path)
            os.chmod(name, mode, dir_fd=parent)
            os.utime(name, ns=(when, when), dir_fd=parent)
            os.close(parent)
    _tell_lost(channel, lost)
    return {"files": count}


def _load_entry(source: Source, head: dict[str, Any], lost: list[tuple[str, str]], times: list[tuple[str, int, int]]) -> int:
    path, kind, left = str(head["path"]), head["kind"], int(head["size"])
    target = -1
    try:
        parent, name = _parent(path, create=True)
        try:
            if kind == "d":
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=parent)
            elif kind == "l":
                os.symlink(str(head["link"]), name, dir_fd=parent)
            else:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                target = os.open(name, flags, 0o600, dir_fd=parent)
        finally:
            os.close(parent)
        while left:
            data = source.some(min(left, 256 << 10))
            left -= len(data)
            while data:
                data = data[os.write(target, data) :]
        if kind != "l":
            times.append((path, int(head["mode"]) & 0o777, int(head["time"])))
        return int(kind == "f")
    except (OSError, Refused) as error:
        lost.append((path, str(error) if isinstance(error, Refused) else os.strerror(error.errno or errno.EIO).lower()))
        while left:
            left -= len(source.some(left))
        return 0
    finally:
        if target >= 0:
            os.close(target)
