"""The Docker engine (API 1.41 and later): containers, their pool, and the byte channel to each through the attach stream.

Nothing but create, start, attach, inspect, list, pause, unpause and delete is used: no exec, no archive, no volume, no network.
"""

import asyncio
import json
import logging
import os
import random
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import aiodocker
import aiohttp
from aiodocker.stream import Stream

from sandbox.api import About, Checkpoint, Egress, Limits, SandboxDown, SandboxLost, Spec
from sandbox.egress import authorities
from sandbox.frames import State
from sandbox.packages import Packages
from sandbox.pool import Pool
from sandbox.session import Link, Remote

_log = logging.getLogger(__name__)

_CALL = 30.0
"""Seconds an engine may take for one call."""
_START = 90.0
"""Seconds from a container's start to its first READY; a cold, busy machine needs some."""
_HELLO = 5.0
_PING = 2.0
_UNREACHABLE = 900
"""The status aiodocker gives to its own connection errors."""
_LABEL = "io.cellmate.instance"
_TOKEN = "io.cellmate.token"
_UIDS = range(10_000, 60_000, 2)
"""Pairs of users, the supervisor's and the code's. Within 65,536, the range that a rootless or remapped engine has."""
_INODES = 50_000
_WAITING = 128 << 20
"""Bytes that a container which waits in the pool is reckoned to use."""
_CORES = 2
"""What one container may take of the machine's processors."""
_SENTRY_MEMORY, _SENTRY_TASKS = 256 << 20, 256
"""What gVisor itself may take of a container's memory and processes, and what code may take before PID 1 has seen it."""
_SECCOMP = Path(__file__).with_name("seccomp.json")
_SECCOMP_TEXT = json.dumps(json.loads(_SECCOMP.read_bytes()), separators=(",", ":"))

_FAILURES = (aiodocker.DockerError, aiohttp.ClientError, OSError, TimeoutError)


class Attached:
    """`sandbox.session.Channel` over an attach stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def read(self) -> bytes:
        """The next bytes of the supervisor's standard output; its standard error goes to the log."""
        while True:
            try:
                message = await self._stream.read_out()
            except (aiohttp.ClientError, OSError, RuntimeError) as error:
                raise SandboxLost("The engine closed the line to the sandbox.") from error
            if message is None:
                return b""
            if message.stream == 1:
                return message.data
            _log.warning("supervisor: %s", message.data[-2000:].decode("utf-8", "replace").rstrip())

    async def write(self, data: bytes) -> None:
        """Send to the supervisor's standard input."""
        try:
            await self._stream.write_in(data)
        except (aiohttp.ClientError, OSError, RuntimeError, AssertionError) as error:
            raise SandboxLost("The engine closed the line to the sandbox.") from error

    async def close(self) -> None:
        """Detach; the container goes on. What it has not read by now is dropped: one that is stuck would never read it, and
        closing the client waits until all is sent.
        """
        response = self._stream._resp
        if response is not None and response.connection is not None and response.connection.transport is not None:
            response.connection.transport.abort()
        with suppress(aiohttp.ClientError, OSError, RuntimeError, AssertionError):
            await self._stream.close()


