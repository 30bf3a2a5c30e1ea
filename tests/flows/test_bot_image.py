"""The bot's image: built by the project's own script and asked one question, the engine's socket mounted for it."""

import asyncio
import json
import os
import stat
from pathlib import Path
from urllib.parse import urlsplit

import aiodocker
import pytest

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
CODE = "import sys\nprint(sum(range(10)), sys.version_info[:2] >= (3, 11))\n"


async def build(target: str) -> None:
    process = await asyncio.create_subprocess_exec(
        ROOT / "scripts" / "image", target, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


def socket_path() -> Path:
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        pytest.skip(f"the engine at {host} has no socket that could be mounted")
    return Path(urlsplit(host).path).resolve()


async def test_a_question_is_answered_inside_the_bots_image(tmp_path: Path) -> None:
    await build("sandbox")
    await build("bot")
    path = socket_path()
    status = path.stat()
    assert stat.S_ISSOCK(status.st_mode)
    script = f"cat > /tmp/cell.py <<'EOF'\n{CODE}EOF\nexec cellmate run /tmp/cell.py --json"
    async with aiodocker.Docker() as docker:
        container = await docker.containers.create(
            {
                "Image": "cellmate-bot:latest",
                "Entrypoint": ["sh", "-c"],
                "Cmd": [script],
                "Env": ["CELLMATE_POOL=0"],
                "Labels": {"io.cellmate.test": "bot-image"},
                "HostConfig": {
                    "Binds": [f"{path}:/var/run/docker.sock"],
                    "GroupAdd": [str(status.st_gid)],
                    "NetworkMode": "none",
                },
            }
        )
        try:
            await container.start()
            ended = await container.wait()
            output = "".join(await container.log(stdout=True))
            errors = "".join(await container.log(stderr=True))
            image = await docker.images.inspect("cellmate-bot:latest")
        finally:
            await container.delete(force=True, v=True)
    assert ended["StatusCode"] == 0, errors + output
    (cell,) = json.loads(output)["cells"]
    assert (cell["stdout"], cell["error"]) == ("45 True\n", None)
    assert image["Config"]["User"] not in ("", "root", "0")
    assert image["Config"]["Healthcheck"]["Test"] == ["CMD", "cellmate", "health"]
