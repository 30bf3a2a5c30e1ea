"""Cases 59 to 82: ways out, and ways to others. The `session` fixture then runs the next cell, and a neighbour's."""

import ast
import os
import secrets
import socket

import pytest

from sandbox import Session
from sandbox.docker import DockerEngine
from sandbox.runner import network
from tests.attacks.attempts import errors, value
from tests.attacks.conftest import SPEC
from tests.cells import checkpoint, from_bytes, run

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]


async def test_59_read_only(session: Session) -> None:
    tried = """
{p: lambda p=p: open(p + '/x', 'w') for p in ('/', '/usr', '/etc', '/opt/cellmate/runner', '/opt/venv/lib', '/sys/fs/cgroup')}
| {'removed': lambda: os.remove('/bin/sh'), 'made': lambda: os.mkdir('/x'), 'hosts': lambda: open('/etc/hosts', 'a')}"""
    found = await errors(session, tried)
    assert set(found.values()) <= {"EROFS", "EACCES"}, found


async def test_60_no_privilege(session: Session) -> None:
    code = "dict(line.split(':', 1) for line in open('/proc/self/status').read().splitlines())"
    outcome = await run(session, code)
    assert outcome.value is not None
    status = {name: text.strip() for name, text in ast.literal_eval(outcome.value).items()}
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == int(status["CapAmb"], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"], status["Groups"]) == ("1", "2", "")
    assert "0" not in status["Uid"].split()
    tried = "{'root': lambda: os.setuid(0), 'group': lambda: os.setgid(0), 'process 1': lambda: os.setuid(os.getuid() - 1)}"
    assert set((await errors(session, tried)).values()) == {"EPERM"}
    code = """
import os, shutil, subprocess
def says(*command):
    try: return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).returncode
    except (FileNotFoundError, PermissionError): return 'none'
shutil.copy('/bin/sh', 'sh'); os.chmod('sh', 0o6755)
found = subprocess.run('find / -xdev -perm /6000', shell=True, capture_output=True, text=True).stdout
refused = says('su', '-c', 'true'), says('mount', '-t', 'tmpfs', 'x', '/tmp')
found, refused, says('./sh', '-c', f'test $(id -u) = {os.getuid()}')
"""
    found, refused, same = ast.literal_eval(str((await run(session, code)).value))
    assert found == "" and 0 not in refused and same == 0


async def test_61_62_mounts_namespaces_and_handles(session: Session) -> None:
    tried = """{
'mount': lambda: call('mount', b'x', b'/tmp', b'tmpfs', 0, 0), 'fsopen': lambda: call('fsopen', b'tmpfs', 0),
'chroot': lambda: os.chroot('/tmp'), 'pivot_root': lambda: call('pivot_root', b'/tmp', b'/tmp'),
'setns': lambda: call('setns', os.open('/proc/self/ns/net', os.O_RDONLY), 0),
'mknod': lambda: os.mknod('d', 0o020600, 261), 'handle': lambda: call('open_by_handle_at', -100, 0, 0),
} | {f'unshare {flag:#x}': lambda flag=flag: call('unshare', flag) for flag in map((1).__lshift__, (17, *range(25, 31)))
} | {f'clone {flag:#x}': lambda flag=flag: call('clone', flag | 17, 0, 0, 0, 0) or os._exit(0)
     for flag in (1 << 28, 1 << 30)}"""
    found = await errors(session, tried)
    assert set(found.values()) == {"EPERM"}, found
    assert await errors(session, "{'clone3': lambda: call('clone3', 0, 0)}") == {"clone3": "ENOSYS"}


async def test_63_rare_system_calls(session: Session) -> None:
    tried = """
{name: lambda name=name: call(name, 0, 0, 0, 0, 0, 0) for name in (
    'bpf', 'perf_event_open', 'userfaultfd', 'keyctl', 'add_key', 'request_key', 'io_uring_setup', 'io_uring_enter',
    'io_uring_register', 'ptrace', 'process_vm_readv', 'process_vm_writev', 'memfd_secret', 'kcmp', 'syslog', 'kexec_load',
    'init_module', 'delete_module', 'reboot', 'swapon', 'mount_setattr', 'acct')}
| {'personality': lambda: call('personality', 0x0040000), 'packet': lambda: socket.socket(socket.AF_PACKET, 99),
   'algorithms': lambda: socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET),
   'machines': lambda: socket.socket(socket.AF_VSOCK)}"""
    found = await errors(session, tried)
    assert set(found.values()) == {"EPERM"}, found


async def test_63_calls_of_another_word_size(session: Session) -> None:
    """`int 0x80` reaches the 32-bit calls, whose `socketcall` no filter can look into: the process ends."""
    code = """
import ctypes, mmap, os, platform, signal
if platform.machine() == 'x86_64':
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes.fromhex('b814000000cd80c3'))  # mov eax, getpid; int 0x80; ret
    getpid = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    child = os.fork()
    if not child: getpid(); os._exit(0)
    print(signal.Signals(os.WTERMSIG(os.waitpid(child, 0)[1])).name)
else: print('none')
"""
    said = (await run(session, code)).stdout
    if said == "none\n":
        pytest.skip("this machine's processors have no second word size to ask for")
    assert said in ("SIGSYS\n", "SIGSEGV\n"), "the filter's answer, and that of a kernel without such calls"


async def test_64_every_family_of_sockets(session: Session) -> None:
    tried = "{f'{family} {type}': lambda family=family, type=type: socket.socket(family, type)"
    found = await errors(session, tried + " for family in range(46) for type in (1, 2, 3, 5)}")
    families = {int(name.split()[0]) for name, error in found.items() if error == "allowed"}
    assert families == {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK}
    others = {error for name, error in found.items() if int(name.split()[0]) not in families}
    assert others == {"EPERM"}, found
    raw = "{'ICMP': lambda: socket.socket(2, 3, 1), 'ICMPv6': lambda: socket.socket(10, 3, 58)}"
    assert set((await errors(session, raw)).values()) == {"EPERM"}


async def test_65_the_kernels_own_switches(session: Session) -> None:
    code = """
import os
allowed = []
for top in ('/sys', '/proc/sys', '/sys/fs/cgroup'):
    for folder, _, files in os.walk(top):
        for name in files:
            path = os.path.join(folder, name)
            try: os.close(os.open(path, os.O_WRONLY)); allowed.append(path)
            except OSError: pass
for path in ('/proc/sysrq-trigger', '/proc/sys/kernel/core_pattern', '/proc/sys/kernel/modprobe', '/proc/irq', '/proc/bus'):
    if os.access(path, os.W_OK): allowed.append(path)
allowed
"""
    assert await value(session, code) == []


async def test_67_no_secret_in_any_environment(session: Session) -> None:
    code = """
import glob, os
names = set()
for path in glob.glob('/proc/[0-9]*/environ'):
    try: names |= {line.partition(b'=')[0].decode() for line in open(path, 'rb').read().split(b'\\0') if line}
    except OSError: pass
sorted(names | set(os.environ))
"""
    ours = {"HOME", "LANG", "PATH", "TMPDIR", "MPLBACKEND", "MPLCONFIGDIR", "IPYTHONDIR", "XDG_CACHE_HOME", "PYTHONUNBUFFERED"}
    threads = {f"{name}_NUM_THREADS" for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}
    found = await value(session, code)
    assert isinstance(found, list) and set(found) <= ours | threads | network.ENVIRONMENT.keys() | {"LC_CTYPE"}, found
    assert os.uname().nodename not in str((await run(session, "import socket; socket.gethostname()")).value)


async def test_68_no_engine_and_no_account(session: Session) -> None:
    code = """
import os, subprocess
sockets = subprocess.run('find / -xdev -type s 2>/dev/null', shell=True, capture_output=True, text=True).stdout.split()
places = ('/var/run/docker.sock', '/run/containerd', '/run/podman', '/root/.docker', '/root/.kube')
sockets, [path for path in places if os.path.lexists(path)], [(d, f) for d, _, f in os.walk('/run') if f]
"""
    sockets, places, kept = ast.literal_eval(str((await run(session, code)).value))
    assert (sockets, kept) == ([], []) and places == []


async def test_69_70_no_network(session: Session) -> None:
    code = """
import socket, os
found = []
def reach(family, kind, address):
    try:
        with socket.socket(family, kind) as s:
            s.settimeout(2); s.connect(address); found.append(address)
    except OSError: pass
for host in ('1.1.1.1', '169.254.169.254', '172.17.0.1', '10.0.0.1', '192.168.0.1'):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM): reach(socket.AF_INET, kind, (host, 53))
    try: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP).sendto(b'x', (host, 0)); found.append(host)
    except OSError: pass
for host in ('2606:4700:4700::1111', 'fd00:ec2::254', 'fe80::1%lo'):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM): reach(socket.AF_INET6, kind, (host, 53))
for name in ('example.com', 'metadata.google.internal', 'host.docker.internal'):
    try: socket.getaddrinfo(name, 80); found.append(name)
    except OSError: pass
found, os.listdir('/sys/class/net'), open('/proc/net/route').read().splitlines()[1:]
"""
    assert await value(session, code) == ([], ["lo"], [])


async def test_73_no_abstract_socket_of_the_hosts(session: Session) -> None:
    with socket.socket(socket.AF_UNIX) as ours:
        name = f"cellmate-{secrets.token_hex(8)}"
        ours.bind(f"\0{name}")
        ours.listen()
        tried = f"{{'abstract': lambda: socket.socket(socket.AF_UNIX).connect('\\0{name}')}}"
        assert await errors(session, tried) == {"abstract": "ECONNREFUSED"}
    assert (
        await value(session, "[line.split()[7:] for line in open('/proc/net/unix').read().splitlines()[1:] if '@' in line]")
        == []
    )


async def test_74_clock_name_and_priority(session: Session) -> None:
    tried = """{
'clock': lambda: call('clock_settime', 0, (0).to_bytes(16, 'little')), 'name': lambda: call('sethostname', b'x', 1),
'nice': lambda: os.nice(-20), 'real time': lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
'memory': lambda: call('mlockall', 3), 'oom': lambda: os.write(os.open('/proc/self/oom_score_adj', os.O_WRONLY), b'-1000'),
}"""
    found = await errors(session, tried)
    assert set(found.values()) <= {"EPERM", "EACCES", "ENOMEM"}, found
    code = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))"
    outcome = await run(session, code)
    assert outcome.raised is not None and "not allowed" in outcome.raised.message