class Container:
    """One container and the link to its supervisor."""

    def __init__(self, docker: aiodocker.Docker, id: str, spec: Spec | None, link: Link) -> None:
        self._docker, self.id, self.spec, self.link = docker, id, spec, link
        self._removing = asyncio.Lock()
        self._paused = False
        self._used = 0
        self.removed = False

    @property
    def lost(self) -> bool:
        """Its line has ended."""
        return self.link.lost

    @property
    def warm(self) -> bool:
        """Its first plot pays for no import."""
        return self.link.state is not None and self.link.state.warm

    async def warm_up(self) -> None:
        """Have the heavy libraries loaded. Raises `SandboxLost`."""
        await self.link.warm_up(_START)

    async def check(self) -> None:
        """Raises `SandboxLost` when it does not answer."""
        await self.link.ping(_PING)

    async def measure(self) -> int:
        """Bytes in use; of one that is paused or does not answer, what it used last."""
        if not self._paused and not self.lost:
            with suppress(SandboxLost):
                self._used = (await self.link.ping(_PING)).memory
        return self._used

    async def pause(self) -> None:
        """Freeze its processes. Raises `SandboxLost` where that cannot be done."""
        await self._call(self._docker.containers.container(self.id).pause)
        self._paused = True

    async def unpause(self) -> None:
        """Let its processes go on. Raises `SandboxLost`."""
        await self._call(self._docker.containers.container(self.id).unpause)
        self._paused = False

    async def _call(self, call: Callable[[], Awaitable[object]]) -> None:
        try:
            async with asyncio.timeout(_CALL):
                await call()
        except _FAILURES as error:
            raise SandboxLost(f"The engine refused: {error}.") from error

    async def remove(self) -> None:
        """Detach and delete. Idempotent; an engine that does not answer is left to the next start's clearing up."""
        async with self._removing:
            if self.removed:
                return
            self.removed = True
            await self.link.close()
            if self._paused:  # some engines cannot delete what is paused
                with suppress(SandboxLost):
                    await self.unpause()
            await _delete(self._docker, self.id)


async def _delete(docker: aiodocker.Docker, id: str) -> None:
    try:
        async with asyncio.timeout(_CALL):
            await docker.containers.container(id).delete(force=True, v=True)
    except aiodocker.DockerError as error:
        if error.status not in (404, 409):
            _log.warning("container %s could not be removed: %s", id[:12], error.message)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        _log.warning("container %s could not be removed: %r", id[:12], error)


