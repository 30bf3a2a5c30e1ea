"""Forbidden things, tried from inside: each one's error, or that it was allowed."""

import ast
import secrets
from collections.abc import Awaitable, Callable

from sandbox import Limits, Output, Printed, Session
from tests.cells import Outcome, run

TOOLS = """
import ctypes, errno, os, platform, signal, socket, sys
_libc = ctypes.CDLL(None, use_errno=True)
_column = {'x86_64': 0, 'aarch64': 1}[platform.machine()]
_numbers = {  # of the system calls, on x86-64 and on arm64
    'mount': (165, 40), 'pivot_root': (155, 41), 'setns': (308, 268), 'unshare': (272, 97), 'clone': (56, 220),
    'clone3': (435, 435), 'open_by_handle_at': (304, 265), 'ptrace': (101, 117), 'process_vm_readv': (310, 270),
    'process_vm_writev': (311, 271), 'bpf': (321, 280), 'perf_event_open': (298, 241), 'userfaultfd': (323, 282),
    'keyctl': (250, 219), 'add_key': (248, 217), 'request_key': (249, 218), 'io_uring_setup': (425, 425),
    'io_uring_enter': (426, 426), 'io_uring_register': (427, 427), 'personality': (135, 92), 'memfd_secret': (447, 447),
    'kcmp': (312, 272), 'syslog': (103, 116), 'kexec_load': (246, 104), 'init_module': (175, 105),
    'delete_module': (176, 106), 'reboot': (169, 142), 'swapon': (167, 224), 'fsopen': (430, 430),
    'mount_setattr': (442, 442), 'acct': (163, 89), 'clock_settime': (227, 112), 'sethostname': (170, 161),
    'mlockall': (151, 230),
}
def call(name, *arguments):
    result = _libc.syscall(_numbers[name][_column], *arguments)
    if result == -1: raise OSError(ctypes.get_errno(), name)
    return result
def errno_of(attempt):
    try: attempt(); return 'allowed'
    except OSError as error: return errno.errorcode.get(error.errno, str(error))
"""


async def errors(session: Session, attempts: str) -> dict[str, str]:
    """For each item of `attempts`, a dict of names and expressions without arguments: the error's name, or `allowed`."""
    outcome = await run(session, TOOLS + f"\nprint({{name: errno_of(attempt) for name, attempt in ({attempts}).items()}})")
    assert outcome.ended.reason == "ok", outcome.outputs
    found: dict[str, str] = ast.literal_eval(outcome.stdout)
    return found


async def value(session: Session, code: str) -> object:
    """What the last expression of `code` is, read back as a literal."""
    outcome = await run(session, code)
    assert outcome.value is not None, outcome.outputs
    return ast.literal_eval(outcome.value)


async def during(session: Session, code: str, then: Callable[[], Awaitable[object]], limits: Limits) -> Outcome:
    """Run `code`; at the first thing that it prints do `then`, and stop it."""
    outputs: list[Output] = []
    acted = False
    async for output in session.run(f"during-{secrets.token_hex(4)}", code, limits):
        outputs.append(output)
        if isinstance(output, Printed) and not acted:
            acted = True
            await then()
            await session.interrupt()
    assert acted, outputs
    return Outcome(outputs)