async def test_75_nothing_of_the_host(session: Session) -> None:
    code = """
import os
def read(path):
    try: return open(path, 'rb').read(100)
    except OSError: return b''
pids = [p for p in os.listdir('/proc') if p.isdigit()]
masked = ('/proc/kcore', '/proc/keys', '/proc/timer_list', '/proc/sched_debug', '/proc/kmsg', '/dev/kmsg', '/dev/mem')
len(pids), [path for path in masked if read(path)], os.listdir('/sys/firmware'), sorted(os.listdir('/dev'))
"""
    pids, readable, firmware, devices = ast.literal_eval(str((await run(session, code)).value))
    assert (pids, readable, firmware) == (4, [], [])
    ordinary = {"core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty"}
    assert set(devices) <= ordinary | {"urandom", "zero", "console"}


async def test_76_nothing_of_another_session(session: Session, neighbour: Session) -> None:
    code = """
import os, subprocess
from multiprocessing.shared_memory import SharedMemory
for path in ('/workspace/left', '/tmp/left', '/dev/shm/left'): open(path, 'w').write('x')
subprocess.Popen(['sleep', '600']); os.getuid()
"""
    mine = (await run(session, code)).value
    code = """
import os
seen = [os.path.join(d, name) for top in ('/workspace', '/tmp', '/dev/shm') for d, _, names in os.walk(top) for name in names]
os.getuid(), [path for path in seen if 'left' in path], [
    p for p in os.listdir('/proc') if p.isdigit() and b'sleep' in open(f'/proc/{p}/cmdline', 'rb').read()]
"""
    other, files, processes = ast.literal_eval(str((await run(neighbour, code)).value))
    assert (files, processes) == ([], []) and str(other) != mine