class DockerEngine:
    """`sandbox.Engine` on a Docker engine. Made by `connect`."""

    def __init__(
        self, docker: aiodocker.Docker, address: str, instance: str, spec: Spec, pool: int, most: int, packages: Path | None
    ) -> None:
        self._docker, self._address, self._instance, self._spec = docker, address, instance, spec
        self._folder = packages
        self._packages: dict[tuple[str, ...], Packages] = {}
        self._authorities: str | None = None
        self._pool = Pool(self._create_ready, pool, most, self._busy)
        self._pauses = True
        self._claimed: dict[str, Container] = {}
        self._sessions: dict[str, Remote] = {}
        self._keys: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._reconciling = asyncio.Lock()
        self._reconciled = False
        self._podman: bool | None = None

    # -- the port

    async def session(self, key: str, spec: Spec, from_: Checkpoint | None = None) -> Remote:
        """See `sandbox.Engine.session`."""
        turn = self._keys.setdefault(key, asyncio.Lock())
        async with turn:
            await self._reconcile()
            known = self._sessions.get(key)
            if known is not None and not known.lost:
                try:
                    await known.wake()
                    return known
                except SandboxLost:
                    await known.close()
            session = await self._adopt(key) or await self._new(key, spec, from_)
            await self._open_way(session, spec.egress)
            self._sessions[key] = session
            return session

    async def _open_way(self, session: Remote, egress: Egress) -> None:
        """What the thread's code may reach; of one that was adopted, no more than now."""
        packages = None
        if egress.indexes and self._folder:
            packages = self._packages.setdefault(egress.indexes, Packages(egress.indexes, self._folder))
        if egress.hosts and self._authorities is None:
            self._authorities = await asyncio.to_thread(authorities)
        await session.open_way(egress, packages, (self._authorities or "") if egress.hosts else "")

    async def running(self) -> tuple[str, ...]:
        """See `sandbox.Engine.running`."""
        await self._reconcile()
        return tuple(self._claimed)

    async def memory(self) -> int:
        """See `sandbox.Engine.memory`."""
        return sum(await asyncio.gather(*(container.measure() for container in self._claimed.values())))

    async def about(self) -> About:
        """See `sandbox.Engine.about`."""
        async with _down(self._address), asyncio.timeout(_CALL):
            version, info = await self._docker.version(), await self._docker.system.info()
            image = await self._image_size()
        parts = {part.get("Name", ""): part.get("Version", "") for part in version.get("Components") or ()}
        name = next(filter(None, parts), "Engine")
        runtime = self._spec.runtime or info.get("DefaultRuntime") or "its default runtime"
        limits = {"memory limit": info.get("MemoryLimit"), "process limit": info.get("PidsLimit")}
        filters = any(option.startswith("name=seccomp") for option in info.get("SecurityOptions") or ())
        return About(
            address=self._address,
            name="Docker Engine" if name == "Engine" else name,
            version=version.get("Version", "?"),
            runtime=runtime,
            runtime_version=parts.get(runtime, ""),
            runtimes=tuple(info.get("Runtimes") or ()),
            memory=info.get("MemTotal") or 0,
            folder=info.get("DockerRootDir") or "",
            missing=(*(() if filters else ("seccomp",)), *(name for name, there in limits.items() if there is False)),
            image=image,
        )

    async def check(self) -> str:
        """See `sandbox.Engine.check`."""
        about = await self.about()
        if about.image is None:
            raise _no_image(self._spec.image)
        if self._spec.runtime and self._spec.runtime not in about.runtimes:
            raise SandboxDown(f"The container engine knows no runtime {self._spec.runtime!r}; install it or choose another.")
        return f"{about.name} {about.version}, {about.runtime}"

    async def _image_size(self) -> int | None:
        try:
            return int((await self._docker.images.inspect(self._spec.image))["Size"])
        except aiodocker.DockerError as error:
            if error.status == 404:
                return None
            raise

    # -- sessions

    async def _new(self, key: str, spec: Spec, from_: Checkpoint | None) -> Remote:
        container = await self._claim(key, spec)
        self._claimed[key] = container
        session = self._remote(key, container, spec.limits)
        if from_ is not None:
            try:
                await session.restore(from_)
            except BaseException:
                await session.close()
                raise
        return session

    async def _claim(self, key: str, spec: Spec) -> Container:
        """A container from the pool, else a new one: one round trip, and no call to the engine."""
        usual = replace(spec, egress=self._spec.egress) == self._spec
        while usual and (ready := self._pool.take() or await self._pool.coming()) is not None:
            try:
                await ready.link.claim(key, _PING)
                return ready
            except SandboxLost:
                await ready.remove()
            except BaseException:
                await asyncio.shield(ready.remove())
                raise
        container = await self._create(spec)
        try:
            await container.link.claim(key, _HELLO)
        except BaseException:
            await asyncio.shield(container.remove())
            raise
        return container

    def _remote(self, key: str, container: Container, limits: Limits) -> Remote:
        async def remove() -> None:
            if self._claimed.get(key) is container:
                del self._claimed[key]
                self._sessions.pop(key, None)
            await container.remove()

        async def pause(paused: bool) -> bool:
            if not paused:
                await container.unpause()
            elif self._pauses:
                try:
                    await container.pause()
                except SandboxLost as refusal:
                    self._pauses = False
                    _log.warning("idle containers are not paused here: %s", refusal)
            return paused and self._pauses

        return Remote(key, container.link, limits, remove, pause)

    def _busy(self) -> bool:
        return sum(session.busy for session in self._sessions.values()) >= (os.cpu_count() or 1)

    async def _adopt(self, key: str) -> Remote | None:
        """The container that ran for this key before, if it still answers."""
        container = self._claimed.get(key)
        if container is None:
            return None
        if container.link.lost:
            del self._claimed[key]
            container = await self._attach_again(container)
            if container is None:
                return None
            self._claimed[key] = container
        state = container.link.state
        session = self._remote(key, container, container.spec.limits if container.spec else self._spec.limits)
        if state is not None:
            session.adopt(state)
        return session

    async def _attach_again(self, old: Container) -> Container | None:
        """A line that broke while the container lives on, as when the engine restarts with live-restore."""
        await old.link.close()
        async with _down(self._address):
            try:
                async with asyncio.timeout(_CALL):
                    shown = await self._docker.containers.container(old.id).show()
                if shown["State"].get("Running"):
                    if shown["State"].get("Paused"):
                        await self._docker.containers.container(old.id).unpause()
                    found = await self._attach(old.id, shown["Config"]["Labels"].get(_TOKEN, ""))
                    if found is not None:
                        found.spec = old.spec
                        return found
            except aiodocker.DockerError as error:
                if error.status != 404:
                    raise
        await _delete(self._docker, old.id)
        return None

    # -- containers

    async def _create(self, spec: Spec) -> Container:
        token = secrets.token_bytes(16)
        async with _down(self._address):
            try:
                async with asyncio.timeout(_CALL):
                    body = _body(spec, self._instance, token, podman=await self._is_podman())
                id = await self._make(body)
            except aiodocker.DockerError as error:
                if error.status == 404:
                    raise _no_image(spec.image) from error
                raise
            try:
                return await self._start(id, spec, token)
            except BaseException:
                await asyncio.shield(_delete(self._docker, id))
                raise

    async def _make(self, body: dict[str, Any]) -> str:
        """The new container's id. An engine that was asked makes one, whether anybody waits for it any more or not."""
        making = asyncio.ensure_future(self._docker.containers.create(body))
        try:
            async with asyncio.timeout(_CALL):
                return str((await asyncio.shield(making)).id)
        except BaseException:
            with suppress(*_FAILURES):
                async with asyncio.timeout(_CALL):
                    await _delete(self._docker, (await making).id)
            raise

    async def _create_ready(self) -> Container:
        """For the pool."""
        await self._reconcile()
        return await self._create(self._spec)

    async def _is_podman(self) -> bool:
        if self._podman is None:
            parts = (await self._docker.version()).get("Components") or ()
            self._podman = any(part.get("Name") == "Podman Engine" for part in parts)
        return self._podman

    async def _start(self, id: str, spec: Spec, token: bytes) -> Container:
        """Attach first, or the first words are lost."""
        container = self._docker.containers.container(id)
        stream = container.attach(stdin=True, stdout=True, stderr=True)
        try:
            async with asyncio.timeout(_CALL):
                await stream.__aenter__()
                await container.start()
        except BaseException:
            await stream.close()
            raise
        link = Link(Attached(stream), token)
        try:
            state = await link.hello(first=True, seconds=_START)
            if not state.ready:
                await link.ready(_START)
        except BaseException as error:
            await link.close()
            if isinstance(error, SandboxLost):
                raise SandboxDown(
                    f"A container of the image {spec.image!r} started but does not answer; `./run` builds it anew."
                ) from error
            raise
        return Container(self._docker, id, spec, link)

    async def _attach(self, id: str, token: str) -> Container | None:
        """A container that was running before; None when its supervisor does not answer."""
        stream = self._docker.containers.container(id).attach(stdin=True, stdout=True, stderr=True)
        try:
            async with asyncio.timeout(_CALL):
                await stream.__aenter__()
        except BaseException:
            await stream.close()
            raise
        link = Link(Attached(stream), bytes.fromhex(token))
        try:
            await link.hello(first=False, seconds=_HELLO)
        except SandboxLost:
            await link.close()
            return None
        return Container(self._docker, id, None, link)

    # -- life

    async def _reconcile(self) -> None:
        """Once: keep our claimed containers of an earlier life for whoever asks, delete our others. Never anybody else's."""
        async with self._reconciling:
            if self._reconciled:
                return
            async with _down(self._address):
                async with asyncio.timeout(_CALL):
                    found = await self._docker.containers.list(all=True, filters={"label": [f"{_LABEL}={self._instance}"]})
                for container in found:
                    await self._keep_or_delete(container)
            self._reconciled = True

    async def _keep_or_delete(self, container: Any) -> None:
        kept = None
        if container["State"] == "paused":  # neither answers nor, with some engines, can be deleted
            with suppress(*_FAILURES):
                async with asyncio.timeout(_CALL):
                    await container.unpause()
        if container["State"] in ("running", "paused"):
            with suppress(ValueError, *_FAILURES):
                kept = await self._attach(container.id, container["Labels"].get(_TOKEN, ""))
        state: State | None = kept.link.state if kept else None
        if kept and state and state.key is not None and state.key not in self._claimed:
            self._claimed[state.key] = kept
        elif kept:
            await kept.remove()
        else:
            await _delete(self._docker, container.id)

    async def keep_pool(self, ready: Callable[[], Awaitable[None]] | None = None) -> None:
        """Look after the pool, once `ready` has returned. Runs until cancelled."""
        if ready is not None:
            await ready()
        await self._pool.keep()

    async def close(self) -> None:
        """Remove the pool; let go of claimed containers, which run on for the next life."""
        await self._pool.close()
        for container in self._claimed.values():
            await container.link.close()
        for packages in self._packages.values():
            await packages.close()


