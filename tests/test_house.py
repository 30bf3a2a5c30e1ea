"""The house: locks, set-up scripts and images, each as whoever installs Cellmate meets it."""

import asyncio
import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiodocker
import pytest
import pytest_asyncio

ROOT = Path(__file__).parent.parent
LOCKS = sorted([*ROOT.glob("requirements*.lock"), *ROOT.glob("bench/requirements*.lock")])
SCRIPTS = [ROOT / name for name in ("run", "test", "scripts/image", "scripts/locks", "scripts/setup.sh")]
SANDBOX = "cellmate-sandbox:latest"
NOBODY = 65534

root_only = pytest.mark.skipif(os.getuid() != 0, reason="hiding this machine's engine takes root (a mount namespace)")


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: str(path.name))
def test_a_lock_pins_every_package_by_hash_and_names_no_host(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert "index" not in "\n".join(line for line in text.splitlines() if line.startswith("-"))
    packages = re.split(r"\n(?=[a-z0-9])", text.partition("\n\n")[2] or text)
    pinned = [package for package in packages if "==" in package.splitlines()[0]]
    assert pinned
    assert all("--hash=sha256:" in package for package in pinned)


def test_every_lock_is_there() -> None:
    assert [str(lock.relative_to(ROOT)) for lock in LOCKS] == [
        "bench/requirements-peers.lock",
        "bench/requirements-rivals.lock",
        "requirements-build.lock",
        "requirements-dev.lock",
        "requirements-local.lock",
        "requirements-sandbox-standard.lock",
        "requirements-sandbox.lock",
        "requirements.lock",
    ]


def test_the_tests_run_against_the_versions_that_the_bot_runs_with() -> None:
    def versions(name: str) -> set[str]:
        return set(re.findall(r"^([\w.-]+==[^ ]+)", (ROOT / name).read_text(), re.MULTILINE))

    assert versions("requirements.lock") <= versions("requirements-dev.lock")
    elsewhere = {"colorama==0.4.6"}  # for Windows alone
    assert versions("requirements-sandbox.lock") - elsewhere <= versions("requirements-sandbox-standard.lock")


def test_a_step_that_is_over_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Whoever reads how far set-up is waits for the end of the stream, not for a clock that still sleeps."""
    script = f"root={ROOT}; . {ROOT}/scripts/setup.sh; kept={tmp_path}; exec 3>&1; step Trying sleep 0.5"
    subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, timeout=9)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.name))
def test_a_set_up_script_is_posix_shell(script: Path) -> None:
    if shutil.which("dash") is None:
        pytest.skip("needs dash")
    subprocess.run(["dash", "-n", script], check=True)
    assert script.name == "setup.sh" or script.stat().st_mode & stat.S_IXUSR


# ---- without an engine


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The set-up scripts in a folder of their own, as in a fresh clone: no .venv, no logs. Anyone may write there."""
    for script in [*SCRIPTS, ROOT / "scripts/engine.py"]:
        target = tmp_path / script.relative_to(ROOT)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(script, target)
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.owner() == tmp_path.owner() and folder != Path("/tmp"):
            folder.chmod(0o755)
    tmp_path.chmod(0o777)
    return tmp_path


def refused(command: list[str | Path], checkout: Path, **env: str) -> str:
    """What `./run` says when it gives up: within 10 s, and having fetched nothing."""
    clean = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(checkout), **env}
    done = subprocess.run(command, cwd="/", env=clean, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert not (checkout / ".venv").exists()
    return done.stderr


def test_a_docker_host_that_does_not_answer_is_named(checkout: Path) -> None:
    said = refused([checkout / "run", "up"], checkout, DOCKER_HOST="unix:///nowhere/docker.sock")
    assert "unix:///nowhere/docker.sock: [Errno 2] No such file or directory" in said
    assert f"unset DOCKER_HOST; {checkout}/run" in said


def test_a_docker_host_over_ssh_is_explained(checkout: Path) -> None:
    assert "ssh -NL" in refused([checkout / "run"], checkout, DOCKER_HOST="ssh://somewhere")


@root_only
@pytest.mark.parametrize("script", ["run", "test"])
def test_without_an_engine_the_exact_lines_come_before_any_download(checkout: Path, script: str) -> None:
    """No socket is in sight, no network is there to download from, and the person is not root."""
    hidden = f"mount -t tmpfs none /run && exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups {checkout}/{script}"
    said = refused(["unshare", "--mount", "--net", "sh", "-c", hidden], checkout)
    assert "no Docker engine answers" in said
    assert "    sudo apt-get install docker.io iptables" in said
    assert "    sudo usermod -aG docker nobody\n    newgrp docker\n" in said
    assert f"    {checkout}/{script}\n" in said


@root_only
@pytest.mark.engine
def test_an_engine_one_may_not_use_is_told_from_none(checkout: Path) -> None:
    if Path("/var/run/docker.sock").stat().st_mode & stat.S_IWOTH:
        pytest.skip("this machine lets everybody use the engine")
    said = refused(
        ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", checkout / "run"],
        checkout,
    )
    assert "/var/run/docker.sock: [Errno 13] Permission denied" in said
    assert "sudo usermod -aG docker nobody" in said
    assert "apt-get" not in said


@root_only
def test_root_in_a_container_is_told_to_bring_the_engine_outside(checkout: Path) -> None:
    """Root without CAP_SYS_ADMIN could install an engine but never start it."""
    hidden = f"mount -t tmpfs none /run && exec setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin {checkout}/run"
    said = refused(["unshare", "--mount", "--net", "sh", "-c", hidden], checkout)
    assert "docker run -v /var/run/docker.sock:/var/run/docker.sock" in said


def test_an_old_python_is_named(checkout: Path) -> None:
    old = checkout / "python3.10"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.10.4" && exit\nexit 1\n')
    old.chmod(0o755)
    assert "Python 3.10.4 is too old; 3.11 or newer is needed" in refused([checkout / "run"], checkout, PYTHON=str(old))


# ---- the builder's secrets


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """What the builder is given on a machine with a mirror, a CA and an index on disk."""
    authority = tmp_path / "company.pem"
    authority.write_text("-----BEGIN CERTIFICATE-----\ncompany\n-----END CERTIFICATE-----\n")
    folder = tmp_path / "secrets"
    folder.mkdir()
    subprocess.run(
        ["sh", "-euc", '. "$root/scripts/setup.sh"; write_secrets "$1"', "sh", folder],
        env={
            **os.environ,
            "root": str(ROOT),
            "PIP_CERT": str(authority),
            "PIP_INDEX_URL": "https://me:hunter2@mirror.invalid/simple",
            "PIP_EXTRA_INDEX_URL": "file:///mnt/wheels https://more.invalid/simple",
        },
        check=True,
    )
    return folder


def test_the_builder_gets_the_mirror_and_the_ca_but_no_path_of_this_machine(secrets: Path) -> None:
    pip = (secrets / "pip").read_text().splitlines()
    assert "index-url = https://me:hunter2@mirror.invalid/simple " in pip
    assert "extra-index-url = https://more.invalid/simple " in pip
    assert "cert = /run/secrets/ca" in pip
    assert "/mnt/wheels" not in "\n".join(pip)
    assert "company" in (secrets / "ca").read_text()
    assert 'Acquire::https::CAInfo "/run/secrets/ca";' in (secrets / "apt").read_text()


DOCKERFILE = """
ARG BASE
FROM ${BASE}
RUN --mount=type=secret,id=pip grep 2@mirror.invalid /run/secrets/pip && echo "$http_proxy" | grep 2@proxy.invalid
"""
BUILD = """
. "$root/scripts/setup.sh"; find_engine; ensure_client
root=$1; base=$2; build_image --tag "$3" --secret "id=pip,src=$4/pip"
"""


@pytest.mark.engine
async def test_a_password_for_proxy_or_mirror_reaches_the_build_and_stays_nowhere(
    docker: aiodocker.Docker, secrets: Path, tmp_path: Path
) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(DOCKERFILE)
    image = "cellmate-test-of-secrets"
    build = await asyncio.create_subprocess_exec(
        *["sh", "-euc", BUILD, "sh", str(context), SANDBOX, image, str(secrets)],
        env={**os.environ, "root": str(ROOT), "http_proxy": "http://me:hunter2@proxy.invalid"},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await build.communicate()
    assert build.returncode == 0, said.decode()
    try:
        assert "hunter2" not in json.dumps([await docker.images.inspect(image), await docker.images.history(image)])
        assert await ran(docker, image, ["sh", "-c", "grep -rl hunter2 /etc /root /run /opt/cellmate /var || true"]) == ""
    finally:
        await docker.images.delete(image, noprune=True)


# ---- the images


@pytest_asyncio.fixture
async def docker() -> AsyncIterator[aiodocker.Docker]:
    async with aiodocker.Docker() as client:
        yield client


async def ran(docker: aiodocker.Docker, image: str, command: list[str], **config: Any) -> str:
    """What a command prints in the image, as the sandbox runs it: read-only and without a network. It must succeed."""
    host = {
        "NetworkMode": "none",
        "ReadonlyRootfs": True,
        "Tmpfs": {"/tmp": "", "/workspace": ""},
        **config.pop("HostConfig", {}),
    }
    container = await docker.containers.create({"Image": image, "Entrypoint": command, "HostConfig": host, **config})
    try:
        await container.start()
        status = (await container.wait(timeout=100))["StatusCode"]
        said = "".join(await container.log(stdout=True, stderr=True))
        assert status == 0, said
        return said
    finally:
        await container.delete(force=True)


@pytest.mark.engine
async def test_the_sandboxs_environment_is_known_to_the_last_name(docker: aiodocker.Docker) -> None:
    config = (await docker.images.inspect(SANDBOX))["Config"]
    assert dict(pair.split("=", 1) for pair in config["Env"]) == {
        "LANG": "C.UTF-8",
        "PATH": "/opt/venv/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/workspace",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": "/tmp/.matplotlib",
        **dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"], "1"),
    }


@pytest.mark.engine
async def test_the_builders_secrets_are_in_no_layer(docker: aiodocker.Docker) -> None:
    find = "find / -xdev -path '/run/secrets/*' -o -xdev -name pip.conf -o -xdev -path '/etc/apt/apt.conf.d/*' -size +0"
    kept = (await ran(docker, SANDBOX, ["sh", "-c", find])).split()
    assert [path for path in kept if "secret" in path or path.endswith("pip.conf")] == []
    assert await ran(docker, SANDBOX, ["sh", "-c", "grep -rliE 'proxy|cainfo' /etc/apt || true"]) == ""
    history = json.dumps(await docker.images.history(SANDBOX))
    assert not re.search(r"https?://", history)


@pytest.mark.engine
async def test_no_file_in_the_sandbox_raises_privileges(docker: aiodocker.Docker) -> None:
    assert await ran(docker, SANDBOX, ["find", "/", "-xdev", "-perm", "/6000"]) == ""


NOT_COMPILED = """
import importlib.util, pathlib
roots = map(pathlib.Path, ("/opt/venv/lib", "/usr/lib/python3.13", "/opt/cellmate/runner"))
sources = [path for root in roots for path in root.rglob("*.py") if "tests" not in path.parts]
assert len(sources) > 5000
print([str(path) for path in sources if not pathlib.Path(importlib.util.cache_from_source(path)).exists()])
"""


@pytest.mark.engine
async def test_everything_is_compiled(docker: aiodocker.Docker) -> None:
    assert await ran(docker, SANDBOX, ["python3", "-I", "-c", NOT_COMPILED]) == "[]\n"


FIGURE = """
import os, shutil
shutil.copytree("/opt/cellmate/matplotlib", os.environ["MPLCONFIGDIR"])
import matplotlib.pyplot as plt, seaborn
seaborn.set_theme()
for family in ("sans-serif", "serif", "monospace"):
    plt.rcParams["font.family"] = family
    plt.figure().suptitle("WORDS", weight="bold")
    plt.savefig("/tmp/figure.png")
"""


@pytest.mark.engine
async def test_a_figure_may_speak_chinese_japanese_korean_and_emoji(docker: aiodocker.Docker) -> None:
    """Matplotlib warns of each glyph that no font has; under `-W error` that ends the program."""
    draw = ["python3", "-W", "error", "-c"]
    assert await ran(docker, SANDBOX, [*draw, FIGURE.replace("WORDS", "日本語 中文 简体 한국어 é → 😀")]) == ""
    with pytest.raises(AssertionError, match="missing from font"):
        await ran(docker, SANDBOX, [*draw, FIGURE.replace("WORDS", "\U000f1234")])


@pytest.mark.engine
async def test_ffmpeg_makes_a_clip_that_opencv_reads(docker: aiodocker.Docker) -> None:
    clip = "ffmpeg -loglevel error -f lavfi -i testsrc=duration=1:rate=10:size=64x48 -c:v libx264 /tmp/clip.mp4"
    count = "import cv2; clip = cv2.VideoCapture('/tmp/clip.mp4'); print(int(clip.get(cv2.CAP_PROP_FRAME_COUNT)))"
    assert await ran(docker, SANDBOX, ["sh", "-c", f'{clip} && python3 -I -c "{count}"']) == "10\n"


IMPORTS = """
import bs4, cloudpickle, cv2, IPython, lxml.etree, matplotlib, networkx, numpy, openpyxl, pandas, PIL, plotly, pyarrow
import pypdf, scipy, seaborn, sklearn, sympy, tabulate, xlsxwriter
"""


@pytest.mark.engine
async def test_every_promised_library_imports_without_a_network(docker: aiodocker.Docker) -> None:
    assert await ran(docker, SANDBOX, ["python3", "-I", "-c", IMPORTS]) == ""