async def test_77_a_container_serves_one_thread(engine: DockerEngine) -> None:
    first = await engine.session("leaves a daemon", SPEC)
    id = engine._claimed["leaves a daemon"].id
    await run(first, "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)")
    await first.close()
    second = await engine.session("comes later", SPEC)
    assert engine._claimed["comes later"].id != id
    assert await value(second, "import os; len([p for p in os.listdir('/proc') if p.isdigit()])") == 4
    found = await engine._docker.containers.list(all=True)
    assert id not in {container.id for container in found}
    await second.close()


async def test_78_79_poisoned_checkpoints(engine: DockerEngine, neighbour: Session) -> None:
    session = await engine.session("poison", SPEC)
    code = """
import os
class Bomb:
    def __reduce__(self): return eval, ("__import__('os').system('kill -9 -1')",)
class Grow:
    def __reduce__(self): return bytearray, (8 << 30,)
good = 1; bomb = Bomb(); grow = Grow(); loop = []; loop.append(loop)
deep = []
for _ in range(100_000): deep = [deep]
"""
    await run(session, code)
    saved, blob = await checkpoint(session)
    assert "deep" in {loss.name for loss in saved.lost}
    await session.close()
    back = await engine.session("poison", SPEC, from_bytes(blob))
    assert back.restored is not None and {"grow"} <= {loss.name for loss in back.restored.lost}
    assert (await run(back, "good, loop[0] is loop")).value == "(1, True)"
    assert (await run(neighbour, "mine")).value == "'untouched'"
    await back.close()


