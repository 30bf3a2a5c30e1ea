"""Every kernel is forked from here, so a lost one is back in milliseconds.

Once asked to be warm it loads the heavy libraries, and the kernels forked from then on have them.
"""

import contextlib
import gc
import os
import select
import shutil
import signal
import socket
import sys
from pathlib import Path

from . import kernel, libraries, network, processes, wire


def _warm_up(shell: kernel.Shell) -> None:
    libraries.preload()
    shell.warm_up()
    gc.collect()
    gc.freeze()


def _copy_fonts() -> None:
    """The list of fonts, drawn up with the image, to where matplotlib may write."""
    made = Path(__file__).resolve().parent.parent / "matplotlib"
    target = os.environ.get("MPLCONFIGDIR")
    if target and made.is_dir():
        shutil.copytree(made, target, dirs_exist_ok=True)


def _serve(channel: socket.socket, shell: kernel.Shell) -> None:
    """Fork on request, and tell of those that ended."""
    parser = wire.Parser(wire.LOCAL)
    gc.freeze()
    wakeup, write = socket.socketpair()
    for end in (wakeup, write):
        end.setblocking(False)
    signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([channel, wakeup], [], [])
        if wakeup in ready:
            _report(channel, wakeup)
        if channel in ready:
            data, descriptors, _, _ = socket.recv_fds(channel, 4096, 8)
            if not data:
                return
            for frame in parser.feed(data):
                if frame.type == wire.FORK and len(descriptors) == 3:
                    pid = _fork(channel, shell, descriptors)
                    channel.sendall(wire.encode(wire.LOCAL, wire.FORKED, pid))
                elif frame.type == wire.WARM:
                    _warm_up(shell)
                    channel.sendall(wire.encode(wire.LOCAL, wire.WARMED))


def _report(channel: socket.socket, wakeup: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        wakeup.recv(4096)
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            channel.sendall(wire.encode(wire.LOCAL, wire.EXITED, ended[0], ended[1].to_bytes(4)))


def _fork(channel: socket.socket, shell: kernel.Shell, descriptors: list[int]) -> int:
    while True:
        try:
            pid = os.fork()
        except OSError:  # the limit on processes; those of the last cell are just going
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)
            continue
        if pid:
            for fd in descriptors:
                os.close(fd)
            return pid
        _become_kernel(shell, descriptors)


def _become_kernel(shell: kernel.Shell, descriptors: list[int]) -> None:
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        control, out, err = (os.dup(fd) for fd in (os.open(os.devnull, os.O_RDONLY), *descriptors)[1:])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        for fd in range(3, 256):
            if fd != control:
                with contextlib.suppress(OSError):
                    os.close(fd)
        os.set_inheritable(control, False)
        processes.show()
        processes.prefer_for_oom(900)
        # Not before: nothing that we load is to come from the workspace.
        sys.path[:] = ["", *sys.path, str(network.LIBRARY)]
        shell.serve(socket.socket(fileno=control))
    finally:
        os._exit(0)


def main(arguments: list[str]) -> None:
    """Descriptor 0 is the channel to PID 1."""
    processes.hide()
    channel = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir("/workspace")
    _copy_fonts()
    _serve(channel, kernel.Shell())
