"""What the first article on a code interpreter in chat showed, through `cellmate ask --json`, with a model whose code is given.

The scripted replies hold code only. Every expected pixel, number and frame is computed here, by other means.
"""

import asyncio
import io
import json
import os
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from tests.fakes.model import Code, ScriptedModel

pytestmark = pytest.mark.engine

Pixels = NDArray[np.uint8]
CATS = {2, 3, 7, 11}
FRAMES = 12


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as server:
        yield server


async def ask(model: ScriptedModel, home: Path, question: str, code: str, *files: Path) -> dict[str, Any]:
    """The object that `cellmate ask --json` prints for a model that answers with this code, then with two words."""
    model.reply(Code((Path(__file__).parent / "article" / code).read_text("utf-8")))
    model.reply("Here you are.")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", "ask", "--json", question, *map(str, files)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **model.env, "CELLMATE_HOME": str(home), "CELLMATE_POOL": "0"},
    )
    stdout, stderr = await process.communicate()
    assert process.returncode == 0, (stdout + stderr).decode()
    answer: dict[str, Any] = json.loads(stdout)
    assert [cell["error"] for cell in answer["cells"]] == [None]
    return answer


def noise(folder: Path) -> tuple[Path, Pixels]:
    """A picture of which every pixel is different from its neighbours, and its pixels."""
    pixels = np.random.default_rng(2026).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "picture.png")
    return folder / "picture.png", pixels


async def test_an_image_is_halved_and_one_half_inverted(model: ScriptedModel, tmp_path: Path) -> None:
    path, pixels = noise(tmp_path)
    answer = await ask(model, tmp_path / "home", "Invert the right half.", "halves.py", path)
    expected = pixels.copy()
    expected[:, 40:] = 255 - expected[:, 40:]
    (file,) = answer["files"]
    assert (file["name"], file["media_type"]) == ("half-inverted.png", "image/png")
    assert file["size"] == len(await asyncio.to_thread(Path(file["path"]).read_bytes))
    np.testing.assert_array_equal(np.asarray(Image.open(file["path"])), expected)


async def test_which_colour_is_at_a_point(model: ScriptedModel, tmp_path: Path) -> None:
    path, pixels = noise(tmp_path)
    answer = await ask(model, tmp_path / "home", "Which colour is at (10, 20)?", "colour.py", path)
    red, green, blue = pixels[20, 10]
    assert answer["cells"][0]["stdout"].strip() == f"#{red:02x}{green:02x}{blue:02x}"
    assert answer["files"] == []


async def test_a_chart_with_two_axes(model: ScriptedModel, tmp_path: Path) -> None:
    await asyncio.to_thread(
        (tmp_path / "weather.csv").write_text,
        "day,temperature,rain\n" + "".join(f"{d},{10 + d},{d * d}\n" for d in range(1, 8)),
    )
    answer = await ask(model, tmp_path / "home", "Plot both.", "two_axes.py", tmp_path / "weather.csv")
    (figure,) = answer["files"]
    assert figure["media_type"] == "image/png"
    for words in ("A week of weather", "Temperature (°C)", "Rain (mm)"):
        assert words in figure["alt"]
    pixels = np.asarray(Image.open(figure["path"]).convert("RGB")).astype(int)
    red = (pixels[..., 0] > 200) & (pixels[..., 1] < 60) & (pixels[..., 2] < 60)
    blue = (pixels[..., 2] > 200) & (pixels[..., 0] < 60) & (pixels[..., 1] < 60)
    assert red.sum() > 500 and blue.sum() > 5_000, "both series are drawn in their colours"


def cat() -> Pixels:
    picture: Pixels = data.chelsea()[:, :450]  # type: ignore[no-untyped-call]  # scikit-image has no types; a codec wants an even width
    return picture


def clip(path: Path) -> None:
    """A clip in which a cat looks out of the frames of `CATS` and of no other."""
    picture = cv2.cvtColor(cat(), cv2.COLOR_RGB2BGR)
    height, width = picture.shape[:2]
    slope = np.add.outer(np.linspace(0, 100, height), np.linspace(0, 100, width))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (width, height))
    for number in range(FRAMES):
        plain = np.dstack([slope + number, slope / 2, slope]).astype(np.uint8)
        writer.write(cv2.convertScaleAbs(picture, alpha=1.0, beta=number) if number in CATS else plain)
    writer.release()


async def test_the_frames_that_show_a_cat_as_a_zip(model: ScriptedModel, tmp_path: Path) -> None:
    await asyncio.to_thread(clip, tmp_path / "clip.avi")
    answer = await ask(model, tmp_path / "home", "Zip the frames with a cat.", "cats.py", tmp_path / "clip.avi")
    (file,) = answer["files"]
    assert (file["name"], file["media_type"]) == ("cat-frames.zip", "application/zip")
    with zipfile.ZipFile(file["path"]) as archive:
        assert sorted(archive.namelist()) == [f"frame-{number:03d}.png" for number in sorted(CATS)]
        shapes = {np.asarray(Image.open(io.BytesIO(archive.read(name)))).shape for name in archive.namelist()}
    assert shapes == {cat().shape}
    assert answer["cells"][0]["stdout"].strip() == f"{len(CATS)} of {FRAMES} frames"