async def test_80_shadowed_modules(session: Session) -> None:
    code = """
import os
for n in ('json', 'kernel', 'files', 'wire', 'sitecustomize', 'usercustomize', 'IPython', 'numpy', 'zlib'):
    open(n + '.py', 'w').write('raise RuntimeError("shadowed")')
open('evil.pth', 'w').write('import os; os._exit(1)')
os.makedirs('/tmp/.ipython/profile_default/startup', exist_ok=True)
open('/tmp/.ipython/profile_default/startup/00.py', 'w').write('import os; os._exit(1)')
"""
    await run(session, code)
    await run(session, "import os; os._exit(1)")
    assert (await run(session, "np.arange(3).sum(), display is not None")).ended.reason == "ok"
    _, blob = await checkpoint(session)
    assert blob


async def test_80_81_shadowing_before_a_new_zygote(session: Session) -> None:
    code = """
for n in ('numpy', 'encodings', 'sitecustomize', 'site'): open(n + '.py', 'w').write('raise RuntimeError')
open('evil.pth', 'w').write('import os; os._exit(1)')
"""
    await run(session, code)
    await run(session, "import os; os.kill(-1, 9); os._exit(0)")
    assert (await run(session, "np.arange(3).sum()")).value is not None


async def test_81_the_zygote_is_out_of_reach(session: Session) -> None:
    tried = """
{f'{what} of {p}': lambda p=p, what=what: open(f'/proc/{p}/{what}', 'r+b' if what == 'mem' else 'rb').read(1)
 for p in os.listdir('/proc') if p.isdigit() and int(p) != os.getpid() for what in ('mem', 'environ', 'maps')}
| {f'attach to {p}': lambda p=p: call('ptrace', 16, int(p), 0, 0)
 for p in os.listdir('/proc') if p.isdigit() and int(p) != os.getpid()}"""
    found = await errors(session, tried)
    assert len(found) == 12 and set(found.values()) <= {"EACCES", "EPERM"}, found


async def test_82_a_shared_layer_is_not_written(session: Session, neighbour: Session) -> None:
    """The page cache of a file that two sandboxes share: no AF_ALG, no write, no map that others see."""
    tried = """{
'algorithms': lambda: socket.socket(38, socket.SOCK_SEQPACKET, 0), 'write': lambda: os.open('/bin/sh', os.O_RDWR),
'map': lambda: __import__('mmap').mmap(os.open('/bin/sh', os.O_RDONLY), 4096, prot=3),
'splice': lambda: os.splice(os.pipe()[0], os.open('/bin/sh', os.O_RDONLY), 1, flags=os.SPLICE_F_NONBLOCK),
}"""
    hashed = "import hashlib; hashlib.sha256(open('/bin/sh', 'rb').read()).hexdigest()"
    before = await value(neighbour, hashed)
    found = await errors(session, tried)
    assert found["algorithms"] == "EPERM" and "allowed" not in found.values(), found
    assert await value(neighbour, hashed) == await value(session, hashed) == before