def _body(spec: Spec, instance: str, token: bytes, *, podman: bool = False) -> dict[str, Any]:
    """The container: everything that confines it is here and nowhere else. What each line holds back is in
    `tests/sandbox/test_hardening.py`, which takes every one away and sees the difference from inside."""
    limits = spec.limits
    uid = random.SystemRandom().choice(_UIDS)
    # Podman takes neither owner nor inodes, and the filter as the path of a file on its own machine.
    owned = "mode=1777" if podman else f"nr_inodes={_INODES},mode=0700,uid={uid + 1},gid={uid + 1}"
    seccomp = str(_SECCOMP) if podman else _SECCOMP_TEXT
    workspace = min(limits.workspace, limits.memory // 2)
    host = {
        "CapDrop": ["ALL"],
        "CapAdd": ["SETUID", "SETGID", "KILL"],
        "SecurityOpt": ["no-new-privileges", f"seccomp={seccomp}"],
        "ReadonlyRootfs": True,
        "NetworkMode": "none",
        "IpcMode": "private",
        "Tmpfs": {
            "/workspace": f"rw,exec,nosuid,nodev,size={workspace},{owned}",
            "/tmp": f"rw,noexec,nosuid,nodev,size={limits.tmp},{owned}",
        },
        "ShmSize": 64 << 20,
        "Memory": limits.memory,
        "MemorySwap": limits.memory,
        "PidsLimit": limits.processes,
        # Not NanoCpus: an engine refuses more of those than it has.
        "CpuPeriod": 100_000,
        "CpuQuota": _CORES * 100_000,
        "OomScoreAdj": 500,
        "Ulimits": [
            {"Name": "nofile", "Soft": 1024, "Hard": 1024},
            {"Name": "core", "Soft": 0, "Hard": 0},
            {"Name": "fsize", "Soft": limits.file, "Hard": limits.file},
        ],
        "LogConfig": {"Type": "none"},
        "Init": False,
    }
    supervisor = ["supervisor", str(uid), str(limits.memory), str(limits.file)]
    if spec.runtime:
        host["Runtime"] = spec.runtime
    if spec.gvisor:
        # Our cgroup holds gVisor as a whole, with all that is in it; PID 1 ends only what takes too much.
        memory = limits.memory + _SENTRY_MEMORY
        host |= {"Memory": memory, "MemorySwap": memory, "PidsLimit": 4 * limits.processes + _SENTRY_TASKS}
        supervisor.append(str(limits.processes))
    return {
        "Image": spec.image,
        "Entrypoint": ["python3", "-I", "/opt/cellmate/runner"],
        "Cmd": supervisor,
        "User": "0:0",
        "WorkingDir": "/",
        "Hostname": "sandbox",
        "OpenStdin": True,
        "StdinOnce": False,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        "NetworkDisabled": True,
        "StopTimeout": 1,
        "Labels": {_LABEL: instance, _TOKEN: token.hex()},
        "HostConfig": host,
    }


@asynccontextmanager
async def _down(address: str) -> AsyncGenerator[None, None]:
    """The engine's own failures as `SandboxDown`, with what to do."""
    try:
        yield
    except aiodocker.DockerError as error:
        if error.status == _UNREACHABLE:
            raise _unreachable(address, str(error.message)) from error
        raise SandboxDown(f"The container engine refused: {error.message or error.status}.") from error
    except TimeoutError as error:
        raise SandboxDown(
            f"The container engine at {address} does not answer; is it overloaded?", "sudo systemctl restart docker"
        ) from error
    except (aiohttp.ClientError, OSError) as error:
        raise _unreachable(address, str(error)) from error


def _unreachable(address: str, why: str) -> SandboxDown:
    if "Permission denied" in why:
        return SandboxDown(
            f"The container engine at {address} may not be used by this user; add the user to the group `docker`.",
            "sudo usermod -aG docker $(id -un) && newgrp docker",
        )
    named = f"unset DOCKER_HOST, or start the engine at {address}"
    return SandboxDown(
        f"The container engine at {address} cannot be reached; is it running?",
        named if os.environ.get("DOCKER_HOST") else "sudo systemctl start docker; where there is none yet: ./run",
    )


def _no_image(image: str) -> SandboxDown:
    return SandboxDown(f"The sandbox image {image!r} is not there; `./run` builds it.", "./run")


def _address(url: str | None) -> str:
    """The engine's URL: as given, else DOCKER_HOST, else the first usual socket that is there."""
    if chosen := url or os.environ.get("DOCKER_HOST"):
        return chosen
    home = Path.home()
    runtime = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    usual = ("/var/run/docker.sock", "/run/docker.sock", f"{runtime}/docker.sock", f"{home}/.docker/run/docker.sock")
    return "unix://" + next((path for path in usual if Path(path).is_socket()), usual[0])


def _client(address: str) -> tuple[aiodocker.Docker, aiohttp.BaseConnector]:
    """Our own connector: the usual limit of 100 connections would be used up by as many attached sandboxes."""
    scheme, _, rest = address.partition("://")
    connector: aiohttp.BaseConnector
    if scheme == "unix":
        connector = aiohttp.UnixConnector(rest, limit=0)
        return aiodocker.Docker(url="unix://localhost", connector=connector), connector
    if scheme in ("tcp", "http", "https"):
        connector = aiohttp.TCPConnector(limit=0)
        return aiodocker.Docker(url=address, connector=connector), connector
    raise ValueError(f"an engine's address begins with unix:// or tcp://, not {address!r}")


@asynccontextmanager
async def connect(
    instance: str,
    spec: Spec,
    *,
    pool: int,
    pool_memory: int = 0,
    packages: Path | None = None,
    url: str | None = None,
    ready: Callable[[], Awaitable[None]] | None = None,
) -> AsyncIterator[DockerEngine]:
    """An engine for one installation.

    `instance` is the label by which this installation's containers are told from others'. `pool` containers of `spec` are kept
    started, and more in `pool_memory` bytes while more are asked for at once; all of it once `ready` has returned, where it is
    given. `packages`: the folder in which packages for `pip install` are kept; without it nobody gets any.
    An engine that is down does not keep this from coming up: `session` raises `SandboxDown` until it is back.
    On the way out the pool is removed; claimed sessions that were not closed run on, and are adopted at the next start.
    Raises ValueError for an address that is none.
    """
    address = await asyncio.to_thread(_address, url)
    docker, connector = _client(address)
    engine = DockerEngine(docker, address, instance, spec, pool, pool_memory // _WAITING, packages)
    keeper = asyncio.create_task(engine.keep_pool(ready), name="sandbox pool")
    try:
        yield engine
    finally:
        keeper.cancel()
        await asyncio.wait([keeper])
        try:
            await engine.close()
        finally:
            await docker.close()
            await connector.close()
        if not keeper.cancelled():
            keeper.result()  # it ended by itself: a mistake of ours that must be seen
